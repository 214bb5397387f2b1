"""What a pattern caught, before anybody decided whether it is one; and what the decision says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from milecastle.model import Finding


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible secret and as much of its surroundings as a check may look at."""

    secret: str
    name: str = ""
    """The name that it stood under (``db_password``), where the rule's pattern has one."""
    between: str = ""
    """What stands between the name and the secret: quotes, a sign, a word."""
    before: str = ""
    """Up to NEARBY code points of the text before it, on whatever line."""
    after: str = ""
    """Up to AFTER code points of the text behind it."""
    context: str = ""
    """The rule's whole match: a key pair's other half, the user of a URL."""

    @property
    def quoted(self) -> bool:
        """Whether it stands in quotation marks."""
        return self.before[-1:] in QUOTES and self.before[-1:] != "" and self.after[:1] in QUOTES


NEARBY = 80
AFTER = 8
QUOTES = "\"'`“”„«»‘’「」"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A check's word for a candidate: why it may be one, and how sure that is."""

    words: str = ""
    score: float = 1.0


class Unfinished(Exception):  # noqa: N818 - it is a state of the reading, not somebody's mistake
    """A budget ran out before the text was read to its end; never to be taken for clean."""

    def __init__(self, why: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.findings = tuple(findings)
        """What was found up to there."""

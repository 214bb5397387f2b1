"""What is wrong with what was said."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from milecastle.model.exchange import Role

type Provenance = Literal[
    "user",
    "system",
    "assistant",
    "reasoning",
    "tool_call",
    "tool_result",
    "tool_definition",
    "file",
    "web",
]


class Severity(StrEnum):
    """How bad a finding is; ``rank`` orders them."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text that detectors read, and where it came from.

    ``text`` is exactly the decoded string at ``place``, so offsets into it can be rewritten.
    """

    text: str
    role: Role
    provenance: Provenance
    place: str = ""
    label: str = ""
    """The key that the text stood under in a structured value (``password``, ``command``)."""
    tool: str = ""
    """tool_call and tool_result: the tool's name where known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a detector found. Holds no secret: ``excerpt`` is masked."""

    category: str
    """secret, pii, injection, tool, document, marking, usage."""
    rule: str
    severity: Severity
    start: int
    """Offset of the match in the segment's text, in code points; ``end`` is exclusive."""
    end: int
    excerpt: str
    place: str = ""
    provenance: Provenance = "user"
    score: float = 1.0
    """Confidence, 0 to 1."""
    evidence: str = ""
    """Why it fired, in a few words: ``checksum valid``, ``entropy 4.3 bits``."""
    via: tuple[str, ...] = ()
    """Encodings that had to be undone to reach it, outermost first: ``base64``, ``percent``."""
    digest: str = ""
    """Keyed hash of the matched text, so that equal values can be recognised, not recovered."""
    owasp: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()
    count: int = 1
    """How many matches this finding stands for (dense tables are one finding)."""

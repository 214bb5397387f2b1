"""Two policies over the same messages: what would be judged otherwise?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from milecastle.model import Finding, Service, Subject
from milecastle.policy.policy import Decision, Policy


@dataclass(frozen=True, slots=True)
class Seen:
    """One message of the past, as far as a policy looks at it."""

    label: str
    """What the caller calls it."""
    subject: Subject
    findings: Sequence[Finding] = ()
    at: float | None = None
    """When, in Unix time; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One message that two policies judge differently."""

    label: str
    subject: Subject
    findings: Sequence[Finding]
    old: Decision
    new: Decision


def diff(old: Policy, new: Policy, messages: Iterable[Seen]) -> Iterator[Difference]:
    """Yield the messages whose verdict differs in action, deciding rule or what is replaced.

    A service's standing is a policy's own opinion, so each subject is given it anew.
    """
    for each in messages:
        before, after = (
            policy.decide(seen_by(policy, each.subject), each.findings, now=each.at)
            for policy in (old, new)
        )
        if judged(before) != judged(after):
            yield Difference(each.label, each.subject, each.findings, before, after)


def seen_by(policy: Policy, subject: Subject) -> Subject:
    """Return the subject with the standing that a policy gives its service."""
    service = Service(subject.service, "", "", subject.category) if subject.service else None
    return replace(subject, standing=policy.standing(service))


def judged(decision: Decision) -> tuple[object, ...]:
    """Return what makes two decisions different for somebody."""
    would = decision.would and (decision.would.action, decision.would.rule)
    verdict = decision.verdict
    edits = decision.redact, decision.pseudonymise, decision.neutralise
    return verdict, edits, decision.notices, would

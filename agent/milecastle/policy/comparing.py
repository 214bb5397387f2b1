"""Two policies over the same exchanges: what would be judged otherwise?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from milecastle.model import Finding, Service, Subject
from milecastle.policy.policy import Decision, Policy


@dataclass(frozen=True, slots=True)
class Difference:
    """One exchange that two policies judge differently."""

    label: str
    """As the caller named the exchange."""
    old: Decision
    new: Decision


def diff(
    old: Policy,
    new: Policy,
    exchanges: Iterable[tuple[str, Subject, Sequence[Finding]]],
    *,
    now: float | None = None,
) -> Iterator[Difference]:
    """Yield the exchanges whose verdict differs in action, deciding rule or what is redacted.

    A service's standing is a policy's own opinion, so each subject is given it anew.
    """
    for label, subject, findings in exchanges:
        before, after = (
            policy.decide(seen_by(policy, subject), findings, now=now) for policy in (old, new)
        )
        if judged(before) != judged(after):
            yield Difference(label, before, after)


def seen_by(policy: Policy, subject: Subject) -> Subject:
    """Return the subject with the standing that a policy gives its service."""
    service = Service(subject.service, "", "", subject.category) if subject.service else None
    return replace(subject, standing=policy.standing(service))


def judged(decision: Decision) -> tuple[object, ...]:
    """Return what makes two decisions different for somebody."""
    would = decision.would and (decision.would.action, decision.would.rule)
    verdict = decision.verdict
    return verdict.action, verdict.mode, verdict.rule, decision.redact, would

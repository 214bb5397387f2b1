"""Why did a rule match, or not? The same conditions as in `matching`, one by one and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from milecastle.model import Finding, Subject
from milecastle.policy.conditions import FINDING, minute, passage
from milecastle.policy.document import Rule
from milecastle.policy.matching import VALUES, Matches


@dataclass(frozen=True, slots=True)
class Step:
    """One rule's part in a decision. Holds nothing of a message but the names it used."""

    rule: str
    action: str
    mode: str
    matched: bool
    why: str
    findings: tuple[str, ...] = ()
    """The detectors' rules of the findings that it covers."""


def explain(
    rules: Sequence[Rule],
    matches: Matches,
    valid: int,
    subject: Subject,
    findings: Sequence[Finding],
    now: float | None = None,
) -> list[Step]:
    """Return one step for each rule, in order. ``valid``: the exceptions still in force."""
    steps = []
    for number, rule in enumerate(rules):
        matched = bool(matches.rules >> number & 1)
        fit: list[Finding] = []
        if (missing := unmet(rule, subject, now)) is not None:
            why = missing
        elif rule.exception and not valid >> number & 1:
            why = "the exception has expired"
        else:
            fit = [each for each in findings if covered(rule, each, subject)]
            if rule.exception is None:
                fit = [each for each in fit if each not in matches.excepted]
            why = in_words(rule, fit, matched=matched, excepted=bool(matches.excepted))
        names = tuple(dict.fromkeys(each.rule for each in fit)) if matched else ()
        steps.append(Step(rule.id, str(rule.action), rule.mode or "", matched, why, names))
    return steps


def unmet(rule: Rule, subject: Subject, now: float | None = None) -> str | None:
    """Return the first condition on the subject that does not hold, in words."""
    if rule.when.time and (at := minute(now)) is None:
        return "the time is not known"
    if rule.when.time and not rule.when.time.holds(at):
        return f"it is not the time: {rule.when.time.wants}"
    for key, test in rule.when.subject.items():
        value = VALUES[key](subject)
        if value is None:
            return f"{key} is not known"
        if not test.holds(value):
            return f"{key} is {shown(value)}, the rule wants {test.wants}"
    return None


def covered(rule: Rule, finding: Finding, subject: Subject) -> bool:
    """Tell whether one finding fits a rule, the count aside."""
    wanted = rule.when.finding
    inside = rule.when.passage
    if inside and not inside.holds(passage(subject, finding)):
        return False
    return wanted is not None and all(
        test.holds(FINDING[key].value(finding)) for key, test in wanted.items()
    )


def in_words(rule: Rule, fit: Sequence[Finding], *, matched: bool, excepted: bool) -> str:
    """Say what decided, where all conditions on the subject hold."""
    if rule.when.finding is None:
        if not matched:
            return "an exception takes this rule away"
        return "all conditions hold" if rule.when.asks else "it has no conditions"
    total = sum(each.count for each in fit)
    if rule.when.count and not matched and fit:
        return f"count is {total}, the rule wants {rule.when.count.wants}"
    if not fit:
        return "no finding fits" + (" that no exception covers" if excepted else "")
    return f"{total} match{'es' if total != 1 else ''} found that fit"


def shown(value: object) -> str:
    """Return a value for a reader, bounded, for requests choose some of them."""
    return repr(value)[:80]

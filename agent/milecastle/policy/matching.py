"""Which rules match, and which findings does each cover? Sets of rules are integers, bit by bit.

The order of things: conditions on the subject, conditions on each finding, exceptions (with
their counts), which take findings and rules away, and last the counts of what is left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from milecastle.model import Finding, Subject
from milecastle.policy.columns import Column, bits
from milecastle.policy.conditions import FINDING, PROCESS, SUBJECT, minute, passage
from milecastle.policy.contradictions import OF_SERVICE
from milecastle.policy.document import Rule

VALUES = {
    **{key: condition.value for key, condition in SUBJECT.items()},
    **{f"process.{key}": condition.value for key, condition in PROCESS.items()},
}
"""Every value of a subject that a rule can look at, by the key of its test."""


@dataclass(frozen=True, slots=True)
class Matches:
    rules: int
    """The rules that match, exceptions that took something away included."""
    covers: tuple[int, ...]
    """For each finding, the rules that cover it; 0 where an exception does."""
    excepted: tuple[Finding, ...]


def mask_of(chosen: Iterable[bool]) -> int:
    """Return the set of rules for which it is true."""
    return sum(1 << number for number, each in enumerate(chosen) if each)


class Matcher:
    """The conditions of all rules, one column for each that any rule has."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._all = mask_of(True for _ in rules)
        self._on_findings = mask_of(rule.when.finding is not None for rule in rules)
        self._exceptions = mask_of(rule.exception is not None for rule in rules)
        self._counted = mask_of(rule.when.count is not None for rule in rules)
        self._subject = [
            (value, column)
            for key, value in VALUES.items()
            if (column := Column([rule.when.subject.get(key) for rule in rules])).asks
        ]
        values = {VALUES[key] for key in OF_SERVICE}
        self._service = [each for each in self._subject if each[0] in values]
        self._finding = [
            (condition.value, column)
            for key, condition in FINDING.items()
            if (column := Column([(rule.when.finding or {}).get(key) for rule in rules])).asks
        ]
        self._time = Column([rule.when.time for rule in rules])
        self._passage = Column([rule.when.passage for rule in rules])
        ending = sorted((r.exception.expires, n) for n, r in enumerate(rules) if r.exception)
        self._ends = [expires for expires, _ in ending]
        self._still = [mask_of(())]
        for _, number in reversed(ending):
            self._still.insert(0, self._still[0] | 1 << number)

    def applicable(
        self, subject: Subject, now: float | None = None, *, unknown_fits: bool = False
    ) -> int:
        """Return the rules whose conditions on the subject and the time hold.

        With ``unknown_fits``, a condition on a value that is not known holds too.
        """
        rules = self._all
        if self._time.asks and not (unknown_fits and now is None):
            rules = self._time.accepts(minute(now))
        for value, column in self._subject:
            known = value(subject)
            if known is not None or not unknown_fits:
                rules &= column.accepts(known)
        return rules

    def of_service(self, subject: Subject) -> int:
        """Return the rules whose conditions on the service hold, whatever else they ask for."""
        rules = self._all
        for value, column in self._service:
            rules &= column.accepts(value(subject))
        return rules

    def valid(self, now: float | None) -> int:
        """Return the exceptions that have not expired; none where the time is not known."""
        return 0 if now is None else self._still[bisect_right(self._ends, now)]

    def match(self, subject: Subject, findings: Sequence[Finding], now: float | None) -> Matches:
        applicable = self.applicable(subject, now)
        asking = applicable & self._on_findings
        covers = []
        for finding in findings:
            mask = asking
            for value, column in self._finding:
                mask &= column.accepts(value(finding))
            if self._passage.asks:
                mask &= self._passage.accepts(passage(subject, finding))
            covers.append(mask)
        plain = applicable & ~self._on_findings
        valid = applicable & self.valid(now)
        used = plain & valid
        excepted: list[Finding] = []
        if valid:
            covers = self._counting(valid, findings, covers)
            for place, mask in enumerate(covers):
                if mask & valid:
                    used |= mask & valid
                    excepted.append(findings[place])
                    covers[place] = 0
        covers = self._counting(~self._exceptions, findings, covers)
        rules = 0 if plain & valid else plain
        for mask in covers:
            rules |= mask
        return Matches(rules & ~self._exceptions | used, tuple(covers), tuple(excepted))

    def _counting(self, asked: int, findings: Sequence[Finding], covers: list[int]) -> list[int]:
        """Return ``covers`` without those of the asked rules that find too few, or too many."""
        met = 0
        for mask in covers:
            met |= mask & asked & self._counted
        for number in bits(met):
            test, mine = self._rules[number].when.count, 1 << number
            covered = zip(findings, covers, strict=True)
            if test and not test.holds(sum(f.count for f, mask in covered if mask & mine)):
                covers = [mask & ~mine for mask in covers]
        return covers

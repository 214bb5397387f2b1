"""Where several findings lie on one another, keep the one that says most."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import replace

from milecastle.model import Finding


class Kept:
    """Findings of one category, none on another's characters; the first to come stays."""

    def __init__(self) -> None:
        self._places: list[tuple[int, int]] = []
        """(start, number) in order of place: a text may hold tens of thousands."""
        self.findings: list[Finding] = []

    def add(self, finding: Finding, *, grow: bool = True) -> None:
        """Keep it, or have the one that it lies on ``grow`` over it."""
        at = bisect_left(self._places, (finding.end, -1)) - 1
        number = self._places[at][1] if at >= 0 else -1
        if number < 0 or self.findings[number].end <= finding.start:
            insort(self._places, (finding.start, len(self.findings)))
            self.findings.append(finding)
            return
        if not grow:
            return
        other = self.findings[number]
        start, end = min(finding.start, other.start), max(finding.end, other.end)
        del self._places[at]
        # what it now reaches into is covered by it as well
        while at > 0 and self.findings[self._places[at - 1][1]].end > start:
            start = min(start, self._places[at - 1][0])
            del self._places[at - 1]
            at -= 1
        insort(self._places, (start, number))
        self.findings[number] = replace(other, start=start, end=end)

    def told(self) -> list[Finding]:
        """Return what is kept, in order of place."""
        return [self.findings[number] for _, number in self._places]


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Leave no two findings of a category on the same character.

    The surer one stays, then the one that was reached through fewer encodings, then the longer;
    it grows to cover what it displaced, so that redaction still takes all of it.
    """
    kept: dict[str, Kept] = {}
    for finding in sorted(findings, key=lambda f: (-f.score, len(f.via), f.start - f.end)):
        kept.setdefault(finding.category, Kept()).add(finding)
    told = (finding for group in kept.values() for finding in group.told())
    return sorted(told, key=lambda f: (f.start, f.end))

"""Where several findings lie on one another, keep the one that says most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from milecastle.model import Finding


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Leave no two findings of a category on the same character.

    The surer one stays, then the one that was reached through fewer encodings, then the longer;
    it grows to cover what it displaced, so that redaction still takes all of it.
    """
    kept: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda f: (-f.score, len(f.via), f.start - f.end)):
        others = kept.setdefault(finding.category, [])
        for number, other in enumerate(others):
            if finding.start < other.end and other.start < finding.end:
                start, end = min(finding.start, other.start), max(finding.end, other.end)
                others[number] = replace(other, start=start, end=end)
                break
        else:
            others.append(finding)
    return sorted((f for group in kept.values() for f in group), key=lambda f: (f.start, f.end))

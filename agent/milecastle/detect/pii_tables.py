"""Dense personal data is one finding: a pasted table of customers, not three thousand addresses.

A run of findings in which some rule fires again and again, with no sentence in between, is told
once, with its count; it covers whole lines, so that redaction takes the names beside them too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from milecastle.model import Finding, Severity

REPEATED = 5
"""How often one rule has to fire in a run before the run is a table."""
GAP = 400
"""Characters between two findings of one run: the other columns of a row."""
PROSE = re.compile(r"(?:\b[a-z]+ ){5}")
RULE = "personal-data-table"
RAISED = {Severity.LOW: Severity.MEDIUM, Severity.MEDIUM: Severity.HIGH}
"""Many together are worse than one."""
LONGEST_LINE = 1_000


def condense(findings: Sequence[Finding], text: str) -> list[Finding]:
    """Return the findings, in order of place, with every dense run of personal data as one."""
    personal = [finding for finding in findings if finding.category == "pii"]
    if len(personal) < REPEATED:
        return list(findings)
    told = [finding for finding in findings if finding.category != "pii"]
    for run in runs(personal, text):
        rules = Counter(finding.rule for finding in run)
        dense = rules.most_common(1)[0][1] >= REPEATED
        told += [table(run, rules, text)] if dense else run
    return sorted(told, key=lambda finding: (finding.start, finding.end))


def runs(findings: Sequence[Finding], text: str) -> Iterator[list[Finding]]:
    """Group findings, which are in order of place, that no sentence separates."""
    run: list[Finding] = []
    for finding in findings:
        if run:
            between = text[run[-1].end : finding.start]
            if len(between) > GAP or PROSE.search(between):
                yield run
                run = []
        run.append(finding)
    if run:
        yield run


def table(run: Sequence[Finding], rules: Counter[str], text: str) -> Finding:
    """Return what stands for the whole run: the surest and gravest, its severity one up."""
    worst = max(run, key=lambda finding: (finding.severity.rank, finding.score))
    kinds = ", ".join(f"{count} {rule}" for rule, count in rules.most_common(4))
    start, end = run[0].start, max(finding.end for finding in run)
    start = line_start(text, start)
    stop = text.find("\n", end, end + LONGEST_LINE)
    end = stop if stop >= 0 else (len(text) if len(text) - end <= LONGEST_LINE else end)
    return replace(
        worst,
        rule=RULE,
        severity=RAISED.get(worst.severity, worst.severity),
        start=start,
        end=end,
        excerpt=f"…({end - start} chars)",
        score=max(finding.score for finding in run),
        evidence=kinds,
        count=sum(finding.count for finding in run),
    )


def line_start(text: str, at: int) -> int:
    """Return where the line begins; ``at`` itself where that is too far away."""
    begin = text.rfind("\n", max(0, at - LONGEST_LINE), at)
    if begin >= 0:
        return begin + 1
    return 0 if at <= LONGEST_LINE else at

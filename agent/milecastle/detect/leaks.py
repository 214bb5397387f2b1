"""The system prompt in an answer: passages of the instructions that a model gives away.

Only the instructions of the same exchange are compared, so nothing is stored. Canary words that
an operator plants in a prompt need no code: they are rules of the category ``marking``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from milecastle.detect.fingerprints import WORDS, Hasher, Mark
from milecastle.detect.masking import digest
from milecastle.model import Finding, Segment, Severity

SHARED = 3
LEAST = 24
"""Words that a passage has to span: a model may repeat a sentence of its task."""
NEAR = 40
LONGEST = 200_000


def leaked(instructions: Iterable[str], answers: Sequence[Segment], key: bytes) -> list[Finding]:
    """Return a finding for each passage of an answer that stands in the instructions."""
    hasher = Hasher(key)
    held = {mark.value for text in instructions for mark in hasher.marks(text[:LONGEST])}
    if not held:
        return []
    found = []
    for answer in answers:
        shared = [mark for mark in hasher.marks(answer.text[:LONGEST]) if mark.value in held]
        found += [finding(answer, run, key) for run in runs(shared) if long_enough(run)]
    return found


def runs(marks: Sequence[Mark]) -> list[list[Mark]]:
    """Group marks between which few words stand."""
    grouped: list[list[Mark]] = []
    for mark in marks:
        if grouped and mark.word - grouped[-1][-1].word <= NEAR:
            grouped[-1].append(mark)
        else:
            grouped.append([mark])
    return grouped


def span(run: Sequence[Mark]) -> int:
    return run[-1].word - run[0].word + WORDS


def long_enough(run: Sequence[Mark]) -> bool:
    return len(run) >= SHARED and span(run) >= LEAST


def finding(answer: Segment, run: Sequence[Mark], key: bytes) -> Finding:
    start, end = run[0].start, run[-1].end
    return Finding(
        category="document",
        rule="system-prompt-leak",
        severity=Severity.MEDIUM,
        start=start,
        end=end,
        excerpt=f"…({end - start} chars)",
        place=answer.place,
        provenance=answer.provenance,
        score=min(1.0, 0.5 + 0.05 * len(run)),
        evidence=f"{span(run)} words of the system prompt",
        digest=digest(answer.text[start:end], key),
        owasp=("LLM07",),
        atlas=("AML.T0056", "AML.T0069"),
    )

"""The system prompt in an answer: passages of the instructions that a model gives away.

Only the instructions of the same exchange are compared; what is remembered of them are keyed
hashes. Canaries that an operator plants in a prompt need no code: they are rules of the category
``marking``.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from milecastle.detect.fingerprints import WORD, WORDS, Hasher, Mark
from milecastle.detect.masking import digest
from milecastle.model import Finding, Segment, Severity

SHARED = 3
LEAST = 24
"""Words that a passage has to span: a model may repeat a sentence of its task."""
NEAR = 40
FEW = 6
"""Words in a row without which no passage is shared, so that no marks are needed."""
LONGEST = 200_000
REMEMBERED = 32
"""Instructions whose marks are kept: a client sends the same ones with every turn."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of instructions: hashes, under keys that end with the process."""

    marks: frozenset[int]
    grams: frozenset[int]


class Leaks:
    """Holds answers against instructions; remembers the marks of those it saw last."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._hasher = Hasher(key)
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def find(self, instructions: Iterable[str], answers: Sequence[Segment]) -> list[Finding]:
        """Return a finding for each passage of an answer that stands in the instructions."""
        long = [each for each in answers if len(each.text) > LEAST * 3]
        held = [self._marks(text[:LONGEST]) for text in instructions if long]
        found = []
        for answer in long if any(each.marks for each in held) else ():
            said = answer.text[:LONGEST]
            spoken = grams(said, FEW)
            alike = [each.marks for each in held if not spoken.isdisjoint(each.grams)]
            if not alike:
                continue  # nearly every answer: marks cost twenty times as much
            shared = [
                mark
                for mark in self._hasher.marks(said)
                if any(mark.value in each for each in alike)
            ]
            found += [finding(answer, run, self._key) for run in runs(shared) if long_enough(run)]
        return found

    def _marks(self, text: str) -> Known:
        data = text.encode(errors="replace")
        name = hashlib.blake2b(data, key=self._key[:64], digest_size=16).digest()
        marks = self._known.get(name)
        if marks is None:
            values = frozenset(mark.value for mark in self._hasher.marks(text))
            marks = self._known[name] = Known(values, grams(text))
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(name)
        return marks


def grams(text: str, every: int = 1) -> frozenset[int]:
    """Return hashes of FEW words in a row, from every so many words on.

    A passage of LEAST words holds one that begins at any multiple of FEW.
    """
    words = WORD.findall(text.lower())
    starts = range(0, len(words) - FEW + 1, every)
    return frozenset(hash(tuple(words[start : start + FEW])) for start in starts)


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

"""Which rules accept a value? One column for each condition; the answer is a set of bits.

Bit n stands for rule n. A column keeps its tests by what they want, so a value that was never met
costs some look-ups, not a thousand tests; and it answers from a small table for one that was.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import accumulate
from operator import or_
from typing import Any

from milecastle.policy.asking import Test, Word
from milecastle.policy.patterns import LONGEST_VALUE, any_of, literals

MOST_VALUES = 1024
"""Answers that a column keeps. Values come from requests: the table starts anew when full."""
LONGEST_KEPT = 512
"""Characters of a value, above which its answer is not kept."""


class Column:
    """The tests that all rules have for one condition."""

    def __init__(self, tests: Sequence[Test | None]) -> None:
        """Take one test for each rule, in the rules' order; None accepts every value."""
        self._free = 0
        self._known: dict[Hashable, int] = {}
        self._words: dict[Word, int] = {}
        self._asked: list[tuple[Callable[[Any], bool], int]] = []
        owners: dict[str, tuple[Test, int]] = {}
        for number, test in enumerate(tests):
            if test is None:
                self._free |= 1 << number
            else:
                same, mask = owners.get(test.wants, (test, 0))
                owners[test.wants] = (same, mask | 1 << number)
        globs: dict[str, int] = {}
        bounds: list[tuple[str, float, int]] = []
        for test, mask in owners.values():
            for word in test.words:
                self._words[word] = self._words.get(word, 0) | mask
            for glob in test.globs:
                globs[glob] = globs.get(glob, 0) | mask
            if test.bound is not None:
                bounds.append((*test.bound, mask))
            if test.asks is not None:
                self._asked.append((test.asks, mask))
        self._fold = any(test.fold for test, _ in owners.values())
        self._globs = Globs(globs) if globs else None
        self._bounds = Bounds(bounds) if bounds else None
        self.asks = bool(owners)
        """Whether any rule has a test at all."""

    def accepts(self, value: Any) -> int:  # noqa: ANN401 - as the column's condition reads it
        """Return the bits of the rules that accept the value; None is a value not known."""
        bits = self._known.get(value)
        if bits is None:
            bits = self._free if value is None else self._free | self._find(value)
            if size(value) <= LONGEST_KEPT:
                if len(self._known) >= MOST_VALUES:
                    self._known.clear()
                self._known[value] = bits
        return bits

    def _find(self, value: Any) -> int:  # noqa: ANN401
        bits = 0
        if self._bounds is not None:
            bits |= self._bounds.find(value)
        for asks, mask in self._asked:
            if asks(value):
                bits |= mask
        if not self._words and self._globs is None:
            return bits
        for element in value if isinstance(value, tuple) else (value,):
            word = element
            if isinstance(word, str):
                word = word[:LONGEST_VALUE].lower() if self._fold else word[:LONGEST_VALUE]
                if self._globs is not None:
                    bits |= self._globs.find(word)
            bits |= self._words.get(word, 0)
        return bits


class Globs:
    """Patterns, found by what they begin or end with."""

    def __init__(self, owners: dict[str, int]) -> None:
        self._heads: dict[int, dict[str, list[tuple[Callable[[str], bool], int]]]] = {}
        self._tails: dict[int, dict[str, list[tuple[Callable[[str], bool], int]]]] = {}
        self._rest: list[tuple[str, Callable[[str], bool], int]] = []
        for glob, mask in owners.items():
            head, middle, tail = literals(glob)
            row = (any_of([glob]), mask)
            if head:
                self._heads.setdefault(len(head), {}).setdefault(head, []).append(row)
            elif tail:
                self._tails.setdefault(len(tail), {}).setdefault(tail, []).append(row)
            else:
                self._rest.append((middle, *row))

    def find(self, value: str) -> int:
        """Return the bits of the patterns that a value fits as a whole."""
        bits = 0
        for length, heads in self._heads.items():
            for fits, mask in heads.get(value[:length], ()):
                if fits(value):
                    bits |= mask
        for length, tails in self._tails.items():
            for fits, mask in tails.get(value[-length:], ()):
                if fits(value):
                    bits |= mask
        for middle, fits, mask in self._rest:
            if middle in value and fits(value):
                bits |= mask
        return bits


class Bounds:
    """Comparisons, found by bisection: which of them hold on each bound, and between two."""

    def __init__(self, tests: Sequence[tuple[str, float, int]]) -> None:
        self._limits = sorted({limit for _, limit, _ in tests})
        above, below, equal = ([0] * len(self._limits) for _ in range(3))
        for sign, limit, mask in tests:
            place = bisect_left(self._limits, limit)
            (above if sign[0] == ">" else below)[place] |= mask
            if sign.endswith("="):
                equal[place] |= mask
        lower = list(accumulate(above, or_, initial=0))
        upper = list(accumulate(reversed(below), or_, initial=0))[::-1]
        self._between = [low | high for low, high in zip(lower, upper, strict=True)]
        self._on = [
            low | high | own for low, high, own in zip(lower, upper[1:], equal, strict=False)
        ]

    def find(self, value: float) -> int:
        """Return the bits of the comparisons that hold."""
        place = bisect_right(self._limits, value)
        if place and self._limits[place - 1] == value:
            return self._on[place - 1]
        return self._between[place]


def size(value: Hashable) -> int:
    """Return about how many characters a value holds."""
    match value:
        case str():
            return len(value)
        case tuple():
            return sum(map(size, value))
    return 1


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low

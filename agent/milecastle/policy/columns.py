"""Which rules accept a value? One column for each condition; the answer is a set of bits.

Bit n stands for rule n. A column answers from a small table of values that it met before, so a
thousand rules cost a decision as much as ten: some look-ups and some ANDs of wide integers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from milecastle.policy.conditions import Test

MOST_VALUES = 1024
"""Answers that a column keeps. Values come from requests: the table starts anew when full."""
LONGEST_KEPT = 512
"""Characters of a value, above which its answer is not kept."""


class Column:
    """The tests that all rules have for one condition."""

    def __init__(self, tests: Sequence[Test | None]) -> None:
        """Take one test for each rule, in the rules' order; None accepts every value."""
        self._free = 0
        self._tests: dict[str, tuple[Test, int]] = {}
        self._known: dict[Hashable, int] = {}
        for number, test in enumerate(tests):
            if test is None:
                self._free |= 1 << number
            else:
                same, bits = self._tests.get(test.wants, (test, 0))
                self._tests[test.wants] = (same, bits | 1 << number)

    @property
    def asks(self) -> bool:
        """Whether any rule has a test at all."""
        return bool(self._tests)

    def accepts(self, value: Any) -> int:  # noqa: ANN401 - as the column's condition reads it
        """Return the bits of the rules that accept the value; None is a value not known."""
        bits = self._known.get(value)
        if bits is None:
            bits = self._free
            if value is not None:
                for test, owners in self._tests.values():
                    if test.holds(value):
                        bits |= owners
            if size(value) <= LONGEST_KEPT:
                if len(self._known) >= MOST_VALUES:
                    self._known.clear()
                self._known[value] = bits
        return bits


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

"""Which end of a text could still become a secret, once more of it arrives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import re2

from milecastle.detect.candidate import Unfinished
from milecastle.detect.encodings import INVISIBLE_CLASS
from milecastle.detect.expressions import unfinished
from milecastle.detect.patterns import set_of
from milecastle.detect.rules import Rule, compiled

BREAKS = frozenset("\"'`<>()[]{},")
JOINTS = re.compile(r"[-'’.:;!?…—–*]+")
HEADLESS = re.compile(
    r"^(?:\\b|\\A|\(\?:\\b\|\\\\\[nrt\]\)|\(\?:\\A\|\[[^\]]*\]\))*\(\?P<secret>(?:\(\?i?:)*\[(?!\^)"
)
"""Patterns that begin with their secret, and that with any letter: ``run_start`` stands in."""


@dataclass(frozen=True, slots=True)
class Open:
    """A rule that could still match: from ``start`` on, its secret from ``secret`` on (bytes)."""

    start: int
    secret: int


class Tails:
    """Looks at the end of a text for all rules at once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._expressions: dict[int, str] = {}
        self._exact: dict[int, re2._Regexp] = {}
        headed: dict[str, list[int]] = {}
        for number, rule in enumerate(rules):
            expression = expression_of(rule)
            if expression:
                self._expressions[number] = expression
                if not HEADLESS.match(rule.pattern):
                    headed.setdefault(rule.category, []).append(number)
        told = {number for numbers in headed.values() for number in numbers}
        self.headless = frozenset(self._expressions) - told
        """Rules that ``open`` does not tell of; they are asked one by one."""
        self._sets = [
            (set_of(self._expressions[number] for number in numbers), numbers)
            for numbers in headed.values()
        ]

    def open(self, data: bytes) -> list[int]:
        """Return the numbers of the rules that are in the middle of something at the end."""
        found: list[int] = []
        for expressions, numbers in self._sets:
            hit = expressions.Match(data)
            if not hit or 0 not in hit:
                raise Unfinished("the automaton of unfinished secrets ran out of memory")
            found += [numbers[place - 1] for place in hit if place]
        return found

    def knows(self, number: int) -> bool:
        """Tell whether it is known what this rule's unfinished matches look like."""
        return number in self._expressions

    def of_rule(self, number: int, data: bytes, start: int = 0) -> Open | None:
        """Return where this rule's unfinished match begins, from a byte offset on."""
        if number not in self._expressions:
            return None
        if number not in self._exact:
            self._exact[number] = compiled(self._expressions[number])
        match = self._exact[number].search(data, start)
        if match is None:
            return None
        taken = [match.start(group) for group in range(1, self._exact[number].groups + 1)]
        secret = min((at for at in taken if at >= 0), default=match.end())
        return Open(match.start(), secret)


def expression_of(rule: Rule) -> str:
    """Return the expression of the rule's unfinished texts; empty where we can't make one."""
    try:
        return unfinished(rule.pattern)
    except (ValueError, IndexError):
        return ""


class Run:
    """The last characters that no blank, quotation mark or bracket interrupts.

    If they look like part of a token or of encoded text they are held back; words are not: of
    ordinary prose nothing is. The price is that a token without a known beginning may show the
    small letters that it happens to begin with.
    """

    def __init__(self) -> None:
        self._start = 0
        self._word = ""
        """The run so far, while it may still be a word."""
        self._odd = False

    def feed(self, delta: str, at: int) -> None:
        """Read on; ``at`` is where the delta begins in the stream."""
        for place in range(len(delta) - 1, -1, -1):
            if breaks(delta[place]):
                self._start, self._word, self._odd = at + place + 1, delta[place + 1 :], False
                break
        else:
            self._word += delta
        if not self._odd and not is_word(self._word):
            self._odd = True
        if self._odd:
            self._word = ""

    def held(self, end: int) -> int:
        """Return from where on the text is held back; ``end`` where none of it is."""
        return self._start if self._odd else end


def breaks(char: str) -> bool:
    """Tell whether no token goes on over this character."""
    if char.isascii():
        return char in BREAKS or char.isspace()
    return not char.isalnum() and not INVISIBLE_CLASS.match(char)


def is_word(text: str) -> bool:
    """Tell whether this is what prose is made of: a word, perhaps hyphenated or punctuated."""
    parts = JOINTS.split(text)
    return all(not part or (part.isalpha() and part[1:] == part[1:].lower()) for part in parts)

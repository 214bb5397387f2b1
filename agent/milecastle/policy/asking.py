"""How one condition is written, and the test that it becomes.

A test is data where it can be (words, wildcards, a bound), so that a column can answer for a
thousand of them at once; only windows of time are asked one by one.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from milecastle.model import Json, Severity
from milecastle.policy.patterns import any_of, is_glob
from milecastle.yamldoc import (
    Field,
    Node,
    Report,
    Scalar,
    Shape,
    choice,
    nearest,
    one_or_many,
    record,
    text,
)

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES = 24 * 60

type Word = str | int


@dataclass(frozen=True, slots=True)
class Test:
    """One condition of one rule: words and wildcards, or a bound, or a function."""

    key: str
    """Where it stands in the document: ``process.exe``."""
    wants: str
    """In words. Tests of one key with equal words are equal."""
    words: frozenset[Word] = frozenset()
    globs: tuple[str, ...] = ()
    fold: bool = False
    """Whether upper and lower case are the same; words and globs are lower case then."""
    bound: tuple[str, float] | None = None
    """A key of COMPARISONS, and what a value is compared with."""
    asks: Callable[[Any], bool] | None = None

    def holds(self, value: Any) -> bool:  # noqa: ANN401 - as the condition reads it
        """Tell whether a value fits; of a tuple, whether one element does."""
        if self.bound is not None:
            sign, limit = self.bound
            return COMPARISONS[sign](value, limit)
        if self.asks is not None:
            return self.asks(value)
        elements = value if isinstance(value, tuple) else (value,)
        fits = compiled(self.globs)
        lower = (e.lower() if self.fold and isinstance(e, str) else e for e in elements)
        return any(e in self.words or (isinstance(e, str) and fits(e)) for e in lower)


@lru_cache(maxsize=8192)
def compiled(globs: tuple[str, ...]) -> Callable[[str], bool]:
    """Return what `any_of` makes of wildcards; a test is asked again and again."""
    return any_of(globs)


def tested[V](shape: Shape[V], make: Callable[[V], Test]) -> Shape[Test]:
    """Return the shape that reads the same and makes a test of it."""

    def read(node: Node, report: Report) -> Test | None:
        value = shape.read(node, report)
        return None if value is None else make(value)

    return Shape(read, shape.schema)


def any_word(key: str, chosen: Iterable[Word], *, fold: bool = False) -> Test:
    """Return the test for one of these words, taken as they are."""
    listed = tuple(chosen)
    return Test(key, " or ".join(map(str, listed)), frozenset(listed), fold=fold)


def any_glob(key: str, chosen: Iterable[Word], *, fold: bool = False) -> Test:
    """Return the test for one of these words, in which ``*``, ``?`` and ``[ab]`` are wildcards."""
    listed = tuple(chosen)
    wants = " or ".join(map(str, listed))
    known = [each.lower() if fold and isinstance(each, str) else each for each in listed]
    globs = tuple(each for each in known if isinstance(each, str) and is_glob(each))
    return Test(key, wants, frozenset(known) - frozenset(globs), globs, fold)


def globs(key: str, *, fold: bool = False) -> Shape[Test]:
    """Words with wildcards."""
    word = text("a word; *, ? and [ab] are wildcards", limit=256)
    return tested(one_or_many(word), lambda chosen: any_glob(key, chosen, fold=fold))


def words(key: str, *known: str) -> Shape[Test]:
    """Words of a closed set."""
    return tested(one_or_many(choice(*known)), lambda chosen: any_word(key, chosen))


def directions(key: str, within: Mapping[str, str]) -> Shape[Test]:
    """Ways that a message goes; ``within``: what travels inside which of them.

    The test is about the message; what it asks of findings is ``passages``.
    """

    def make(chosen: tuple[str, ...]) -> Test:
        ways = frozenset(within.get(each, each) for each in chosen)
        return Test(key, " or ".join(chosen), ways)

    return tested(one_or_many(choice("request", "response", *within)), make)


def hashes(key: str) -> Shape[Test]:
    """SHA-256 sums in hexadecimal."""
    sums = one_or_many(text("a SHA-256 in hexadecimal", "[0-9a-fA-F]{64}"))
    return tested(sums, lambda chosen: any_word(key, (each.lower() for each in chosen)))


def accounts(key: str, what: str) -> Shape[Test]:
    """Names of users or groups with wildcards, and numbers. The value is a tuple of both."""
    name = text(f"a {what}'s name or number", limit=256)

    def one(node: Node, report: Report) -> Word | None:
        if isinstance(node, Scalar) and re.fullmatch("[0-9]{1,10}", node.text):
            return int(node.text)
        return name.read(node, report)

    number: dict[str, Json] = {"type": "integer", "minimum": 0, "maximum": 10**10 - 1}
    shape: Shape[Word] = Shape(one, {"anyOf": [name.schema, number]})
    return tested(one_or_many(shape), lambda chosen: any_glob(key, chosen))


def comparison(key: str, example: str) -> Shape[Test]:
    """A comparison with a number: ``">= 0.8"``."""
    written = text(
        "a comparison", r"(?:>=|<=|>|<) *[0-9]{1,12}(?:\.[0-9]{1,6})?", hint=f'such as "{example}"'
    )

    def make(words: str) -> Test:
        sign, limit = split(words)
        return Test(key, f"{sign} {limit}", bound=(sign, float(limit)))

    return tested(written, make)


def severities(key: str) -> Shape[Test]:
    """One severity, a list of them, or a comparison: ``">= high"``."""
    names = [str(each) for each in Severity]
    pattern = rf"(?:>=|<=|>|<) *(?:{'|'.join(names)})"
    compared = text("a severity", pattern, hint='such as ">= high"')
    listed = one_or_many(choice(*names))

    def read(node: Node, report: Report) -> Test | None:
        if not (isinstance(node, Scalar) and node.text[:1] in {">", "<"}):
            chosen = listed.read(node, report)
            return any_word(key, chosen) if chosen else None
        written = compared.read(node, report)
        if written is None:
            return None
        sign, bound = split(written)
        compare, limit = COMPARISONS[sign], Severity(bound).rank
        fitting = frozenset(str(each) for each in Severity if compare(each.rank, limit))
        return Test(key, f"{sign} {bound}", fitting)

    return Shape(read, {"anyOf": [listed.schema, compared.schema]})


def split(comparison: str) -> tuple[str, str]:
    """Return sign and bound of ``>= x``."""
    sign = re.match("[<>]=?", comparison)
    assert sign, comparison
    return sign[0], comparison[sign.end() :].strip()


# --- time ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of some days of the week; one that goes over midnight belongs to the day it begins."""

    days: tuple[str, ...] = DAYS
    from_: int = 0
    """Minutes after midnight; ``to`` is exclusive, and MINUTES at most."""
    to: int = MINUTES
    zone: str = "UTC"

    def holds(self, minute: int) -> bool:
        """Tell whether a minute (Unix time / 60) falls into the window."""
        local = datetime.fromtimestamp(minute * 60, ZoneInfo(self.zone))
        day, now = local.weekday(), local.hour * 60 + local.minute
        if self.from_ < self.to:
            return DAYS[day] in self.days and self.from_ <= now < self.to
        if now >= self.from_:
            return DAYS[day] in self.days
        return now < self.to and DAYS[day - 1] in self.days

    def __str__(self) -> str:
        hours = "-".join(f"{each // 60:02}:{each % 60:02}" for each in (self.from_, self.to))
        return f"{' '.join(self.days)} {hours} {self.zone}"


def clock() -> Shape[int]:
    """A time of the day, read as minutes after midnight."""
    pattern = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00"
    written = text("a time of the day", pattern, hint='such as "08:30"')

    def read(node: Node, report: Report) -> int | None:
        value = written.read(node, report)
        return None if value is None else int(value[:2]) * 60 + int(value[3:])

    return Shape(read, written.schema)


def zone() -> Shape[str]:
    """A time zone by its name in the IANA database."""
    written = text("a time zone", r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}", limit=64)

    def read(node: Node, report: Report) -> str | None:
        value = written.read(node, report)
        if value is None:
            return None
        try:
            return ZoneInfo(value).key
        except (KeyError, ValueError, OSError):
            report.at(
                node, f"there is no time zone {value!r}", nearest(value, available_timezones())
            )
            return None

    return Shape(read, written.schema)


WINDOW: dict[str, Field] = {
    "days": Field(one_or_many(choice(*DAYS)), "Days of the week; all where absent."),
    "from": Field(clock(), "Where it begins; midnight where absent."),
    "to": Field(clock(), "Where it ends; before `from`, it goes over midnight."),
    "zone": Field(zone(), "Whose clock: Europe/Rome; UTC where absent."),
}


def windows(key: str) -> Shape[Test]:
    """One window of time, or several. The value is Unix time in whole minutes."""

    def make(chosen: tuple[Window, ...]) -> Test:
        def asks(minute: int) -> bool:
            return any(window.holds(minute) for window in chosen)

        return Test(key, " or ".join(map(str, chosen)), asks=asks)

    return tested(one_or_many(record(Window, WINDOW)), make)

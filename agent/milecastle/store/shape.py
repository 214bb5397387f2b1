"""Checks for values that came from somebody else: small functions that are put together in tables.

A check takes a value and raises ParseError or returns nothing. It never changes a value and never
quotes one in its message, which may be somebody's secret; containers put the place in front, so
that it reads ``findings: 3: severity: is none of critical, high``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from milecastle.model import ParseError

type Check = Callable[[object], None]


def anything(value: object) -> None:
    """Accept; for values that are kept but never read."""


def text(limit: int) -> Check:
    """Accept a string of at most ``limit`` characters."""

    def check(value: object) -> None:
        if not isinstance(value, str):
            raise ParseError("is not a string")
        if len(value) > limit:
            raise ParseError(f"has {len(value)} characters, the limit is {limit}")

    return check


def matching(pattern: str) -> Check:
    """Accept a string that the pattern matches as a whole."""
    compiled = re.compile(pattern)

    def check(value: object) -> None:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise ParseError(f"does not have the form {pattern}")

    return check


def one_of(kind: type[StrEnum]) -> Check:
    """Accept the value of one of the enumeration's members."""
    members = frozenset(member.value for member in kind)

    def check(value: object) -> None:
        if not isinstance(value, str) or value not in members:
            raise ParseError(f"is none of {', '.join(sorted(members))}")

    return check


def whole(low: int, high: int) -> Check:
    """Accept an integer from ``low`` to ``high``; never a bool."""

    def check(value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ParseError("is not an integer")
        if not low <= value <= high:
            raise ParseError(f"is not between {low} and {high}")

    return check


def number(low: float, high: float) -> Check:
    """Accept a finite number from ``low`` to ``high``; never a bool."""

    def check(value: object) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ParseError("is not a number")
        if not math.isfinite(value) or not low <= value <= high:
            raise ParseError(f"is not between {low:g} and {high:g}")

    return check


def optional(inner: Check) -> Check:
    """Accept None, or what ``inner`` accepts."""

    def check(value: object) -> None:
        if value is not None:
            inner(value)

    return check


def listed(inner: Check, limit: int) -> Check:
    """Accept a list of at most ``limit`` values that ``inner`` accepts."""

    def check(value: object) -> None:
        if not isinstance(value, list | tuple):
            raise ParseError("is not a list")
        if len(value) > limit:
            raise ParseError(f"has {len(value)} items, the limit is {limit}")
        for position, item in enumerate(value):
            try:
                inner(item)
            except ParseError as error:
                raise ParseError(f"{position}: {error}") from None

    return check


def mapping(
    required: Mapping[str, Check], known: Mapping[str, Check] | None = None, *, limit: int = 64
) -> Check:
    """Accept a dict with the required keys.

    Values of required and known keys are checked; a key that is neither is kept as it is, so that
    a newer worker may say more than an older store reads. ``limit`` bounds the number of keys.
    """
    checks = {**required, **(known or {})}
    needed = required.keys()

    def check(value: object) -> None:
        if not isinstance(value, dict):
            raise ParseError("is not a mapping")
        if len(value) > limit:
            raise ParseError(f"has {len(value)} keys, the limit is {limit}")
        if missing := needed - value.keys():
            raise ParseError(f"lacks {', '.join(sorted(missing))}")
        for key, item in value.items():
            if not isinstance(key, str):
                raise ParseError("has a key that is not a string")
            if inner := checks.get(key):
                try:
                    inner(item)
                except ParseError as error:
                    raise ParseError(f"{key}: {error}") from None

    return check

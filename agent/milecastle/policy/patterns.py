"""Words with wildcards, and which of several that fit is the closest. Linear time, bounded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

LONGEST_VALUE = 4096
"""Characters of a value that are looked at. Paths end here, and no model's name is as long."""

MOST_FOUND = 1024
"""Words whose closest pattern is remembered; there are fewer services."""

_WILD = re.compile(r"[*?\[]")
_PIECES = re.compile(r"[*?]|\[.*\]|\[.*", re.DOTALL)
"""From the first bracket to the last is left out: where a set ends is `fnmatch`'s matter."""


def is_glob(pattern: str) -> bool:
    """Tell whether a pattern has a wildcard: ``*`` any run, ``?`` one character, ``[ab]``."""
    return bool(_WILD.search(pattern))


def any_of(patterns: Iterable[str], *, fold: bool = False) -> Callable[[str], bool]:
    """Return a test whether a value fits one of the patterns as a whole.

    ``*`` crosses ``/`` too. With ``fold``, upper and lower case are the same.
    """
    written = [pattern.lower() if fold else pattern for pattern in patterns]
    words = frozenset(pattern for pattern in written if not is_glob(pattern))
    # translate() makes atomic groups, so a hostile value costs its length, not its square
    globs = [translate(pattern) for pattern in written if is_glob(pattern)]
    matches = re.compile("|".join(globs)).match if globs else None

    def fits(value: str) -> bool:
        value = value[:LONGEST_VALUE]
        if fold:
            value = value.lower()
        return value in words or (matches is not None and matches(value) is not None)

    return fits


def literals(pattern: str) -> tuple[str, str, str]:
    """Return what every fitting word begins with, holds somewhere, and ends with.

    A set in brackets counts as a wildcard as a whole; nothing of it is a literal.
    """
    pieces = _PIECES.split(pattern)
    return pieces[0], max(pieces, key=len), pieces[-1]


class Closest[T]:
    """Of all patterns that fit a word, the closest decides: the exact one, else the longest.

    Between equally long ones the value that stands later in ``order`` decides.
    """

    def __init__(self, rows: Iterable[tuple[str, T]], order: Sequence[T]) -> None:
        self._rows = sorted(
            rows,
            key=lambda row: (
                not is_glob(row[0]),
                len(_WILD.sub("", row[0])),
                order.index(row[1]),
            ),
            reverse=True,
        )
        self._tests = [(any_of([pattern]), value) for pattern, value in self._rows]
        self._found: dict[str, T | None] = {}

    def find(self, word: str) -> T | None:
        """Return the value of the closest pattern; None where none fits."""
        if word not in self._found:
            if len(self._found) >= MOST_FOUND:
                self._found.clear()
            self._found[word] = next((value for fits, value in self._tests if fits(word)), None)
        return self._found[word]

"""The grammar of places: where in a body a string stands, so that exactly it can be rewritten.

A place is a JSON Pointer (RFC 6901) with four additions, each a character that the pointer would
otherwise have to escape:

- ``#`` enters a JSON document that is itself held in the string so far;
- ``^`` enters text that is held in the string so far as base64, after ``data:...;base64,`` if any;
- ``~`` at the end names the member's key, not its value;
- ``@120-540`` at the beginning is a byte range of a body that is not one JSON document (a field
  of a form, a line of JSON lines). ``#`` may follow it.

``/messages/1/tool_calls/0/function/arguments#/command`` is the command inside the arguments.
In keys ``~ / # ^ @`` are written ``~0 ~1 ~2 ~3 ~4``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from milecastle.model import ParseError

LONGEST = 16 << 10
"""Longest place that is taken apart, characters."""
LONGEST_POINTER = 254
"""Most tokens in one pointer; JSON nested deeper is refused when it is read."""
DEEPEST = 8
"""Most documents inside one another."""

_PLAIN = str.maketrans({"~": "~0", "/": "~1", "#": "~2", "^": "~3", "@": "~4"})
_CODED = {"~0": "~", "~1": "/", "~2": "#", "~3": "^", "~4": "@"}
_CODE = re.compile(r"~[0-4]")
_RANGE = re.compile(r"@(\d{1,15})-(\d{1,15})")
_STEP = re.compile(r"((?:/[^/#^@]*)*)([#^])?")

type Entrance = Literal["#", "^", ""]


@dataclass(frozen=True, slots=True)
class Step:
    """One pointer inside one document, and how the next document is entered."""

    tokens: tuple[str, ...]
    enters: Entrance = ""
    names_key: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    steps: tuple[Step, ...]
    range: tuple[int, int] | None = None
    """The byte range that the first step begins in; None for the whole body."""
    text: bool = False
    """The range is the text itself, not a JSON document."""


def token(key: str) -> str:
    """Return a key as it is written in a place."""
    return key if key.isidentifier() else key.translate(_PLAIN)


def plain(written: str) -> str:
    """Return the key that ``token`` wrote."""
    return _CODE.sub(lambda match: _CODED[match[0]], written) if "~" in written else written


def byte_range(start: int, end: int) -> str:
    """Return the place of the bytes ``start:end`` of a body."""
    return f"@{start}-{end}"


def take_apart(place: str) -> Place:
    """Return the place's steps, outermost document first."""
    if len(place) > LONGEST:
        raise ParseError(f"a place of {len(place)} characters")
    found = _RANGE.match(place)
    at = found.end() if found else 0
    range_ = (int(found[1]), int(found[2])) if found else None
    if found and place[at : at + 1] != "#":
        if at < len(place):
            raise ParseError(f"not a place: {place[:80]!r}")
        return Place((), range_, text=True)
    at += bool(found)
    steps: list[Step] = []
    while len(steps) < DEEPEST:
        match = _STEP.match(place, at)
        assert match is not None  # the pattern also matches nothing
        written = match[1].split("/")[1:]
        names_key = bool(written) and written[-1].endswith("~")
        if names_key:
            written[-1] = written[-1][:-1]
        enters: Entrance = "#" if match[2] == "#" else "^" if match[2] == "^" else ""
        steps.append(Step(tuple(map(plain, written)), enters, names_key))
        if len(written) > LONGEST_POINTER:
            raise ParseError(f"a pointer of {len(written)} tokens")
        at = match.end()
        if not enters or (enters == "^" and at == len(place)):
            break
    if at != len(place) or (steps[-1].names_key and steps[-1].enters):
        raise ParseError(f"not a place: {place[:80]!r}")
    return Place(tuple(steps), range_)

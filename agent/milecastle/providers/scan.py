"""Find where values stand in the bytes of a JSON document that is known to be well formed.

Only what was asked for is walked; everything else is skipped by one pattern, so a scan costs a
few milliseconds a megabyte. Numbers and literals have spans too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from milecastle.model import ParseError
from milecastle.providers.document import read_lenient

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb"[^\s,\]}:\"\[{]++")
_BRACKETS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start:end`` of a document, a string's quotes included."""

    start: int
    end: int


@dataclass(slots=True)
class Wanted:
    """The pointers that a scan looks for, as a tree of their tokens."""

    below: dict[str, Wanted] = field(default_factory=dict)
    value: bool = False
    key: bool = False

    def add(self, tokens: tuple[str, ...], *, key: bool = False) -> None:
        """Look for the value at ``tokens``, or for the key that names it."""
        node = self
        for token in tokens:
            node = node.below.setdefault(token, Wanted())
        if key:
            node.key = True
        else:
            node.value = True


type Found = dict[tuple[tuple[str, ...], bool], Span]


def scan(document: bytes, wanted: Wanted) -> Found:
    """Return the span of each wanted (tokens, is a key). ParseError where one is missing."""
    found: Found = {}
    end = _value(document, _space(document, 0), wanted, (), found)
    if _space(document, end) != len(document):
        raise ParseError("not JSON: something after the document")
    if missing := _count(wanted) - len(found):
        raise ParseError(f"{missing} places are not in the body")
    return found


def elements(document: bytes, key: str) -> tuple[int, list[int]]:
    """Return where the array under a key of the root begins, and where each element ends.

    ParseError where there is no such array.
    """
    at = _space(document, 0)
    while document[at : at + 1] in (b"{", b","):
        match = _STRING.match(document, _space(document, at + 1))
        if match is None:
            break
        at = _space(document, _space(document, match.end()) + 1)  # behind the colon
        if read_lenient(match[0]) == key and document[at : at + 1] == b"[":
            return at + 1, _ends(document, at)
        at = _space(document, _skip(document, at))
    raise ParseError(f"no array {key}")


def _ends(document: bytes, at: int) -> list[int]:
    ends: list[int] = []
    while document[at : at + 1] in (b"[", b","):
        at = _space(document, at + 1)
        if document[at : at + 1] == b"]":
            break
        ends.append(_skip(document, at))
        at = _space(document, ends[-1])
    return ends


def _count(wanted: Wanted) -> int:
    return wanted.value + wanted.key + sum(map(_count, wanted.below.values()))


def _space(document: bytes, at: int) -> int:
    match = _SPACE.match(document, at)
    assert match is not None  # the pattern also matches nothing
    return match.end()


def _value(document: bytes, at: int, wanted: Wanted, here: tuple[str, ...], found: Found) -> int:
    """Return where the value that begins at ``at`` ends."""
    first = document[at : at + 1]
    if not wanted.below or first not in (b"{", b"["):
        end = _skip(document, at)
    elif first == b"{":
        end = _object(document, at + 1, wanted, here, found)
    else:
        end = _array(document, at + 1, wanted, here, found)
    if wanted.value:
        found[here, False] = Span(at, end)
    return end


def _object(document: bytes, at: int, wanted: Wanted, here: tuple[str, ...], found: Found) -> int:
    at = _space(document, at)
    if document[at : at + 1] == b"}":
        return at + 1
    while True:
        match = _STRING.match(document, at)
        if match is None:
            raise ParseError("not JSON: a key is not a string")
        key = read_lenient(match[0])
        at = _space(document, match.end())
        if document[at : at + 1] != b":":
            raise ParseError("not JSON: a key without a value")
        at = _space(document, at + 1)
        node = wanted.below.get(key) if isinstance(key, str) else None
        if node is None:
            at = _skip(document, at)
        else:
            below = (*here, str(key))
            if node.key:
                found[below, True] = Span(*match.span())
            at = _value(document, at, node, below, found)
        at = _space(document, at)
        if document[at : at + 1] == b"}":
            return at + 1
        if document[at : at + 1] != b",":
            raise ParseError("not JSON: members without a comma")
        at = _space(document, at + 1)


def _array(document: bytes, at: int, wanted: Wanted, here: tuple[str, ...], found: Found) -> int:
    at = _space(document, at)
    if document[at : at + 1] == b"]":
        return at + 1
    index = 0
    while True:
        node = wanted.below.get(str(index))
        if node is None:
            at = _skip(document, at)
        else:
            at = _value(document, at, node, (*here, str(index)), found)
        at = _space(document, at)
        if document[at : at + 1] == b"]":
            return at + 1
        if document[at : at + 1] != b",":
            raise ParseError("not JSON: items without a comma")
        at = _space(document, at + 1)
        index += 1


def _skip(document: bytes, at: int) -> int:
    """Return where the value that begins at ``at`` ends, without looking into it."""
    first = document[at : at + 1]
    if first in (b"{", b"["):
        depth = 0
        for match in _BRACKETS.finditer(document, at):
            mark = match[0]
            if mark in (b"{", b"["):
                depth += 1
            elif mark in (b"}", b"]"):
                depth -= 1
                if depth == 0:
                    return match.end()
        raise ParseError("not JSON: an unclosed bracket")
    found = (_STRING if first == b'"' else _SCALAR).match(document, at)
    if found is None:
        raise ParseError("not JSON: no value where one should be")
    return found.end()

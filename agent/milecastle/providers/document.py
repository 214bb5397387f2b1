"""Bytes -> JSON values, read so that no other reader can have read something else.

A guard and a provider that read one body differently are a way around the guard. So whatever
readers are known to disagree about is refused: repeated keys (first, last or both may win), a
byte order mark, UTF-16, bytes that are not UTF-8, NaN and Infinity, anything after the document,
nesting deeper than 254. Lone surrogate escapes, which JavaScript writes when it cuts a text in the
middle of an emoji, are read as U+FFFD, as most readers do; a comma behind the last item, which
some providers take, is passed over.
"""

from __future__ import annotations

import json
import re

import orjson

from milecastle.model import Json, ParseError

LARGEST = 256 << 20
"""Largest body that is read, bytes. The proxy's own limit on bodies is lower."""
DEEPEST = 254
"""Deepest nesting that is read: what orjson writes, and what recursive walks can take."""

_BEGINNING = 200
"""Bytes in which a document shows whether its writer puts a space behind a colon."""

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: kept
    rb"|u[dD][89a-fA-F][0-9a-fA-F]{2}"  # half of a pair, six bytes long
    rb"|.)",
    re.DOTALL,
)
_TRAILING_COMMA = re.compile(
    # a string that is never closed is taken to the end: else each quote in it would be tried
    rb'("[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z))|,(?=[ \t\r\n]*+[\]}])',
    re.DOTALL,
)


def read(body: bytes) -> Json:
    """Return the one value that ``body`` can mean, or raise ParseError."""
    try:
        value = _load(body)
    except ParseError:
        mended = mend(body)
        if mended == body:
            raise
        body, value = mended, _load(mended)
    try:
        # What orjson would have written itself repeats no key; most clients write the same way.
        if _as_written(value, body):
            return value
    except TypeError:
        raise ParseError(f"JSON nested deeper than {DEEPEST}") from None
    refuse_repeated_keys(body)
    return value


def _as_written(value: Json, body: bytes) -> bool:
    """Tell whether the commonest writers would write exactly this: compact, or as json.dumps.

    TypeError where it is nested too deeply.
    """
    compact = orjson.dumps(value)
    if b'": ' in body[:_BEGINNING]:
        return json.dumps(value, ensure_ascii=body.isascii()).encode() == body
    return compact == body


def overridden(body: bytes, value: Json) -> list[Json]:
    """Return the values that a later member of the same name hides from ``read_lenient``.

    A client may read the first of them. None where the document isn't JSON.
    """
    hidden: list[Json] = []

    def gather(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        last = dict(pairs)
        if len(last) != len(pairs):
            hidden.extend(each for key, each in pairs if last[key] is not each)
        return last

    if _as_written(value, body):
        return []
    try:
        json.loads(mend(body), object_pairs_hook=gather)
    except (ValueError, RecursionError):
        return []
    return hidden


def read_lenient(body: bytes | str) -> Json:
    """Return the value as orjson reads it: of repeated keys the last. For what a provider sent."""
    try:
        value = _load(body)
    except ParseError:
        raw = body.encode("utf-8", "replace") if isinstance(body, str) else body
        mended = mend(raw)
        if mended == raw:
            raise
        value = _load(mended)
    opened = (
        body.count("[") + body.count("{")
        if isinstance(body, str)
        else (body.count(b"[") + body.count(b"{"))
    )
    if opened > DEEPEST:
        try:
            orjson.dumps(value)
        except TypeError:
            raise ParseError(f"JSON nested deeper than {DEEPEST}") from None
    return value


def refuse_repeated_keys(body: bytes) -> None:
    """Raise ParseError where an object of this (well-formed) document has a key twice."""
    try:
        json.loads(
            body.decode(),
            object_pairs_hook=_distinct,
            parse_int=_nothing,
            parse_float=_nothing,
        )
    except ParseError:
        raise
    except (ValueError, RecursionError) as error:
        raise ParseError(f"not JSON: {type(error).__name__}") from None


def mend(body: bytes) -> bytes:
    r"""Return strict JSON of the same length where only common slips stand in the way.

    A lone surrogate escape becomes ``\ufffd``; a comma behind the last item becomes a space.
    Each has one meaning to every reader that takes it at all, and offsets hold.
    """
    if b"\\ud" in body or b"\\uD" in body:
        body = _ESCAPE.sub(_mended, body)
    return _TRAILING_COMMA.sub(lambda match: match[1] or b" ", body)


def _mended(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if len(match[0]) == 6 else match[0]


def _load(body: bytes | str) -> Json:
    if len(body) > LARGEST:
        raise ParseError(f"a body of {len(body)} bytes, the limit is {LARGEST}")
    try:
        value: Json = orjson.loads(body)
    except ValueError as error:  # names a position, quotes nothing of the body
        raise ParseError(f"not JSON: {str(error)[:120]}") from None
    return value


def _distinct(pairs: list[tuple[str, Json]]) -> None:
    if len(pairs) > 1 and len({key for key, _ in pairs}) != len(pairs):
        raise ParseError("JSON with a repeated key: readers disagree about what it means")


def _nothing(_: str) -> None:
    return None

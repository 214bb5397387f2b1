"""Bytes -> JSON values, read so that no other reader can have read something else.

A guard and a provider that read one body differently are a way around the guard. So whatever
readers are known to disagree about is refused: repeated keys (first, last or both may win), a
byte order mark, UTF-16, bytes that are not UTF-8, NaN and Infinity, anything after the document,
nesting deeper than 254. Lone surrogate escapes, which JavaScript writes when it cuts a text in the
middle of an emoji, are read as U+FFFD, as most readers do.
"""

from __future__ import annotations

import json
import re

import orjson

from milecastle.model import Json, ParseError

LARGEST = 256 << 20
"""Largest body that is read, bytes. The proxy's own limit on bodies is lower."""

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: kept
    rb"|u[dD][89a-fA-F][0-9a-fA-F]{2}"  # half of a pair, six bytes long
    rb"|.)",
    re.DOTALL,
)


def read(body: bytes) -> Json:
    """Return the one value that ``body`` can mean, or raise ParseError."""
    value = read_lenient(body)
    try:
        # What orjson would have written itself repeats no key; most clients write the same way.
        if orjson.dumps(value) == body:
            return value
    except TypeError:
        raise ParseError("JSON nested deeper than 254") from None
    refuse_repeated_keys(body)
    return value


def read_lenient(body: bytes | bytearray | memoryview | str) -> Json:
    """Return the value as orjson reads it: of repeated keys the last. For what a provider sent."""
    if len(body) > LARGEST:
        raise ParseError(f"a body of {len(body)} bytes, the limit is {LARGEST}")
    try:
        value: Json = orjson.loads(body)
    except ValueError as error:
        if "surrogate" not in str(error) or b"\\" not in (raw := _bytes(body)):
            raise ParseError(f"not JSON: {_without_content(error)}") from None
        mended = mend_surrogates(raw)
        if mended == raw:
            raise ParseError(f"not JSON: {_without_content(error)}") from None
        return read_lenient(mended)
    return value


def refuse_repeated_keys(body: bytes) -> None:
    """Raise ParseError where an object of this (well-formed) document has a key twice."""
    try:
        json.loads(
            mend_surrogates(body).decode(),
            object_pairs_hook=_distinct,
            parse_int=_nothing,
            parse_float=_nothing,
        )
    except ParseError:
        raise
    except (ValueError, RecursionError) as error:
        raise ParseError(f"not JSON: {type(error).__name__}") from None


def mend_surrogates(body: bytes) -> bytes:
    r"""Write each lone surrogate escape as ``\\ufffd``: as long as before, so offsets hold."""
    return _ESCAPE.sub(_mended, body) if b"\\ud" in body or b"\\uD" in body else body


def _mended(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if len(match[0]) == 6 else match[0]


def _bytes(body: bytes | bytearray | memoryview | str) -> bytes:
    return body.encode("utf-8", "replace") if isinstance(body, str) else bytes(body)


def _distinct(pairs: list[tuple[str, Json]]) -> None:
    if len(pairs) > 1 and len({key for key, _ in pairs}) != len(pairs):
        raise ParseError("JSON with a repeated key: readers disagree about what it means")


def _nothing(_: str) -> None:
    return None


def _without_content(error: ValueError) -> str:
    """Return orjson's message, which names a position but quotes nothing of the body."""
    return str(error)[:120]

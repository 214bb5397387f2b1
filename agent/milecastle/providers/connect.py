"""Connect and gRPC: enveloped messages, JSON or protobuf of an unknown schema.

An envelope is a flag byte, a 32-bit big-endian length and the message (connectrpc.com's protocol,
grpc's PROTOCOL-HTTP2). Without a schema, protobuf still shows its strings; each becomes text, so
that what an editor sends is scanned. Such texts can be read, not rewritten: lengths around them
would change. Their places begin with ``!``.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import orjson

from milecastle.model import Leaf, ParseError
from milecastle.providers.frame import Frame

HEADER = 5
LARGEST = 32 << 20
COMPRESSED = 1
END = 0x82
"""Flags of a last envelope that holds trailers: 0x02 in Connect, 0x80 in gRPC-Web."""
DEEPEST = 24
MOST = 20_000
"""Most strings that are taken from one message."""


class Envelopes:
    """Bytes of any split -> frames; compressed messages are decompressed, bounded."""

    whole = False

    def __init__(self, encoding: str = "", *, protobuf: bool = False) -> None:
        """Read messages compressed with ``encoding``; protobuf ones as JSON of their texts."""
        self.offset = 0
        self._encoding = encoding
        self._protobuf = protobuf
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the messages that are now whole. ParseError on a length beyond the limit."""
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        while len(self._buffer) - at >= HEADER:
            flags, size = self._buffer[at], int.from_bytes(self._buffer[at + 1 : at + 5], "big")
            if size > LARGEST:
                raise ParseError(f"an envelope of {size} bytes, the limit is {LARGEST}")
            if len(self._buffer) - at < HEADER + size:
                break
            payload = bytes(self._buffer[at + HEADER : at + HEADER + size])
            start = self.offset + at
            at += HEADER + size
            if flags & COMPRESSED:
                payload = decompressed(payload, self._encoding)
            if payload:
                if flags & END and payload[:1] != b"{":
                    payload = orjson.dumps({"trailers": payload.decode("utf-8", "replace")})
                elif self._protobuf and not flags & END:
                    payload = as_json(payload)
                frames.append(Frame(payload, start, start + HEADER + size))
        del self._buffer[:at]
        self.offset += at
        return frames

    def close(self) -> list[Frame]:
        """Return nothing: a message that is cut short is read by nobody."""
        return []

    def unwrap(self, raw: bytes) -> bytes:
        """Return the message of one envelope."""
        frames = Envelopes(self._encoding, protobuf=self._protobuf).feed(raw)
        if len(frames) != 1:
            raise ParseError("not exactly one envelope")
        return frames[0].payload

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Return the envelope with another message, uncompressed."""
        if self._protobuf:
            raise ParseError("protobuf without a schema can't be rewritten")
        return bytes([raw[0] & ~COMPRESSED]) + len(payload).to_bytes(4, "big") + payload


def decompressed(payload: bytes, encoding: str) -> bytes:
    """Return a message without its compression (gzip, unless the head said otherwise)."""
    if encoding not in ("", "gzip", "deflate", "identity"):
        raise ParseError(f"an envelope compressed with {encoding[:20]!r}")
    if encoding == "identity":
        return payload
    reader = zlib.decompressobj(47)  # gzip or zlib, told by the header
    try:
        data = reader.decompress(payload, LARGEST + 1)
    except zlib.error:
        raise ParseError("an envelope that is not gzip") from None
    if len(data) > LARGEST:
        raise ParseError(f"an envelope that unpacks to more than {LARGEST} bytes")
    return data


def as_json(message: bytes) -> bytes:
    """Return a protobuf message's texts as JSON: path of field numbers -> texts."""
    found: dict[str, list[str]] = {}
    for leaf in strings(message, ""):
        found.setdefault(leaf.place.strip("/").replace("/", "."), []).append(leaf.text)
    return orjson.dumps(found)


def strings(message: bytes, place: str = "!") -> list[Leaf]:
    """Return the texts of a protobuf message of unknown schema."""
    found: list[Leaf] = []
    _take(message, place, found, 0)
    return found


def _take(value: bytes, place: str, found: list[Leaf], depth: int) -> None:
    """Add what a field holds: a text, the texts of a message, or what is readable in it."""
    text = _text(value) if depth else None
    if text is not None:
        _add(found, place, text)
        return
    mark = len(found)
    if depth < DEEPEST:
        try:
            for number, inner in _fields(value):
                _take(inner, f"{place}/{number}", found, depth + 1)
        except ParseError:
            del found[mark:]
        else:
            return
    for run in _READABLE.findall(value.decode("utf-8", "ignore")):
        _add(found, place, run)


def _add(found: list[Leaf], place: str, text: str) -> None:
    if text:
        if len(found) >= MOST:
            raise ParseError(f"protobuf: more than {MOST} texts")
        found.append(Leaf(place, text))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of the length-delimited fields. ParseError where it is no message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ParseError("protobuf: field 0")
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ParseError("protobuf: a field longer than its message")
            yield number, message[at : at + size]
            at += size
        else:
            raise ParseError("protobuf: a wire type that nobody writes")
    if at != len(message):
        raise ParseError("protobuf: cut short")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ParseError("protobuf: a number without an end")


def _text(value: bytes) -> str | None:
    """Return the text that a field holds; None where it is a message or other bytes."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if text.translate(_WHITESPACE).isprintable() else None


_READABLE = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f]{6,}")
"""Runs of text in bytes that are neither text nor a message."""
_WHITESPACE = {9: " ", 10: " ", 13: " ", 0xA0: " ", 0x3000: " ", 0x200D: " ", 0xFE0F: " "}

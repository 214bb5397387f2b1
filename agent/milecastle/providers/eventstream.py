"""Amazon's event stream: binary frames with headers and two CRCs.

A frame is total length, headers length, CRC-32 of these eight bytes, headers, payload, CRC-32 of
everything before it (all big-endian). Source: AWS, "Event stream encoding" (Transcribe developer
guide), and smithy.io/2.0/aws/amazon-eventstream. A wrong CRC is a ParseError: what one reader
repairs another may read otherwise.

Bedrock's ``chunk`` events hold a document as base64 in JSON; it is taken out and put back.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

import orjson

from milecastle.model import Json, ParseError
from milecastle.providers.document import read_lenient
from milecastle.providers.frame import Frame
from milecastle.providers.typed import mapping, string

LARGEST = 24 << 20
"""Largest frame, bytes: the encoding's own limit is 24 MB."""
WRAPPED = "chunk"
"""The event whose payload holds a document as base64 under ``bytes``."""
PRELUDE = 12
OVERHEAD = PRELUDE + 4

_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Header value type -> its length; 6 (bytes) and 7 (string) say theirs."""
_STRING = 7


class EventStream:
    """Bytes of any split -> frames; holds at most one unfinished frame."""

    whole = False

    def __init__(self) -> None:
        self.offset = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are now whole. ParseError on a bad length or CRC."""
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        while len(self._buffer) - at >= PRELUDE:
            size = _size(self._buffer[at : at + PRELUDE])
            if len(self._buffer) - at < size:
                break
            raw = bytes(self._buffer[at : at + size])
            headers, payload = split(raw)
            start = self.offset + at
            at += size
            if payload:
                name = _name(headers)
                frames.append(Frame(_inner(name, payload), start, start + size, name))
        del self._buffer[:at]
        self.offset += at
        return frames

    def close(self) -> list[Frame]:
        """Return nothing: a frame that is cut short has no CRC, and no client reads it."""
        return []

    def unwrap(self, raw: bytes) -> bytes:
        """Return the document of one frame."""
        headers, payload = split(raw)
        return _inner(_name(headers), payload)

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Return the frame with another document, and new lengths and CRCs."""
        _size(raw[:PRELUDE])
        headers, before = split(raw)
        if _name(headers) == WRAPPED and (outer := _wrapping(before)):
            outer["bytes"] = base64.b64encode(payload).decode()
            payload = orjson.dumps(outer)
        length = struct.unpack(">I", raw[4:8])[0]
        return join(raw[PRELUDE : PRELUDE + length], payload)


def join(headers: bytes, payload: bytes) -> bytes:
    """Return a frame of encoded headers and a payload."""
    prelude = struct.pack(">II", len(headers) + len(payload) + OVERHEAD, len(headers))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    frame = prelude + headers + payload
    return frame + struct.pack(">I", zlib.crc32(frame))


def event(kind: str, payload: bytes) -> bytes:
    """Return a frame that carries JSON as an event of this kind."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    encoded = b"".join(
        bytes([len(name)])
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    return join(encoded, payload)


def split(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Return one frame's string headers and its payload; ParseError where a CRC is wrong."""
    if len(raw) < OVERHEAD or _size(raw[:PRELUDE]) != len(raw):
        raise ParseError("event stream: not exactly one frame")
    if zlib.crc32(raw[:-4]) != struct.unpack(">I", raw[-4:])[0]:
        raise ParseError("event stream: wrong CRC of a frame")
    end = PRELUDE + struct.unpack(">I", raw[4:8])[0]
    return _headers(raw[PRELUDE:end]), raw[end:-4]


def _size(prelude: bytes | bytearray) -> int:
    """Return the frame's length; ParseError where the prelude is not what it says."""
    size, headers, crc = struct.unpack(">III", prelude)
    if zlib.crc32(prelude[:8]) != crc:
        raise ParseError("event stream: wrong CRC of a prelude")
    if not OVERHEAD <= size <= LARGEST or headers > size - OVERHEAD:
        raise ParseError(f"event stream: a frame of {size} bytes with headers of {headers}")
    return int(size)


def _headers(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(raw):
        length = raw[at]
        name = raw[at + 1 : at + 1 + length]
        at += 1 + length
        kind = raw[at] if at < len(raw) else -1
        at += 1
        if kind in (6, 7):
            size = int.from_bytes(raw[at : at + 2], "big")
            at += 2
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise ParseError("event stream: a header of no known type")
        if at + size > len(raw):
            raise ParseError("event stream: a header longer than the headers")
        if kind == _STRING:
            found[name.decode("utf-8", "replace")] = raw[at : at + size].decode("utf-8", "replace")
        at += size
    return found


def _name(headers: dict[str, str]) -> str:
    return (
        headers.get(":event-type")
        or headers.get(":exception-type")
        or (headers.get(":error-code", ""))
    )


def _wrapping(payload: bytes) -> dict[str, Json]:
    """Return the object around a document; empty where it stands bare, as imitations send it."""
    outer = mapping(read_lenient(payload))
    if "bytes" not in outer and "type" in outer:
        return {}
    if not isinstance(outer.get("bytes"), str):
        raise ParseError("event stream: a chunk without bytes")
    return outer


def _inner(name: str, payload: bytes) -> bytes:
    if name != WRAPPED or not (outer := _wrapping(payload)):
        return payload
    try:
        return base64.b64decode(string(outer["bytes"]), validate=True)
    except binascii.Error:
        raise ParseError("event stream: a chunk that is not base64") from None

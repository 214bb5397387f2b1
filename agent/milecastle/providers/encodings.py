"""Content codings, undone within bounds: a body of a few bytes may hold gigabytes of zeros.

Decoders are incremental, so a stream is read as it comes. Nothing is guessed: a coding that is
not in the table, or bytes that are not in their coding, raise ParseError.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli
import zstandard

from milecastle.model import ParseError

STEP = 1 << 16
PIECE = 256
CODINGS_AT_ONCE = 2
OVERHEAD = 4096
"""Bytes by which coding a short body may make it longer."""


class Decoder(Protocol):
    """Undoes one coding, piece by piece."""

    def feed(self, data: bytes, room: int) -> bytes:
        """Return what can be decoded now; ParseError beyond ``room`` bytes or on garbage."""

    @property
    def ended(self) -> bool:
        """Whether the coded data is complete."""


class Zlib:
    """gzip (RFC 1952) and deflate (RFC 9110 section 8.4.1.2: the zlib format)."""

    def __init__(self, window: int) -> None:
        self._zlib = zlib.decompressobj(window)
        self.ended = False

    def feed(self, data: bytes, room: int) -> bytes:
        if self.ended:
            raise ParseError("bytes after the end of the coded body")
        try:
            decoded = self._zlib.decompress(data, room + 1)
        except zlib.error:
            raise ParseError("not gzip or deflate") from None
        if len(decoded) > room:
            raise ParseError("over the limit when decoded")
        self.ended = self._zlib.eof
        if self._zlib.unused_data:
            raise ParseError("bytes after the end of the coded body")
        return decoded


class Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self._brotli = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        return bool(self._brotli.is_finished())

    def feed(self, data: bytes, room: int) -> bytes:
        decoded = bytearray()
        try:
            while True:  # it gives a step at a time, and nothing once it wants more
                step = self._brotli.process(data, output_buffer_limit=STEP)
                decoded += step
                if not step or self.ended or len(decoded) > room:
                    break
                data = b""
        except brotli.error:
            raise ParseError("not brotli") from None
        if len(decoded) > room:
            raise ParseError("over the limit when decoded")
        return bytes(decoded)


class Zstandard:
    """zstd (RFC 8878); windows up to 8 MB, as section 5 of RFC 9659 wants."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()

    @property
    def ended(self) -> bool:
        return bool(self._zstd.eof)

    def feed(self, data: bytes, room: int) -> bytes:
        decoded = bytearray()
        try:
            # it gives all that a piece holds at once, 128 KB for every 4 bytes at the worst
            for start in range(0, len(data), PIECE):
                decoded += self._zstd.decompress(data[start : start + PIECE])
                if len(decoded) > room:
                    raise ParseError("over the limit when decoded")
        except zstandard.ZstdError:
            raise ParseError("not zstd") from None
        return bytes(decoded)


DECODERS: Mapping[str, Callable[[], Decoder]] = {
    "gzip": lambda: Zlib(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: Zlib(16 + zlib.MAX_WBITS),
    "deflate": lambda: Zlib(zlib.MAX_WBITS),
    "br": Brotli,
    "zstd": Zstandard,
}
ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: zlib.compress(data, 6, 16 + zlib.MAX_WBITS),
    "x-gzip": lambda data: zlib.compress(data, 6, 16 + zlib.MAX_WBITS),
    "deflate": lambda data: zlib.compress(data, 6),
    "br": lambda data: bytes(brotli.compress(data, quality=4)),
    "zstd": lambda data: zstandard.ZstdCompressor(level=3).compress(data),
}


def codings(header: str) -> tuple[str, ...]:
    """Return the codings of a Content-Encoding header in the order they were applied."""
    names = (name.strip().lower() for name in header.split(","))
    found = tuple(name for name in names if name not in ("", "identity"))
    if len(found) > CODINGS_AT_ONCE or any(name not in DECODERS for name in found):
        raise ParseError("a content coding that is not known here")
    return found


class Chain:
    """All codings of one body undone, outermost first; with none it is the identity."""

    def __init__(self, header: str) -> None:
        self._decoders = [DECODERS[name]() for name in reversed(codings(header))]

    def __bool__(self) -> bool:
        return bool(self._decoders)

    @property
    def ended(self) -> bool:
        return all(decoder.ended for decoder in self._decoders)

    def feed(self, data: bytes, room: int) -> bytes:
        """Return what can be decoded now, at most ``room`` bytes."""
        for decoder in self._decoders:
            data = decoder.feed(data, room + OVERHEAD) if data else data
        if len(data) > room:
            raise ParseError("over the limit when decoded")
        return data


def decode(body: bytes, header: str, limit: int) -> bytes:
    """Return a whole body without its content coding. ParseError: unreadable, or over the limit."""
    chain = Chain(header)
    if not chain or not body:
        return body
    decoded = chain.feed(body, limit)
    if not chain.ended:
        raise ParseError("the coded body is cut off")
    return decoded


def encode(body: bytes, header: str) -> bytes:
    """Return the body in the codings that the header names."""
    for name in codings(header):
        body = ENCODERS[name](body)
    return body

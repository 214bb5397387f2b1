"""The callable between upstream and client while an answer streams: decode, inspect, hand on.

mitmproxy calls it for every piece and with ``b""`` at the end. It returns a list, and an empty one
for nothing: ``b""`` would be written as the last chunk of HTTP/1, a silent truncation. An
exception would lose this piece and let all later ones pass uninspected, so none gets out.
"""

from __future__ import annotations

from collections.abc import Callable

from milecastle.inspection import Chunk
from milecastle.providers.encodings import Chain
from milecastle.proxy import guard
from milecastle.proxy.orders import Inspection
from milecastle.proxy.passage import Passage

PIECE_LARGEST = 16 << 20
"""Bytes that one piece from the network may decode to."""


class Tap:
    """Inspects the stream of one answer."""

    def __init__(
        self,
        way: Passage,
        inspection: Inspection,
        coding: str,
        fails_closed: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._way = way
        self._inspection = inspection
        self._chain = Chain(coding)
        self._fails_closed = fails_closed
        self._clock = clock
        self._raw = False

    @property
    def decodes(self) -> bool:
        """Whether what it returns is without the content coding that came."""
        return bool(self._chain)

    def __call__(self, data: bytes) -> list[bytes]:
        way = self._way
        if way.cut:
            return []
        if way.first_byte is None:
            way.first_byte = self._clock()
        plain = data
        try:
            plain = self._chain.feed(data, PIECE_LARGEST)
            chunk = self._inspect(plain, last=not data)
        except Exception as error:  # noqa: BLE001 - see above
            chunk = self._failed(plain, error)
        way.cut = chunk.cut
        return [chunk.data] if chunk.data else []

    def _inspect(self, plain: bytes, *, last: bool) -> Chunk:
        if self._raw:
            return Chunk(plain)
        if last:
            return self._inspection.finish()
        return self._inspection.feed(plain) if plain else Chunk(b"")

    def _failed(self, data: bytes, error: Exception) -> Chunk:
        if self._raw:
            return Chunk(data)
        guard.report("stream", error)
        if self._fails_closed(guard.code_of(error)):
            return Chunk(b"", cut=True)
        self._raw = self._way.waved = True
        return Chunk(data)

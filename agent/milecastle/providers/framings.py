"""Which framing an answer comes in: by its content type, and where that is silent, by its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from milecastle.model import Exchange, ResponseHead
from milecastle.providers.connect import Envelopes
from milecastle.providers.eventstream import EventStream
from milecastle.providers.frame import Frame, Framing
from milecastle.providers.lines import Elements, Lines, Whole
from milecastle.providers.sse import Events

BY_TYPE: Mapping[str, Callable[[], Framing]] = {
    "text/event-stream": Events,
    "application/x-ndjson": Lines,
    "application/ndjson": Lines,
    "application/jsonl": Lines,
    "application/x-jsonlines": Lines,
    "application/stream+json": Lines,
    "application/json-seq": Lines,
    "application/vnd.amazon.eventstream": EventStream,
}
"""Content type of the answer -> its framing."""

LINES = frozenset({"ollama", "cohere-chat-v1", "grok-web", "huggingchat-web", "unknown"})
"""Formats that stream lines of JSON, also where no content type says so."""
_BLANK = b"\xef\xbb\xbf \r\n\t"
_SSE = (b"data:", b"event:", b"id:", b"retry:", b":")
_ENOUGH = 8
"""Bytes that tell an SSE stream from anything else."""


class Undecided:
    """An answer whose content type is silent, or not to be trusted: its first bytes decide."""

    def __init__(self, otherwise: Callable[[], Framing]) -> None:
        """Take what an answer is that doesn't begin like server-sent events."""
        self._otherwise = otherwise
        self._first = b""
        self._framing: Framing | None = None

    @property
    def whole(self) -> bool:
        """The body is one document."""
        return self._framing is not None and self._framing.whole

    @property
    def offset(self) -> int:
        """Bytes of the stream that belong to whole frames."""
        return self._framing.offset if self._framing else 0

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are now whole."""
        if self._framing is not None:
            return self._framing.feed(data)
        self._first += data
        if len(self._first.lstrip(_BLANK)) < _ENOUGH:
            return []
        return self._decide().feed(self._first)

    def close(self) -> list[Frame]:
        """Return what the end of the stream completes."""
        if self._framing is not None:
            return self._framing.close()
        framing = self._decide()
        return [*framing.feed(self._first), *framing.close()]

    def unwrap(self, raw: bytes) -> bytes:
        """Return the payload of one event."""
        return (self._framing or self._decide()).unwrap(raw)

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Return the event ``raw`` with another payload."""
        return (self._framing or self._decide()).rewrap(raw, payload)

    def _decide(self) -> Framing:
        begins = self._first.lstrip(_BLANK)
        self._framing = Events() if begins.startswith(_SSE) else self._otherwise()
        return self._framing


def framing_for(exchange: Exchange, head: ResponseHead) -> Framing:
    """Return the framing of an answer: one document, unless type or request say otherwise."""
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (make := BY_TYPE.get(kind)) is not None:
        return make()
    if "connect+" in kind or "grpc" in kind:
        encoding = head.headers.get("connect-content-encoding") or head.headers.get("grpc-encoding")
        return Envelopes((encoding or "").strip().lower(), protobuf="json" not in kind)
    if kind in ("application/json", "application/problem+json", "text/html"):
        if exchange.stream and head.status < 400:
            return Elements() if exchange.format == "gemini" else Undecided(Whole)
        return Whole()
    if exchange.stream and head.status < 400:
        return Undecided(Lines if exchange.format in LINES else Whole)
    return Whole()

"""Which framing an answer comes in: by its content type, and where that is silent, by its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from milecastle.model import Exchange, ParseError, ResponseHead
from milecastle.providers.connect import Envelopes
from milecastle.providers.eventstream import EventStream
from milecastle.providers.frame import Frame, Framing
from milecastle.providers.lines import Elements, Lines, Whole
from milecastle.providers.sse import Events

AMAZON = "application/vnd.amazon.eventstream"
BY_TYPE: Mapping[str, Callable[[], Framing]] = {
    "text/event-stream": Events,
    "application/x-ndjson": Lines,
    "application/ndjson": Lines,
    "application/jsonl": Lines,
    "application/x-jsonlines": Lines,
    "application/stream+json": Lines,
    "application/json-seq": Lines,
    AMAZON: EventStream,
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


class Carried:
    """A stream inside the frames of another: SageMaker cuts a model's own anywhere (PayloadPart).

    Its events can be read, not rewritten: one may stand in several frames, or share one.
    """

    def __init__(self, inside: Framing) -> None:
        """Take the framing of what the frames carry."""
        self._outside = EventStream()
        self._inside = inside
        self._begun = 0
        """Where the first frame begins whose bytes are not yet part of a whole event."""

    whole = False

    @property
    def offset(self) -> int:
        """Bytes of the outer stream that belong to whole events."""
        return self._begun

    def feed(self, data: bytes) -> list[Frame]:
        """Return the inner frames that are now whole, with the outer bytes that they came in."""
        found: list[Frame] = []
        for frame in self._outside.feed(data):
            if frame.name.lower().endswith(("exception", "error", "failure")):
                found.append(frame)
                continue
            inner = self._inside.feed(frame.payload)
            found += [Frame(one.payload, self._begun, frame.end, one.name) for one in inner]
            if inner:
                self._begun = frame.end
        return found

    def close(self) -> list[Frame]:
        """Return what the end of the stream completes."""
        end = self._outside.offset
        return [Frame(one.payload, self._begun, end, one.name) for one in self._inside.close()]

    def unwrap(self, raw: bytes) -> bytes:
        """Refuse: nobody can say which bytes of the frames are the event's."""
        raise ParseError("an event of a stream inside another can be read, not rewritten")

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Refuse, as `unwrap` does."""
        return self.unwrap(raw)


def framing_for(exchange: Exchange, head: ResponseHead) -> Framing:
    """Return the framing of an answer: one document, unless type or request say otherwise."""
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == AMAZON and exchange.format == "sagemaker":
        return Carried(Undecided(Lines))
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

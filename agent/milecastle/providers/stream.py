"""A streamed answer, read as it comes: bytes of any split in, deltas out, the Exchange so far.

The framing (SSE, lines, event stream ...) cuts events, the dialect says what they mean. What is
held is the unfinished event and the answer's text, both bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from milecastle.model import Edit, Exchange, ParseError, ResponseHead
from milecastle.providers.answer import Answer
from milecastle.providers.delta import Delta
from milecastle.providers.dialect import Dialect
from milecastle.providers.document import overridden, read, read_lenient
from milecastle.providers.frame import Frame, Framing
from milecastle.providers.leaves import leaves
from milecastle.providers.lines import Lines
from milecastle.providers.media import attachment
from milecastle.providers.rewriting import rewrite

DONE = b"[DONE]"
"""The sentinel that ends OpenAI's streams and those of the many that follow it."""


class Stream:
    """One answer's stream. After a ParseError it stays broken: nothing passes unread."""

    def __init__(
        self, answer: Answer, framing: Framing, head: ResponseHead, dialect: Dialect
    ) -> None:
        self.answer = answer
        self.framing = framing
        self.offset = 0
        """Bytes of the stream that were read as whole events. What follows is still open."""
        self._head = head
        self._dialect = dialect
        self._broken = False
        self._closed = False

    @property
    def exchange(self) -> Exchange:
        """The request's Exchange with the answer so far."""
        return self.answer.exchange()

    def feed(self, data: bytes) -> list[Delta]:
        """Return what the bytes added. ParseError where they can't be what they claim to be."""
        if self._broken or self._closed:
            raise ParseError("the stream is closed")
        self._broken = True
        deltas = self._take(self.framing.feed(data))
        self.offset = self.framing.offset
        self._broken = False
        return deltas

    def close(self) -> list[Delta]:
        """Return what the end of the stream completes; an event cut short counts as text."""
        if self._broken or self._closed:
            return []
        self._closed = True
        deltas = self._take(self.framing.close(), at_end=True)
        self.offset = self.framing.offset
        return deltas

    def rewrite(self, raw: bytes, edits: Sequence[Edit]) -> bytes:
        """Return one event's bytes with strings of its JSON edited, in the same framing.

        ``raw`` is exactly the bytes ``start:end`` of a Delta; the edits' places are Deltas' places.
        """
        return self.framing.rewrap(raw, rewrite(self.framing.unwrap(raw), edits))

    def _take(self, frames: Iterable[Frame], *, at_end: bool = False) -> list[Delta]:
        answer = self.answer
        for frame in frames:
            answer.start, answer.end = frame.start, frame.end
            if self.framing.whole:
                self._document(frame.payload)
            elif frame.payload == DONE:
                answer.ended = True
            else:
                self._event(frame, at_end=at_end)
        deltas, answer.deltas = answer.deltas, []
        return deltas

    def _event(self, frame: Frame, *, at_end: bool) -> None:
        if frame.name in self._dialect.plain_events:
            text = frame.payload.decode("utf-8", "replace")
            self._dialect.event(self.answer, frame.name, text)
            self.answer.seen.clear()
            return
        try:
            value = read_lenient(frame.payload)
        except ParseError:
            if not at_end:
                raise
            self.answer.repeat("text", frame.payload.decode("utf-8", "replace"), "")
            return
        self._dialect.event(self.answer, frame.name, value)
        self.answer.conclude(value, frame.payload)
        for hidden in overridden(frame.payload, value):
            for leaf in leaves(hidden):  # "!": it can be read, but not rewritten
                self.answer.repeat("text", leaf.text, "!" + leaf.place)

    def _in_lines(self, body: bytes) -> bool:
        """Take a body that is not one document but lines of them; False where it isn't that."""
        lines = Lines()
        frames = [*lines.feed(body), *lines.close()]
        try:
            values = [(read_lenient(frame.payload), frame.payload) for frame in frames]
        except ParseError:
            return False
        for value, raw in values:
            self._dialect.event(self.answer, "", value)
            self.answer.conclude(value, raw)
        return True

    def _document(self, body: bytes) -> None:
        """Take an answer that is one body: JSON, a page that says what went wrong, a file."""
        kind = self._head.headers.get("content-type", "").partition(";")[0].strip().lower()
        failed = self._head.status >= 400
        if "json" in kind or body.lstrip()[:1] in (b"{", b"["):
            try:
                value = read(body)
            except ParseError:
                if not self._in_lines(body):
                    raise
                return
            if self._dialect.socket and isinstance(value, list):  # a recorded conversation
                for index, each in enumerate(value):
                    self.answer.prefix = f"/{index}"
                    self._dialect.event(self.answer, "", each)
                    self.answer.conclude(each, body)
                self.answer.prefix = ""
            else:
                self._dialect.response(self.answer, value)
        else:
            part = attachment(body, 0, len(body), mime_type=kind or None, name=None)
            self.answer.put("body", part)
        if failed and self.answer.error is None:
            self.answer.fail(str(self._head.status))

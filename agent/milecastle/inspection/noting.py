"""A coach's note at the end of a streamed answer.

It is written into the last event that brought text, so every grammar stays as the provider speaks
it. Which one that was is known when the answer has ended: until then the latest one is held, with
what follows it. And events that repeat the whole text get the note too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from milecastle.inspection import coaching
from milecastle.inspection.record import Told
from milecastle.model import Edit, Exchange
from milecastle.providers import Delta, Stream

NOWHERE = 1 << 62

type Placed = tuple[tuple[int, int], Edit]
"""The event's bytes (start, end), and what changes in it."""


class Noting:
    """The state of one note."""

    def __init__(self, told: Told, exchange: Exchange, *, expected: bool) -> None:
        """``expected``: a rule may still find something to say in the answer itself."""
        self._told = told
        self.open = (expected or bool(told.notices)) and coaching.may_bear(exchange)
        """Whether it may still find its place."""
        self._last: Delta | None = None
        self._at = (-1, -1)
        self._text: list[str] = []
        self._repeats: list[Delta] = []

    def first_open(self) -> int:
        """Return where the event begins that the note may be written into."""
        return self._last.start if self.open and self._last else NOWHERE

    def read(self, deltas: Sequence[Delta], stream: Stream) -> Iterator[Placed]:
        """Take what came; yield the edits that put the note in place."""
        for delta in deltas:
            if delta.kind == "tool_call" or delta.message > 0:
                self.open = False
                return
            if delta.whole:
                self._repeats += [delta] if delta.kind == "text" else []
            elif delta.kind == "text":
                again = self._last and (delta.message, delta.part) == self._at
                self._text = [*self._text, delta.text] if again else [delta.text]
                self._last, self._at, self._repeats = delta, (delta.message, delta.part), []
        messages = stream.answer.messages.values()
        if self._last and (
            stream.answer.ended or any(message.finish_reason for message in messages)
        ):
            yield from self._place(stream.exchange)

    def _place(self, exchange: Exchange) -> Iterator[Placed]:
        self.open, last = False, self._last
        if last is None or not self._told.notices or coaching.bearing(exchange) is None:
            return
        note = coaching.text_of(self._told.notices)
        text = "".join(self._text)
        for delta, length in (
            (last, len(last.text)),
            *((each, len(text)) for each in self._repeats if each.text == text),
        ):
            edit = Edit(delta.place, length, length, note)
            yield (delta.start, delta.end), edit

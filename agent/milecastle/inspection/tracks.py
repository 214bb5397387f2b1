"""The parts of a streamed answer as they grow: which bytes hold which of their characters."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from milecastle.detect import StreamScanner
from milecastle.inspection.pseudonyms import Restoring
from milecastle.model import Edit
from milecastle.providers import Delta

NOWHERE = 1 << 62


@dataclass(slots=True)
class Piece:
    """The text of one delta: where it is in the part's text, and where its event's bytes are."""

    offset: int
    text: str
    delta: Delta


@dataclass(slots=True)
class Track:
    """One part of the answer that grows."""

    scanner: StreamScanner
    restoring: Restoring
    pieces: deque[Piece] = field(default_factory=deque)
    """Those whose event is still here."""
    length: int = 0
    safe: int = 0
    """Text before this offset is judged for good."""
    settled: int = 0
    """Text before this offset holds no unfinished placeholder."""
    tool_call: bool = False
    """A tool call is judged whole, before the client can run it."""
    awaited: bool = False
    """It grew since it was judged."""

    def grow(self, delta: Delta) -> None:
        """Add a delta's text."""
        self.pieces.append(Piece(self.length, delta.text, delta))
        self.length += len(delta.text)

    def first_open(self) -> int:
        """Return where the first event begins whose text may still change."""
        closed = min(self.safe, self.settled)
        for piece in self.pieces:
            if piece.offset + len(piece.text) > closed:
                return piece.delta.start
        return NOWHERE

    def covering(self, start: int, end: int) -> list[tuple[Piece, str]]:
        """Return the pieces that hold part of the text ``start:end``, each with that part."""
        found = []
        for piece in self.pieces:
            text = piece.text[max(start - piece.offset, 0) : max(end - piece.offset, 0)]
            if text:
                found.append((piece, text))
        return found

    def forget(self, until: int) -> None:
        """Drop the pieces whose event ended before this byte."""
        while self.pieces and self.pieces[0].delta.end <= until:
            self.pieces.popleft()


def replaced(pieces: Sequence[tuple[Piece, str]], start: int, end: int, new: str) -> list[Edit]:
    """Return the edits of events that put ``new`` in the place of a text over several of them."""
    made = []
    for piece, _text in pieces:
        begins = max(start - piece.offset, 0)
        ends = min(end - piece.offset, len(piece.text))
        made.append(Edit(piece.delta.place, begins, ends, new))
        new = ""
    return made

"""Decode before matching, and know for every decoded character where it stood.

A ``View`` is a stretch of the text with something in it undone; its pieces lead back to the
original, so that a finding covers all of the encoded run and redaction removes it whole. Views are
decoded again, to a bounded depth, count and size; Unfinished says that a bound was met.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from milecastle.detect.candidate import Unfinished
from milecastle.detect.encodings import Decoded, Layer, Shape, layers
from milecastle.detect.patterns import set_of
from milecastle.detect.rules import Rule
from milecastle.model import Finding

DEPTH = 4
"""How often what was decoded is decoded again."""
VIEWS = 2_000
GROWTH = 8
"""Characters that all views together may hold, per character of the text; besides FREE."""
FREE = 4 << 20
MARGIN = 160
"""Characters of plain text around a decoded run that are read with it, for context."""


@dataclass(frozen=True, slots=True)
class Piece:
    """``start`` in the view says what stood at ``origin:origin_end`` before."""

    start: int
    origin: int
    origin_end: int
    shape: Shape | None
    """None: unchanged."""


@dataclass(frozen=True, slots=True)
class View:
    text: str
    via: tuple[str, ...]
    pieces: tuple[Piece, ...]
    parent: View | None = None
    cut: tuple[bool, bool] = (False, False)
    """Whether the text goes on before and after it."""

    def back(self, findings: Iterable[Finding]) -> list[Finding]:
        """Move findings to where they stand in the original text.

        What touches nothing decoded may still owe its name to it (``api%5Fkey=…``). But where
        the view was cut off from the text, a piece of a token may look like another token.
        """
        moved = []
        for finding in findings:
            place = self.origin(finding.start, finding.end)
            if place is None and (self._cut_at(finding.start) or self._cut_at(finding.end)):
                continue
            start, end = place or self.outward(finding.start, finding.end)
            via = (*finding.via, *self.via)
            moved.append(replace(finding, start=start, end=end, via=via))
        return moved

    def _cut_at(self, offset: int) -> bool:
        """Tell whether the view ends here in mid-text."""
        return (offset == 0 and self.cut[0]) or (offset == len(self.text) and self.cut[1])

    def origin(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the original's stretch for this one, None where nothing in it was decoded."""
        first = bisect_right(self.pieces, start, key=begin) - 1
        last = bisect_left(self.pieces, end, key=begin)
        touched = self.pieces[first:last]
        if not any(piece.shape for piece in touched):
            return None
        places = []
        for number, piece in enumerate(touched, first + 1):
            stop = self.pieces[number].start if number < len(self.pieces) else len(self.text)
            places.append(stretch(piece, stop, max(start, piece.start), min(end, stop)))
        left, right = min(a for a, _ in places), max(b for _, b in places)
        return self.parent.outward(left, right) if self.parent else (left, right)

    def outward(self, start: int, end: int) -> tuple[int, int]:
        """Return the original's stretch for this one, decoded or not."""
        return self.origin(start, end) or self._plain(start, end)

    def _plain(self, start: int, end: int) -> tuple[int, int]:
        piece = self.pieces[bisect_right(self.pieces, start, key=begin) - 1]
        left = piece.origin + start - piece.start
        right = left + end - start
        return self.parent.outward(left, right) if self.parent else (left, right)


def begin(piece: Piece) -> int:
    return piece.start


def stretch(piece: Piece, piece_end: int, start: int, end: int) -> tuple[int, int]:
    """Return where ``start:end`` of the view, inside this piece, stood."""
    if piece.shape == "block":
        return piece.origin, piece.origin_end
    if piece.shape == "mirror":
        return piece.origin + piece_end - end, piece.origin + piece_end - start
    return piece.origin + start - piece.start, piece.origin + end - piece.start


class Decoder:
    """Finds and undoes encodings."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._layers: tuple[Layer, ...] = layers(prefixes(rules))
        self._gates = set_of(layer.gate for layer in self._layers)

    def views(self, text: str) -> Iterator[View]:
        """Yield what the text says once decoded; nothing for ordinary prose.

        Raise Unfinished after the views that the bounds allowed.
        """
        budget = Budget(len(text) * GROWTH + FREE)
        # A lone surrogate has no UTF-8; a question mark takes its place, offsets stay.
        text = text.encode(errors="replace").decode()
        queue: list[tuple[str, View | None]] = [(text, None)]
        for depth in range(DEPTH):
            deeper: list[tuple[str, View | None]] = []
            for source, parent in queue:
                for view in self._undo(source, parent):
                    if budget.spend(view.text):
                        yield view
                        deeper.append((view.text, view))
            queue = deeper
            if not queue:
                return
            if depth + 1 == DEPTH and any(self._open(source) for source, _ in queue):
                return

    def _open(self, text: str) -> list[Layer]:
        """Return the layers whose gate is in the text."""
        hit = self._gates.Match(text.encode(errors="replace"))
        if not hit or 0 not in hit:
            raise Unfinished("the automaton of the encodings ran out of memory")
        return [self._layers[number - 1] for number in sorted(hit) if number]

    def _undo(self, text: str, parent: View | None) -> Iterator[View]:
        for layer in self._open(text):
            for group in windows(layer.decode(text)):
                yield assemble(text, layer, group, parent)


class Budget:
    """How much may still be decoded, and what was decoded already."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._seen: set[bytes] = set()

    def spend(self, text: str) -> bool:
        """Tell whether this text is new; Unfinished where it is one too many."""
        mark = hashlib.blake2b(text.encode(errors="replace"), digest_size=12).digest()
        if mark in self._seen:
            return False
        self._seen.add(mark)
        self._left -= len(text)
        if self._left < 0 or len(self._seen) > VIEWS:
            raise Unfinished("too much encoded text")
        return True


def windows(decoded: Iterable[Decoded]) -> Iterator[list[Decoded]]:
    """Group replacements that stand near enough to be one context."""
    group: list[Decoded] = []
    for item in decoded:
        if group and item.start - group[-1].end > 2 * MARGIN:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def assemble(text: str, layer: Layer, group: Sequence[Decoded], parent: View | None) -> View:
    """Return the text around and in a group of replacements, with these made."""
    parts: list[str] = []
    pieces: list[Piece] = []
    length = 0

    def add(content: str, origin: int, origin_end: int, shape: Shape | None) -> None:
        nonlocal length
        pieces.append(Piece(length, origin, origin_end, shape))
        parts.append(content)
        length += len(content)

    at = begun = max(0, group[0].start - MARGIN)
    for item in group:
        if item.start > at:
            add(text[at : item.start], at, item.start, None)
        add(item.text, item.start, item.end, item.shape)
        at = item.end
    stop = min(len(text), at + MARGIN)
    if stop > at:
        add(text[at:stop], at, stop, None)
    names = dict.fromkeys(item.via or layer.name for item in group)
    via = (
        tuple(names)
        if layer.name == "unicode"
        else (layer.name, *(n for n in names if n != layer.name))
    )
    return View(
        "".join(parts),
        (*(parent.via if parent else ()), *via),
        tuple(pieces),
        parent,
        (begun > 0, stop < len(text)),
    )


def prefixes(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Return the literal beginnings of the rules' tokens that are long enough to look for."""
    found = {rule.prefix for rule in rules if len(rule.prefix) >= 4}
    return tuple(sorted(found))

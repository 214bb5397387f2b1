"""What a stream's newest bytes added to the answer."""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.model import Leaf, PartKind


@dataclass(frozen=True, slots=True)
class Delta:
    """One string of one wire event, and the part of the answer that it made grow.

    The event's bytes are ``start:end`` of the stream (all bytes since its beginning, whatever the
    chunks were); ``place`` is where the string stands in the event's JSON. With both, the event
    can be held back, or sent on with other text (``Stream.rewrite``).
    """

    kind: PartKind
    message: int
    """Index in ``exchange.output_messages``; -1 where the text belongs to no message."""
    part: int
    """Index of the part in its message; -1 where the text belongs to no part."""
    text: str
    """What was added; where ``whole`` is set, the text as far as this event repeats it."""
    start: int
    end: int
    place: str = ""
    whole: bool = False
    """The event repeats or holds a complete text: ``response.output_text.done``, a search result.
    Nothing grows by it, but its bytes hold the text again, so it must be inspected again."""
    name: str | None = None
    """tool_call: the tool's name."""
    leaves: tuple[Leaf, ...] = ()
    """Where ``text`` renders a structured value: its strings, with places in the event's JSON."""

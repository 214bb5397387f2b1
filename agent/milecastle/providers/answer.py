"""An answer while it is told: parts that grow, whole or event by event, into output messages."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import orjson

from milecastle.model import (
    Exchange,
    Json,
    Leaf,
    Message,
    ParseError,
    Part,
    PartKind,
    Role,
    ToolDefinition,
    Usage,
)
from milecastle.providers import usage
from milecastle.providers.delta import Delta
from milecastle.providers.leaves import is_prose, leaves, may_have_prose, text_leaves, unclaimed
from milecastle.providers.typed import word

LARGEST = 64 << 20
"""Most text that one answer may hold, code points; ParseError beyond."""
MOST_PARTS = 20_000
"""Most parts that one answer may have."""
MOST_FOUND = 500
"""Most strings of a stream that are kept beside its messages; all of them are inspected."""


@dataclass(slots=True)
class OpenPart:
    """A part that may still grow."""

    kind: PartKind
    place: str
    message: int
    index: int
    name: str | None = None
    call_id: str | None = None
    chunks: list[str] = field(default_factory=list)
    structured: bool = False
    """Its text stands for a JSON value at ``place``, not for a string that holds JSON."""
    finished: Part | None = None
    """The part as it was given whole."""

    def freeze(self) -> Part:
        """Return the part as it is now."""
        if self.finished is not None:
            return self.finished
        text = "".join(self.chunks)
        found: tuple[Leaf, ...] = ()
        if self.kind == "tool_call" and self.structured:
            text, found = _normal(text, self.place)
        elif self.kind == "tool_call":
            found = text_leaves(text, self.place)
        return Part(self.kind, text, self.place, self.name, self.call_id, found)


@dataclass(slots=True)
class OpenMessage:
    role: Role = "assistant"
    parts: dict[Hashable, OpenPart] = field(default_factory=dict)
    finish_reason: str | None = None


@dataclass(slots=True)
class Answer:
    """What a provider said so far. Dialects call ``grow``, ``put``, ``repeat`` and set fields."""

    base: Exchange
    messages: dict[int, OpenMessage] = field(default_factory=dict)
    """By the provider's index of the choice or candidate."""
    model: str | None = None
    response_id: str | None = None
    conversation: str | None = None
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    error_message: str | None = None
    finish_reasons: list[str] = field(default_factory=list)
    tools: list[ToolDefinition] = field(default_factory=list)
    """Tools that a server offers (MCP ``tools/list``)."""
    found: list[Leaf] = field(default_factory=list)
    """Strings of the answer that no message holds."""
    claimed: set[str] = field(default_factory=set)
    """Places that hold nothing new, beyond those of parts."""
    seen: set[str] = field(default_factory=set)
    """Places in the current event whose text was told."""
    deltas: list[Delta] = field(default_factory=list)
    """What the current event added; the stream takes them away."""
    start: int = 0
    end: int = 0
    """The current wire event's bytes."""
    prefix: str = ""
    """Stands before every place: the event is itself a value of a larger document."""
    ended: bool = False
    """The provider said that the answer is complete."""
    turn: int = 0
    """The message that grows where an event names no choice: turns of a WebSocket session."""
    heard: list[Message] = field(default_factory=list)
    """What the service heard the person say."""
    notes: dict[str, Json] = field(default_factory=dict)
    """What a dialect must remember between events."""
    size: int = 0

    def begin_turn(self) -> None:
        """Let what comes now be a message of its own, if anything was said before."""
        if self.turn in self.messages:
            self.turn += 1

    def message(self, index: int | None = None, role: Role = "assistant") -> OpenMessage:
        """Return the message of a choice, opened where it is new."""
        index = self.turn if index is None else index
        found = self.messages.get(index)
        if found is None:
            if len(self.messages) >= MOST_PARTS:
                raise ParseError(f"an answer of more than {MOST_PARTS} messages")
            found = self.messages[index] = OpenMessage(role)
        return found

    def open(
        self,
        key: Hashable,
        kind: PartKind,
        place: str,
        *,
        choice: int | None = None,
        name: str | None = None,
        call_id: str | None = None,
        structured: bool = False,
    ) -> OpenPart:
        """Return the part under ``key``, opened where it is new."""
        choice = self.turn if choice is None else choice
        told = self.message(choice)
        part = told.parts.get(key)
        if part is None:
            if len(told.parts) >= MOST_PARTS:
                raise ParseError(f"an answer of more than {MOST_PARTS} parts")
            part = OpenPart(
                kind, place, choice, len(told.parts), name, call_id, structured=structured
            )
            told.parts[key] = part
            return part
        part.name = part.name or name
        part.call_id = part.call_id or call_id
        return part

    def grow(self, part: OpenPart, text: str, place: str) -> None:
        """Add text to an open part; ``place`` is where it stands in the event."""
        if not text:
            return
        self._count(text)
        part.chunks.append(text)
        self.seen.add(place)
        self.deltas.append(
            Delta(
                part.kind,
                part.message,
                part.index,
                text,
                self.start,
                self.end,
                self.prefix + place,
                name=part.name,
            )
        )

    def put(
        self,
        key: Hashable,
        part: Part,
        *,
        choice: int | None = None,
        moved: tuple[str, str] = ("", ""),
    ) -> None:
        """Add a part that is complete.

        ``moved``: the part's places begin with the first of these, in the event with the second.
        """
        opened = self.open(key, part.kind, part.place, choice=choice)
        self._count(part.text)
        opened.finished = part
        self._whole(part, moved, opened)

    def again(self, part: Part, moved: tuple[str, str], known: OpenPart | None = None) -> None:
        """Note that the event repeats a part that was told before."""
        self._whole(part, moved, known)

    def _whole(self, part: Part, moved: tuple[str, str], opened: OpenPart | None) -> None:
        if not (part.text or part.leaves or part.uri):
            return
        final, here = moved[0], self.prefix + moved[1]

        def placed(place: str) -> str:
            return here + place.removeprefix(final) if place else ""

        told = tuple(Leaf(placed(leaf.place), leaf.text) for leaf in part.leaves)
        for place in (part.place, *(leaf.place for leaf in part.leaves)):
            if place:
                self.seen.add(moved[1] + place.removeprefix(final).removesuffix("^"))
        self.deltas.append(
            Delta(
                part.kind,
                opened.message if opened else -1,
                opened.index if opened else -1,
                part.text or part.uri or "",
                self.start,
                self.end,
                placed(part.place),
                whole=True,
                name=part.name,
                leaves=told,
            )
        )

    def repeat(self, kind: PartKind, text: str, place: str, part: OpenPart | None = None) -> None:
        """Note that the event holds this complete text, which adds nothing to the answer."""
        if text:
            message, index = (part.message, part.index) if part else (-1, -1)
            self.seen.add(place)
            self.deltas.append(
                Delta(
                    kind,
                    message,
                    index,
                    text,
                    self.start,
                    self.end,
                    self.prefix + place,
                    whole=True,
                )
            )

    def tell_rest(self, value: Json, place: str = "") -> None:
        """Repeat every string of a value that no part is made of."""
        for leaf in unclaimed(value, ()):
            self._tell(leaf.text, place + leaf.place)

    def _tell(self, text: str, place: str) -> None:
        self.repeat("text", text, place)
        if len(self.found) < MOST_FOUND and is_prose(text):
            self.found.append(Leaf(place, text))

    def conclude(self, value: Json, raw: bytes) -> None:
        """Repeat the prose of an event that its dialect passed over: then it is done with."""
        if may_have_prose(raw):
            self._repeat_rest(value)
        self.seen.clear()

    def _repeat_rest(self, value: Json) -> None:
        for leaf in unclaimed(value, self.seen | self.claimed, prose=True):
            if is_prose(leaf.text):
                self._tell(leaf.text, leaf.place)

    def leave_over(self, value: Json) -> None:
        """Gather the prose of a document that no part claimed."""
        claimed = set(self.claimed)
        for told in self.messages.values():
            for part in told.parts.values():
                frozen = part.finished or part
                claimed.add(frozen.place.removesuffix("^"))
                if part.finished:
                    claimed.update(leaf.place for leaf in part.finished.leaves)
        claimed.update(tool.place for tool in self.tools)
        claimed.discard("")
        self.found += unclaimed(value, claimed, prose=True)

    def report(self, source: Json) -> None:
        """Take token usage; what the source doesn't say stays as it was."""
        self.usage = usage.read(source, self.usage)

    def finish(self, reason: Json, choice: int | None = None) -> None:
        """Note why a choice ended."""
        if told := word(reason):
            self.message(choice).finish_reason = told

    def fail(self, kind: Json, message: Json = None) -> None:
        """Note the provider's own error."""
        self.error = word(kind) or "error"
        self.error_message = word(message)

    def exchange(self) -> Exchange:
        """Return the request's Exchange with the answer as it is now."""
        told = tuple(
            Message(
                each.role, tuple(part.freeze() for part in each.parts.values()), each.finish_reason
            )
            for _, each in sorted(self.messages.items())
            if each.parts or each.finish_reason
        )
        reasons = tuple(each.finish_reason for each in told if each.finish_reason)
        return replace(
            self.base,
            input_messages=(*self.base.input_messages, *self.heard),
            response_model=self.model,
            output_messages=told,
            finish_reasons=reasons or tuple(self.finish_reasons),
            usage=self.usage,
            response_id=self.response_id,
            conversation_id=self.conversation or self.base.conversation_id,
            error=self.error,
            tool_definitions=(*self.base.tool_definitions, *self.tools),
            unclaimed_output=tuple(self.found),
        )

    def _count(self, text: str) -> None:
        self.size += len(text)
        if self.size > LARGEST:
            raise ParseError(f"an answer of more than {LARGEST} characters")


def _normal(text: str, place: str) -> tuple[str, tuple[Leaf, ...]]:
    """Return JSON text as compact JSON with its leaves; text that is no JSON as it is."""
    try:
        value = orjson.loads(text)
        return orjson.dumps(value).decode(), leaves(value, place)
    except (ValueError, TypeError):
        return text, ()

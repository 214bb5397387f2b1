"""Conversations that are sent again: read from where they are new.

Clients send the whole history with every turn. JSON is read from the left, so where two documents
begin with the same bytes, every reader has made the same of them when these bytes end. The
messages of an earlier request that stand in the common bytes are therefore known, and what is
parsed is the document without them, as strictly as any other: nothing that follows can change
what they mean. Of a long conversation the known bytes are compared (memcmp) and nothing else.

What is known is kept as it was sent, in memory only, and bounded.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from milecastle.model import Exchange, Leaf, Message, ParseError, ToolDefinition
from milecastle.providers.ask import Ask
from milecastle.providers.format import Format
from milecastle.providers.scan import elements

ARRAYS: dict[str, str] = {
    "openai-chat": "messages",
    "openai-responses": "input",
    "anthropic-messages": "messages",
    "bedrock-converse": "messages",
    "bedrock-invoke": "messages",
    "cohere-chat": "messages",
    "gemini": "contents",
    "ollama": "messages",
}
"""Format -> the member of the body that holds the conversation."""
SMALLEST = 16 << 10
"""Bodies that are smaller are not worth it, bytes."""
HELD = 8 << 20
"""Bytes of all bodies that are kept."""
MOST = 32
"""Conversations that are kept."""
CHANGED = 4
"""Messages at the end that a client may send otherwise (cache marks); what else is the same
conversation takes the place of what was kept of it."""

_NEXT = re.compile(rb"[ \t\r\n]*+(?:(\])|,(?=[ \t\r\n]*+[^\] \t\r\n]))")


@dataclass(frozen=True, slots=True)
class Told:
    """What an earlier request held."""

    format: str
    body: bytes
    start: int
    """Where the array's first element may begin."""
    ends: tuple[int, ...]
    """Where each element ends."""
    messages: tuple[tuple[int, Message], ...]
    """Each with the number of its element."""
    tools: tuple[tuple[int, ToolDefinition], ...]
    unclaimed: tuple[tuple[int, Leaf], ...]

    def common(self, body: bytes) -> int:
        """Return how many elements another body begins with too."""
        if not body.startswith(self.body[: self.start]):
            return 0
        total = len(self.ends)
        if total and body.startswith(self.body[: self.ends[-1]]):
            return total
        return bisect_right(
            range(total), 0, key=lambda number: not body.startswith(self.body[: self.ends[number]])
        )


@dataclass(frozen=True, slots=True)
class Known:
    """The elements of a body that need not be read again."""

    told: Told
    count: int
    cut: int
    """Where the body goes on."""

    def rest(self, body: bytes) -> bytes:
        """Return the document without the elements that are known."""
        return body[: self.told.start] + body[self.cut :]

    def pad(self, ask: Ask) -> None:
        """Put nulls where the known elements stood, so that the others keep their numbers."""
        array = ask.body.get(ARRAYS[self.told.format])
        if not isinstance(array, list):
            raise ParseError("a conversation that is no array")
        array[:0] = [None] * self.count

    def joined(self, new: Exchange) -> Exchange:
        """Return the exchange with what is known before what is new."""
        return replace(
            new,
            input_messages=(*below(self.told.messages, self.count), *new.input_messages),
            tool_definitions=(*below(self.told.tools, self.count), *new.tool_definitions),
            unclaimed=(*below(self.told.unclaimed, self.count), *new.unclaimed),
        )


def below[T](numbered: Iterable[tuple[int, T]], count: int) -> list[T]:
    """Return what belongs to the first ``count`` elements."""
    return [each for number, each in numbered if number < count]


class History:
    """The conversations of late. One thread at a time."""

    def __init__(self) -> None:
        self._told: OrderedDict[int, Told] = OrderedDict()
        self._held = 0
        self._number = 0

    def known(self, wire: Format, body: bytes) -> Known | None:
        """Return what is known of a body, or None where it is new or small."""
        if len(body) < SMALLEST or wire.name not in ARRAYS:
            return None
        best: Known | None = None
        for number in reversed(self._told):
            told = self._told[number]
            if told.format != wire.name:
                continue
            count = told.common(body)
            if count and (best is None or count > best.count):
                match = _NEXT.match(body, told.ends[count - 1])
                if match is not None:
                    best = Known(told, count, match.start(1) if match[1] else match.end())
                    if count == len(told.ends):
                        break
        return best

    def keep(self, body: bytes, exchange: Exchange, known: Known | None) -> None:
        """Remember a body that was read as this exchange."""
        if len(body) < SMALLEST or exchange.format not in ARRAYS:
            return
        try:
            told = _told(body, exchange, known)
        except ParseError:  # another shape than the format's own; it is read whole each time
            return
        if known is not None and known.count >= len(known.told.ends) - CHANGED:
            self._forget(known.told)
        self._number += 1
        self._told[self._number] = told
        self._held += len(body)
        while self._told and (self._held > HELD or len(self._told) > MOST):
            _, oldest = self._told.popitem(last=False)
            self._held -= len(oldest.body)

    def _forget(self, told: Told) -> None:
        for number, each in self._told.items():
            if each is told:
                del self._told[number]
                self._held -= len(told.body)
                return


def _told(body: bytes, exchange: Exchange, known: Known | None) -> Told:
    """Return what to remember. ParseError where a message has no place in the array."""
    key = ARRAYS[exchange.format]
    raw = known.rest(body) if known else body
    start, found = elements(raw, key)
    moved = len(body) - len(raw)
    ends = [end + moved for end in found]
    messages: list[tuple[int, Message]] = []
    tools: list[tuple[int, ToolDefinition]] = []
    unclaimed: list[tuple[int, Leaf]] = []
    if known:
        told, count = known.told, known.count
        ends[:0] = told.ends[:count]
        messages += [each for each in told.messages if each[0] < count]
        tools += [each for each in told.tools if each[0] < count]
        unclaimed += [each for each in told.unclaimed if each[0] < count]
    prefix = f"/{key}/"
    for message in exchange.input_messages[len(messages) :]:
        number = _number(_place(message), prefix)
        if number is None:
            break  # what stands beside the conversation comes behind it
        messages.append((number, message))
    for tool in exchange.tool_definitions[len(tools) :]:
        if (number := _number(tool.place, prefix)) is not None:
            tools.append((number, tool))
    for leaf in exchange.unclaimed[len(unclaimed) :]:
        if (number := _number(leaf.place, prefix)) is not None:
            unclaimed.append((number, leaf))
    rest = exchange.input_messages[len(messages) :]
    if any(_number(_place(message), prefix) is not None for message in rest):
        raise ParseError("a conversation in two places")
    return Told(
        exchange.format, body, start, tuple(ends), tuple(messages), tuple(tools), tuple(unclaimed)
    )


def _place(message: Message) -> str:
    for part in message.parts:
        if part.place or part.leaves:
            return part.place or part.leaves[0].place
    raise ParseError("a message without a place")


def _number(place: str, prefix: str) -> int | None:
    """Return the number of the element that a place is in, None where it is in none."""
    if not place.startswith(prefix):
        return None
    number = place[len(prefix) :].partition("/")[0]
    return int(number) if number.isdecimal() else None

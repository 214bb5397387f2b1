"""A WebSocket's conversation: what either side sends, message by message, as one Exchange.

The client's messages are read like requests (their segments have places in that message), the
server's like events of a stream. Of a long session the newest messages are kept.
"""

from __future__ import annotations

from dataclasses import replace

from milecastle.model import Exchange, Json, Leaf, ParseError, Part, RequestHead, Segment
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.connect import strings
from milecastle.providers.delta import Delta
from milecastle.providers.dialects import dialect
from milecastle.providers.document import read, read_lenient
from milecastle.providers.format import Format
from milecastle.providers.frame import LARGEST
from milecastle.providers.segments import segments

MOST_MESSAGES = 2_000
"""Most messages of the client that are kept."""
RECORD = b"\x1e"
"""SignalR ends each of its JSON documents with a record separator."""


class Session:
    """One WebSocket connection. Text messages come as UTF-8."""

    def __init__(self, wire: Format) -> None:
        self.format = wire
        self._dialect = dialect(wire.name)
        self._asked = Ask(wire, {}).freeze()
        self._answer = Answer(self._asked)
        self._received = 0

    @property
    def exchange(self) -> Exchange:
        """Everything said in this turn so far."""
        return self._answer.exchange()

    @property
    def asked(self) -> Exchange:
        """What the client said in this turn, which costs nothing to know."""
        return self._answer.base

    @property
    def complete(self) -> bool:
        """Whether the provider said that what was asked is answered."""
        answer = self._answer
        return answer.ended or any(told.finish_reason for told in answer.messages.values())

    def turn(self) -> None:
        """Begin the next turn: settings stay, what was said is forgotten."""
        before = self._answer
        self._answer = Answer(replace(before.base, input_messages=(), unclaimed=()))
        self._answer.model, self._answer.conversation = before.model, before.conversation

    def send(self, data: bytes) -> list[Segment]:
        """Take a message of the client; return what is to be inspected of it."""
        found: list[Segment] = []
        for value in _documents(data, strict=True):
            ask = Ask(self.format, value, data)
            self._dialect.request(ask)
            told = ask.freeze()
            found += segments(told, "request")
            self._add(told)
        return found

    def receive(self, data: bytes) -> list[Delta]:
        """Take a message of the server; return what it added. Its span is the whole message."""
        answer = self._answer
        answer.start, answer.end = self._received, self._received + len(data)
        self._received += len(data)
        for value in _documents(data, strict=False):
            self._dialect.event(answer, "", value)
            answer.conclude(value, data)
        deltas, answer.deltas = answer.deltas, []
        return deltas

    def _add(self, told: Exchange) -> None:
        self._answer.base = joined(self._answer.base, told)


def open_session(wire: Format, head: RequestHead) -> Session:
    """Return the reader of a WebSocket that was opened with this request."""
    return Session(wire)


def has_session(wire: Format) -> bool:
    """Tell whether a format is known to be spoken over WebSockets, one document a message."""
    return dialect(wire.name).socket and wire.name != "unknown-socket"


def recorded(wire: Format, documents: list[Json]) -> Exchange:
    """Return what a client sent over a WebSocket, recorded as one array of messages."""
    spoken = dialect(wire.name)
    told = Ask(wire, {}).freeze()
    for index, value in enumerate(documents):
        ask = Ask(wire, value)
        spoken.request(ask)
        told = joined(told, moved(ask.freeze(), f"/{index}"))
    return told


def joined(before: Exchange, told: Exchange) -> Exchange:
    """Return a conversation with one more message of the client; settings are the latest."""
    return replace(
        before,
        request_model=told.request_model or before.request_model,
        system_instructions=told.system_instructions or before.system_instructions,
        tool_definitions=told.tool_definitions or before.tool_definitions,
        input_messages=(*before.input_messages, *told.input_messages)[-MOST_MESSAGES:],
        parameters={**before.parameters, **told.parameters},
        conversation_id=told.conversation_id or before.conversation_id,
        stream=True,
        unclaimed=(*before.unclaimed, *told.unclaimed)[-MOST_MESSAGES:],
    )


def moved(told: Exchange, prefix: str) -> Exchange:
    """Return an Exchange whose places stand below ``prefix``."""

    def below(leaf: Leaf) -> Leaf:
        return Leaf(prefix + leaf.place, leaf.text)

    def part_below(part: Part) -> Part:
        return replace(part, place=prefix + part.place, leaves=tuple(map(below, part.leaves)))

    return replace(
        told,
        system_instructions=tuple(map(part_below, told.system_instructions)),
        input_messages=tuple(
            replace(each, parts=tuple(map(part_below, each.parts))) for each in told.input_messages
        ),
        tool_definitions=tuple(
            replace(each, place=prefix + each.place, leaves=tuple(map(below, each.leaves)))
            for each in told.tool_definitions
        ),
        unclaimed=tuple(map(below, told.unclaimed)),
    )


def _documents(data: bytes, *, strict: bool) -> list[Json]:
    """Return the JSON documents of a message; of any other message its text."""
    if len(data) > LARGEST:
        raise ParseError(f"a message of {len(data)} bytes, the limit is {LARGEST}")
    documents: list[Json] = []
    for piece in data.split(RECORD):
        if not piece.strip():
            continue
        if piece.lstrip()[:1] in (b"{", b"["):
            documents.append(read(piece) if strict else read_lenient(piece))
        else:
            try:
                documents.append({"text": piece.decode()})
            except UnicodeDecodeError:
                documents.append({"texts": [leaf.text for leaf in strings(piece)]})
    return documents

"""Bodies -> Exchange: the room's operations, over whatever dialect a format has."""

from __future__ import annotations

from milecastle.model import Exchange, RequestHead, ResponseHead
from milecastle.providers import bodies
from milecastle.providers.answer import Answer
from milecastle.providers.dialects import dialect
from milecastle.providers.format import Format
from milecastle.providers.framings import Undecided, framing_for
from milecastle.providers.history import History, Known
from milecastle.providers.recognition import recognise
from milecastle.providers.session import recorded
from milecastle.providers.stream import Stream


def parse_request(
    wire: Format, head: RequestHead, body: bytes, history: History | None = None
) -> Exchange:
    """Return the request as an Exchange without an answer. ParseError where it is ambiguous.

    ``body`` has no content encoding any more. ``wire`` is recognition's answer for it. With
    ``history`` only what earlier requests did not hold is read.
    """
    if wire.name == "unknown":  # recognised by the head alone
        wire = recognise(head, body) or wire
    if history is None:
        return _parse(wire, head, body, None)
    known = history.known(wire, body)
    exchange = _parse(wire, head, body, known)
    history.keep(body, exchange, known)
    return exchange


def _parse(wire: Format, head: RequestHead, body: bytes, known: Known | None) -> Exchange:
    ask = bodies.read_request(wire, head, known.rest(body) if known else body)
    if known:
        known.pad(ask)
    spoken = dialect(wire.name)
    if spoken.socket and isinstance(ask.document, list):
        return recorded(wire, ask.document)
    spoken.request(ask)
    return known.joined(ask.freeze()) if known else ask.freeze()


def open_stream(exchange: Exchange, head: ResponseHead) -> Stream:
    """Return the reader of an answer that is still to come."""
    framing = framing_for(exchange, head)
    answer = Answer(exchange)
    answer.conversation = head.headers.get("mcp-session-id")  # given with the answer to initialize
    return Stream(answer, framing, head, dialect(exchange.format))


def is_stream(exchange: Exchange, head: ResponseHead) -> bool:
    """Tell whether an answer comes in events, so that it is read as it comes."""
    framing = framing_for(exchange, head)
    return not (framing.whole or (isinstance(framing, Undecided) and _is_json(head)))


def _is_json(head: ResponseHead) -> bool:
    return "json" in head.headers.get("content-type", "")


def parse_response(exchange: Exchange, head: ResponseHead, body: bytes) -> Exchange:
    """Return the request's Exchange with its answer, which may be JSON or a finished stream."""
    stream = open_stream(exchange, head)
    stream.feed(body)
    stream.close()
    return stream.exchange


def closing_events(wire: Format, stream: Stream, reason: str) -> bytes:
    """Return the bytes that end a stream in the provider's grammar, telling the reader why."""
    told = stream.answer.base.format or wire.name
    return dialect(told).closing(stream.answer, reason)

"""What mitmproxy's HTTP layers lack: a strict reader, a clean cut, an answer of our own.

mitmproxy has no seam for these, so three classes are subclassed here and put in place of its own
by `install`. They hold no decision: they carry out what the gate noted in the `Passage`.
tests/proxy/test_traps.py shows for each what happens without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import h11
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from milecastle.inspection import Block
from milecastle.model import Direction
from milecastle.proxy import answers, heads, multiplex, passage
from milecastle.proxy.measure import Measure

type Commands = layer.CommandGenerator[None]

ABORTED = "aborted by milecastle"


@dataclass(frozen=True)
class RefusedHead:
    """A request that was never parsed, because it could be read in two ways."""

    client: Client
    problem: str


@dataclass
class RefusedHeadHook(commands.StartHook):
    """Tells the gate of a refused head."""

    data: RefusedHead
    blocking = False


class NoTrailers:
    """Reads a chunked body and drops its trailer fields, as RFC 9110 section 6.5.1 allows.

    mitmproxy raises where there are any, in the middle of a connection.
    """

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader
        self.read_eof = reader.read_eof

    def __call__(self, buffer: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        event = self._reader(buffer)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


def nothing() -> Commands:
    """Ask for nothing."""
    yield from ()


class Bodies(_http1.Http1Connection):
    """Reads bodies of both sides, and sends them on without trailer fields.

    mitmproxy has none in HTTP/1, and raises where the other side's HTTP/2 brings some.
    """

    def send(self, event: HttpEvent) -> Commands:
        # no generator of its own: each is another step for every event
        if isinstance(event, RequestTrailers | ResponseTrailers):
            return nothing()
        return super().send(event)

    def read_body(self, event: events.Event) -> Commands:
        if isinstance(self.body_reader, ChunkedReader):
            self.body_reader = NoTrailers(self.body_reader)  # type: ignore[assignment]
        yield from super().read_body(event)


class Http1Server(Bodies, _http1.Http1Server):
    """Refuse heads that leave room for interpretation, and heads without end."""

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        # a copy only when a line ended: a head that drips in costs no more than it must
        drip = isinstance(event, events.DataReceived) and event.data and b"\n" not in event.data
        if isinstance(event, events.DataReceived) and (
            not drip or len(self.buf) >= heads.HEAD_LARGEST
        ):
            problem = heads.raw_problem(bytes(self.buf))
            if problem is not None:
                answer = answers.response_of(answers.malformed(problem))
                answer.headers["connection"] = "close"
                yield RefusedHeadHook(RefusedHead(self.context.client, problem))
                yield commands.SendData(self.conn, http1.assemble_response(answer))
                yield commands.CloseConnection(self.conn)
                self.state = self.done
                return
        yield from super().read_headers(event)


class Http1Client(Bodies, _http1.Http1Client):
    """Stop reading a head without end; frame what came over HTTP/2 without a length.

    mitmproxy would send such a body bare, and the provider take it for another request.
    """

    def send(self, event: HttpEvent) -> Commands:
        if (
            isinstance(event, RequestHeaders)
            and not event.end_stream
            and not {"content-length", "transfer-encoding"}
            & {*map(str.lower, event.request.headers)}
        ):
            request = event.request.copy()
            request.headers["transfer-encoding"] = "chunked"
            event = RequestHeaders(event.stream_id, request, end_stream=False)
        return super().send(event)

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        yield from super().read_headers(event)
        endless = self.state == self.read_headers and len(self.buf) > heads.HEAD_LARGEST
        if endless and self.stream_id is not None:
            yield commands.CloseConnection(self.conn)
            what = "Cannot parse HTTP response: too large"
            yield ReceiveHttp(
                ResponseProtocolError(self.stream_id, what, ErrorCode.GENERIC_SERVER_ERROR)
            )
            self.state = self.done


class HttpStream(http.HttpStream):
    """One exchange, which can be ended, replaced and bounded at any point."""

    def state_consume_request_body(self, event: events.Event) -> Commands:
        way = passage.of(self.flow)
        if way is not None and way.refusal is not None and isinstance(event, RequestData):
            return  # it will be answered without upstream: read it, but do not keep it
        yield from super().state_consume_request_body(event)

    def state_wait_for_response_headers(self, event: ResponseHeaders) -> Commands:
        yield from super().state_wait_for_response_headers(event)
        yield from self.obey()

    def state_stream_response_body(self, event: events.Event) -> Commands:
        yield from super().state_stream_response_body(event)
        yield from self.obey()

    def obey(self) -> Commands:
        """Abort upstream where the gate wants to: end a stream, or replace what did not begin.

        The client sees a whole answer and may use its connection again; upstream sees its stream
        reset (HTTP/2) or its connection closed (HTTP/1).
        """
        way = passage.of(self.flow)
        streamed = self.server_state == self.state_stream_response_body
        if way is None or not (way.cut if streamed else way.replacement):
            return
        if not streamed and self.server_state != self.state_consume_response_body:
            return
        self.server_state = self.state_errored
        yield http.SendHttp(
            RequestProtocolError(self.stream_id, ABORTED, ErrorCode.CANCEL),
            self.context.server,
        )
        yield from self.end(None if streamed else way.replacement)

    def end(self, answer: Block | None) -> Commands:
        """Finish the exchange with this answer; None: what was streamed was all of it."""
        if answer is not None:
            self.flow.response = answers.response_of(answer)
        yield from self.send_response(already_streamed=answer is None)

    def state_done(self, _event: events.Event) -> Commands:
        """Swallow what upstream had sent before it was aborted; mitmproxy would raise."""
        yield from ()

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> Commands:
        """Answer in the provider's shape where upstream failed before it answered."""
        way = passage.of(self.flow) if self.client_state != self.state_uninitialized else None
        if (
            way is not None
            and isinstance(event, ResponseProtocolError)
            and self.client_state == self.state_done
            and self.server_state == self.state_wait_for_response_headers
            and self.flow.response is None
            and self.context.client.state & ConnectionState.CAN_WRITE
        ):
            code, answer = answers.upstream(event.message)
            way.own_answer, way.error = True, code
            self.server_state = self.state_errored
            yield from self.end(answer)
        else:
            yield from super().handle_protocol_error(event)

    def check_body_size(self, request: bool) -> layer.CommandGenerator[bool]:
        """Bound what is held for inspection; beyond it the policy's on_failure decides.

        mitmproxy calls this before the head's hook too; the gate looks at declared lengths there.
        """
        way = passage.of(self.flow)
        held = self.request_body_buf if request else self.response_body_buf
        if way is None or (problem := way.problem(len(held), request=request)) is None:
            return False
        direction: Direction = "request" if request else "response"
        answer = way.overseer.too_much(self.flow, way, direction, problem)
        if answer is None:
            yield from self.stream_from_here(request)
        elif request:
            way.refusal = answer
            held.clear()
        else:
            way.replacement = answer
            held.clear()
            yield from self.obey()
        return True

    def stream_from_here(self, request: bool) -> Commands:
        """Send what was held so far and pass on the rest as it comes."""
        held = self.request_body_buf if request else self.response_body_buf
        data = bytes(held)
        held.clear()
        if request:
            self.flow.request.stream = Measure()
            yield from self.start_request_stream()
            yield from self.handle_event(RequestData(self.stream_id, data))
        else:
            assert self.flow.response is not None
            self.flow.response.stream = Measure()
            yield from self.start_response_stream()
            yield from self.handle_event(ResponseData(self.stream_id, data))


REPLACED: Mapping[str, type[layer.Layer]] = {
    "Http1Server": Http1Server,
    "Http1Client": Http1Client,
    "HttpStream": HttpStream,
    **multiplex.REPLACED,
}


def install() -> None:
    """Put the classes in place of mitmproxy's, which its HttpLayer finds by these names."""
    for name, replacement in REPLACED.items():
        if not issubclass(replacement, getattr(http, name)):
            raise TypeError(f"mitmproxy's {name} is not what it was")
        setattr(http, name, replacement)

"""The gate: each exchange is told to the inspection, and what that decides is done to the flow.

It reads heads, keeps the `Passage`, and obeys; it judges nothing itself. What goes past it is only
what the policy leaves alone: names outside the catalogue, services that are not intercepted,
requests that are no AI calls, and failures where `on_failure` is open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from mitmproxy import connection, http, tls
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from milecastle.inspection import Block, Context
from milecastle.model import Direction, ResponseHead, Service
from milecastle.proxy import answers, encodings, guard, heads, passage, records
from milecastle.proxy.certificates import UnsignedError
from milecastle.proxy.guard import ForeseenError, guarded
from milecastle.proxy.link import Caller
from milecastle.proxy.orders import Inspection, Orders
from milecastle.proxy.passage import Passage
from milecastle.proxy.streams import RefusedHead
from milecastle.proxy.tap import Tap

log = logging.getLogger(__name__)

DIRECTIONS: Mapping[str, Direction] = {
    "requestheaders": "request",
    "request": "request",
    "responseheaders": "response",
    "response": "response",
    "websocket_message": "request",
}
SWITCHING_PROTOCOLS = 101
WITHOUT_BODY = (204, 304)
REWRITTEN = ("content-md5", "digest", "content-digest", "repr-digest")
"""Header fields that would be wrong for a rewritten body (RFC 9530)."""


class Connections(Protocol):
    """What the gate needs of the place where connections arrive."""

    @property
    def callers(self) -> Mapping[str, Caller]:
        """Who is behind each open connection, by the id of mitmproxy's client."""

    def turn_away(self, client: connection.Client) -> None: ...


class Certificates(Protocol):
    """Brings the certificate for a name before the handshake; UnsignedError where it can't."""

    async def obtain(self, name: str) -> None: ...


class Gate:
    """mitmproxy's addon. Every hook is guarded: see `guard` for what a failure means."""

    name = "milecastle"

    def __init__(
        self,
        orders: Orders,
        *,
        body_limit: int,
        report: Callable[[records.Record], None],
        clock: Callable[[], float],
        randomness: Callable[[int], bytes],
        connections: Connections | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.orders = orders
        """Replaced as a whole when the policy changes; exchanges under way keep theirs."""
        self._body_limit = body_limit
        self._report = report
        self._clock = clock
        self._randomness = randomness
        self._connections = connections
        self._certificates = certificates

    # --- connections -----------------------------------------------------------------------

    @guarded("tls_clienthello")
    async def tls_clienthello(self, hello: tls.ClientHelloData) -> None:
        """Decide by the name whether to decrypt; have a certificate before the handshake."""
        name = heads.host_of(hello.client_hello.sni or "")
        service = self.orders.wanted(name)
        if service is None:
            hello.ignore_connection = True
        elif self._certificates is not None:
            try:
                await self._certificates.obtain(name)
            except UnsignedError as error:
                log.warning("no certificate for %s: %s", name, error)
                guard.failed(self, "tls_clienthello", hello, error)

    @guarded("notice")
    def tls_failed_client(self, data: tls.TlsData) -> None:
        """Record that a client broke off the handshake: it may not trust the CA."""
        name = heads.host_of(data.conn.sni or "")
        if service := self.orders.wanted(name):
            why = "the client broke off the TLS handshake; it may not trust milecastle's CA"
            self._note(data.context.client, name, service, "client_refused_certificate", why)

    @guarded("notice")
    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Connect where the application wanted to, and nowhere else."""
        caller = self._caller(data.client)
        if caller is not None and tuple(data.server.address or ())[:2] != caller.destination:
            data.server.error = "not where the application wanted to connect to"

    @guarded("notice")
    def refused_head(self, data: RefusedHead) -> None:
        """Record a request that was refused before it could be parsed."""
        name = heads.host_of(data.client.sni or "")
        service = self.orders.names.match(name) if name else None
        self._note(data.client, name, service, "malformed_request", data.problem, action="block")

    # --- requests --------------------------------------------------------------------------

    @guarded("requestheaders")
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Take an exchange in; decide whether and how it is inspected."""
        if flow.error:
            return  # mitmproxy has refused it already, as malformed
        way = self._open(flow)
        request = flow.request
        if problem := heads.request_problem(request):
            self._refuse(flow, way, answers.malformed(problem), "malformed_request")
            return
        hosts = heads.claimed_hosts(request, flow.client_conn.sni)
        if problem := heads.disagreement(hosts, self.orders.names.match):
            self._refuse(flow, way, answers.misdirected(problem), "host_mismatch")
            return
        way.host = hosts[0] if hosts else ""
        way.service = self.orders.wanted(way.host)
        if way.service is None:
            guard.stream_request(self, flow)
        elif heads.wants_websocket(request):
            self._fail(flow, "requestheaders", "websocket_not_inspected")
        else:
            self._begin(flow, way)

    def _begin(self, flow: http.HTTPFlow, way: Passage) -> None:
        """Begin the inspection; what is no AI call streams past."""
        head = heads.request_head(flow.request, way.host)
        caller = self._caller(flow.client_conn)
        process = caller.process if caller else None
        context = Context(way.exchange, way.started, way.cookie, process)
        way.inspection = self.orders.inspector.begin(head, context)
        if way.inspection is None:
            guard.stream_request(self, flow)
            return
        if "accept-encoding" in head.headers and (
            "accept-encoding" not in heads.signed_fields(flow.request.headers)
        ):
            flow.request.headers["accept-encoding"] = "identity"  # streams are read as they come
        if (heads.declared_length(flow.request.headers) or 0) > way.limit:
            self._fail(flow, "requestheaders", "body_too_large")

    @guarded("request")
    def request(self, flow: http.HTTPFlow) -> None:
        """Have the whole request judged; nothing of it has left yet."""
        way = passage.of(flow)
        if way is None:
            return
        if way.refusal is not None:
            flow.response = answers.response_of(way.refusal)
            return
        if way.inspection is not None and not way.waved:
            self._inspect_request(flow, way, way.inspection)
        if way.host == answers.SELF_TEST_HOST and flow.response is None:
            way.own_answer = True
            flow.response = answers.self_test()

    def _inspect_request(self, flow: http.HTTPFlow, way: Passage, inspection: Inspection) -> None:
        headers = flow.request.headers
        coded = flow.request.raw_content or b""
        way.original, way.request_bytes = coded, len(coded)
        coding = headers.get("content-encoding", "")
        body = encodings.decode(coded, coding, way.limit)
        decision = inspection.request(body)
        if isinstance(decision, Block):
            guard.answer_request(self, flow, decision)
        elif decision.body != body:
            replace_body(flow.request, encodings.encode(decision.body, coding))
        way.original = None

    # --- answers ---------------------------------------------------------------------------

    @guarded("responseheaders")
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Decide whether the answer is held, streamed through the inspection, or left alone."""
        way, response = passage.of(flow), flow.response
        if way is None or response is None:
            return
        response.headers.pop("alt-svc", None)  # HTTP/3 would go past the gate
        if way.own_answer or response.status_code == SWITCHING_PROTOCOLS:
            return
        if way.waved or way.inspection is None:
            response.stream = True
            return
        head = ResponseHead(response.status_code, heads.lowered(response.headers))
        empty = flow.request.method == "HEAD" or response.status_code in WITHOUT_BODY
        if way.inspection.respond(head) == "stream" and not empty:
            self._tap(flow, way, way.inspection, response)
        elif (heads.declared_length(response.headers) or 0) > way.limit:
            self._fail(flow, "responseheaders", "body_too_large")

    def _tap(
        self,
        flow: http.HTTPFlow,
        way: Passage,
        inspection: Inspection,
        response: http.Response,
    ) -> None:
        """Stream the answer through the inspection, without a length that may turn out wrong."""
        tap = Tap(
            way,
            inspection,
            response.headers.get("content-encoding", ""),
            lambda code: self.on_failure(flow, "response", code) is not None,
            self._clock,
        )
        response.stream = tap
        if tap.decodes:
            response.headers.pop("content-encoding")
        response.headers.pop("content-length", None)
        if flow.request.is_http11:
            response.headers["transfer-encoding"] = "chunked"

    def response(self, flow: http.HTTPFlow) -> None:
        """Have a held answer judged; record the exchange, whatever came of it."""
        self.judge(flow)
        self.conclude(flow)

    @guarded("response")
    def judge(self, flow: http.HTTPFlow) -> None:
        """Have the whole answer judged, if it was held and is not our own."""
        way, response = passage.of(flow), flow.response
        if way is None or way.inspection is None or response is None:
            return
        ours = way.own_answer and not self_tested(way)
        if not (ours or way.waved or response.stream):
            self._inspect_response(flow, way, way.inspection, response)

    @guarded("notice")
    def conclude(self, flow: http.HTTPFlow) -> None:
        """Record an exchange that is over."""
        if way := passage.of(flow):
            self._record(flow, way)

    def _inspect_response(
        self,
        flow: http.HTTPFlow,
        way: Passage,
        inspection: Inspection,
        response: http.Response,
    ) -> None:
        coded = response.raw_content or b""
        way.original, way.response_bytes = coded, len(coded)
        way.first_byte = response.timestamp_start
        coding = response.headers.get("content-encoding", "")
        body = encodings.decode(coded, coding, way.limit)
        if way.own_answer:
            inspection.respond(ResponseHead(response.status_code, heads.lowered(response.headers)))
        decision = inspection.response(body)
        if isinstance(decision, Block):
            guard.answer_response(self, flow, decision)
        elif decision.body != body:
            replace_body(response, encodings.encode(decision.body, coding))
        way.original = None

    # --- WebSockets ------------------------------------------------------------------------

    @guarded("websocket_message")
    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Forget earlier messages: mitmproxy would keep them all."""
        assert flow.websocket is not None
        del flow.websocket.messages[:-1]

    # --- ends ------------------------------------------------------------------------------

    @guarded("notice")
    def error(self, flow: http.HTTPFlow) -> None:
        """Record an exchange that broke off."""
        way = passage.of(flow) or self._open(flow)
        if flow.error and not way.error:
            way.error = "connection_closed" if way.host else "malformed_request"
        self._record(flow, way)

    # --- what a failure means --------------------------------------------------------------

    def on_failure(self, data: object, stage: str, code: str) -> Block | None:
        """Return the answer of a policy that fails closed, None where it fails open."""
        if isinstance(data, tls.ClientHelloData):
            return self._hello_failed(data, code)
        if not isinstance(data, http.HTTPFlow):
            return None
        way = passage.of(data) or self._open(data)
        way.error = way.error or code
        direction = DIRECTIONS.get(stage, "response")
        if way.inspection is not None:
            try:
                decision = way.inspection.fail(direction, ForeseenError(code))
                return decision if isinstance(decision, Block) else None
            except Exception as error:  # noqa: BLE001 - then the policy itself is asked
                guard.report(f"failure at {stage}", error)
        closed = self.orders.rules.on_failure(way.service) == "closed"
        return answers.uninspectable(code) if closed else None

    def turn_away(self, hello: tls.ClientHelloData) -> None:
        """Close a client's connection before the handshake."""
        if self._connections is not None:
            self._connections.turn_away(hello.context.client)

    def too_large(self, flow: http.HTTPFlow, way: Passage, direction: Direction) -> Block | None:
        """Decide on a body that grew over the limit while it was held."""
        answer = self.on_failure(flow, direction, "body_too_large")
        way.waved = answer is None
        way.own_answer = answer is not None
        return answer

    def _hello_failed(self, hello: tls.ClientHelloData, code: str) -> Block | None:
        name = heads.host_of(hello.client_hello.sni or "")
        service = self.orders.names.match(name) if name else None
        closed = self.orders.rules.on_failure(service) == "closed"
        did = "was refused" if closed else "passed without inspection"
        why = f"there was no certificate for it; the connection {did}"
        action = "block" if closed else "alert"
        self._note(hello.context.client, name, service, code, why, action=action)
        return answers.uninspectable(code) if closed else None

    def _fail(self, flow: http.HTTPFlow, stage: str, code: str) -> None:
        """Give the policy's answer to something that is known not to work."""
        guard.failed(self, stage, flow, ForeseenError(code))

    def _refuse(self, flow: http.HTTPFlow, way: Passage, answer: Block, code: str) -> None:
        way.error = code
        guard.refuse_request(self, flow, answer)

    # --- records ---------------------------------------------------------------------------

    def _caller(self, client: connection.Client) -> Caller | None:
        return self._connections.callers.get(client.id) if self._connections else None

    def _open(self, flow: http.HTTPFlow) -> Passage:
        caller, now = self._caller(flow.client_conn), self._clock()
        way = Passage(
            exchange=records.exchange_id(now, self._randomness(10)),
            started=now,
            cookie=caller.cookie if caller else 0,
            limit=self._body_limit,
            overseer=self,
        )
        flow.metadata[passage.KEY] = way
        return way

    def _record(self, flow: http.HTTPFlow, way: Passage) -> None:
        """Report an exchange once: with what was said where it was inspected."""
        if way.recorded or not (way.inspection or way.error):
            return
        way.recorded = True
        ended = self._clock()
        status = flow.response.status_code if flow.response else None
        if way.inspection is not None:
            record = way.inspection.record(ended, way.first_byte_ms)
            record["status"] = status
            if way.error:
                record.setdefault("attributes", {}).setdefault("error.type", way.error)
        else:
            record = records.bare(
                cookie=way.cookie,
                exchange=way.exchange,
                started=way.started,
                ended=ended,
                host=way.host,
                service=way.service.id if way.service else None,
                error=way.error,
                reason=way.error,
                action="block" if way.refusal else "alert",
                method=flow.request.method,
                path=flow.request.path.partition("?")[0][:1024],
                status=status,
            )
        self._report(record)

    def _note(
        self,
        client: connection.Client,
        host: str,
        service: Service | None,
        error: str,
        reason: str,
        action: str = "alert",
    ) -> None:
        """Report something about a connection that carried no exchange."""
        caller, now = self._caller(client), self._clock()
        self._report(
            records.bare(
                cookie=caller.cookie if caller else 0,
                exchange=records.exchange_id(now, self._randomness(10)),
                started=now,
                ended=now,
                host=host,
                service=service.id if service else None,
                error=error,
                reason=reason,
                action=action,
            )
        )


def self_tested(way: Passage) -> bool:
    """Whether the answer is the self-test's, which is inspected like a provider's."""
    return way.host == answers.SELF_TEST_HOST and way.refusal is None


def replace_body(message: http.Message, body: bytes) -> None:
    """Put another body in place; framing and digests follow."""
    message.data.content = body
    for name in REWRITTEN:
        message.headers.pop(name, None)
    if "transfer-encoding" not in message.headers:
        message.headers["content-length"] = str(len(body))

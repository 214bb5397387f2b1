"""The gate: each exchange is told to the inspection, and what that decides is done to the flow.

It reads heads, keeps the `Passage`, and obeys; it judges nothing itself. What goes past it is only
what the policy leaves alone: names outside the catalogue, services that are not intercepted,
requests that are no AI calls, and failures where `on_failure` is open.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from mitmproxy import connection, http

from milecastle.catalogue import UNKNOWN
from milecastle.inspection import Block, Context
from milecastle.model import Direction, RequestHead, ResponseHead
from milecastle.providers import encodings
from milecastle.proxy import answers, claims, counting, guard, heads, messages, passage
from milecastle.proxy.conversations import Conversations
from milecastle.proxy.counting import Counter
from milecastle.proxy.guard import ForeseenError, guarded
from milecastle.proxy.ledger import Ledger
from milecastle.proxy.link import Caller
from milecastle.proxy.messages import read_as_it_comes
from milecastle.proxy.orders import Inspection, Watch
from milecastle.proxy.passage import Passage
from milecastle.proxy.room import Room
from milecastle.proxy.tap import Tap

DIRECTIONS: Mapping[str, Direction] = {
    "requestheaders": "request",
    "request": "request",
    "responseheaders": "response",
    "response": "response",
    "websocket_message": "request",
}
NOTHING: Mapping[str, float] = {}
SWITCHING_PROTOCOLS = 101
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
WITHOUT_BODY = (204, 304)


class Gate(Conversations):
    """mitmproxy's addon for exchanges. Every hook is guarded: see `guard` for what that means."""

    name = "milecastle"

    def __init__(
        self,
        watch: Watch,
        ledger: Ledger,
        body_limit: int,
        callers: Mapping[str, Caller],
        room: Room | None = None,
        counter: Counter | None = None,
    ) -> None:
        self._watch = watch
        self._ledger = ledger
        self._body_limit = body_limit
        self._callers = callers
        self._room = room or Room(time.monotonic)
        self._plain: dict[str, str] = {}
        """What each connection without TLS is for, by its client's id."""
        self._counter = counter or counting.Alone(ledger.clock)

    def client_disconnected(self, client: connection.Client) -> None:
        """Forget a connection."""
        self._plain.pop(client.id, None)

    # --- requests --------------------------------------------------------------------------

    @guarded("requestheaders")
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Take an exchange in; decide whether and how it is inspected."""
        if flow.error:
            return  # mitmproxy has refused it already, as malformed
        way, request, orders = self._open(flow), flow.request, self._watch.orders
        fields = heads.lowered(request.headers)
        if problem := heads.request_problem(request):
            way.error = "malformed_request"
            guard.refuse_request(self, flow, answers.malformed(problem))
            return
        hosts = heads.claimed_hosts(request, fields, flow.client_conn.sni)
        if hosts and not flow.client_conn.tls:  # nothing but its first request says what it is for
            hosts = (self._plain.setdefault(flow.client_conn.id, hosts[0]), *hosts)
        if problem := heads.disagreement(hosts, orders.names.match):
            way.error = "host_mismatch"
            guard.refuse_request(self, flow, answers.misdirected(problem))
            return
        way.host = hosts[0] if hosts else ""
        caller = self._callers.get(flow.client_conn.id)
        way.service = orders.wanted(way.host, caller.local if caller else None)
        if way.service is None:
            guard.stream_request(self, flow)
        elif heads.wants_websocket(fields):
            if not self._refused(flow, way):
                self._begin_socket(flow, way, fields)
        else:
            self._begin(flow, way, fields)

    def _begin(self, flow: http.HTTPFlow, way: Passage, fields: Mapping[str, str]) -> None:
        """Begin the inspection; what is no AI call streams past."""
        head = heads.request_head(flow.request, way.host, fields)
        inspector = self._watch.orders.inspector
        context = self._context(flow, way)
        way.inspection = inspector.begin(head, context)
        if way.inspection is not None:
            read_as_it_comes(flow.request, fields)
        elif inspector.asks_for_body(head, context):
            way.asked = head
        else:
            self._let_pass(flow, way)
            return
        if heads.declared_length(fields) > way.limit:
            raise ForeseenError("body_too_large")
        if not way.roomy:
            raise ForeseenError("overloaded")

    def _let_pass(self, flow: http.HTTPFlow, way: Passage) -> None:
        """Stream what is no AI call; note, or refuse, what may be one and can't be read."""
        unlike = way.service is None or way.service.category == UNKNOWN
        if flow.request.method in WITH_BODY and not unlike and not self._refused(flow, way):
            caller = self._callers.get(flow.client_conn.id)
            self._ledger.seen(caller, way.host, "unknown_shape")
        if way.refusal is None:
            guard.stream_request(self, flow)

    def _recognise(self, flow: http.HTTPFlow, way: Passage, head: RequestHead) -> None:
        """Say by the whole request whether it is an AI call."""
        raw, coding = flow.request.raw_content or b"", flow.request.headers.get("content-encoding")
        body = encodings.decode(raw, coding or "", way.limit)
        context = self._context(flow, way)
        way.inspection = self._watch.orders.inspector.begin(head, context, body)
        way.waved = way.inspection is None
        if not way.waved:
            read_as_it_comes(flow.request, heads.lowered(flow.request.headers))

    def _begin_socket(self, flow: http.HTTPFlow, way: Passage, fields: Mapping[str, str]) -> None:
        """Begin the inspection of a WebSocket, if its messages can be read."""
        head = heads.request_head(flow.request, way.host, fields)
        inspection = None
        if flow.request.method == "GET":
            inspection = self._watch.orders.inspector.begin(head, self._context(flow, way))
        if inspection is None or not inspection.converse():
            raise ForeseenError("websocket_not_inspected")
        way.inspection, way.conversing = inspection, True
        # without compression a message is no larger than what came
        flow.request.headers.pop("sec-websocket-extensions", None)

    def _context(self, flow: http.HTTPFlow, way: Passage) -> Context:
        caller = self._callers.get(flow.client_conn.id)
        process, local = (caller.process, caller.local) if caller else (None, None)
        account = claims.kind(way.host, flow.request.path, heads.lowered(flow.request.headers))
        return Context(way.exchange, way.started, way.cookie, process, local, account)

    def _refused(self, flow: http.HTTPFlow, way: Passage) -> bool:
        """Refuse what can't be judged but may be a call, where the policy blocks every call."""
        service = way.service
        if service is None or not self._watch.orders.rules.refusal(service, now=way.started):
            return False
        way.error = "service_blocked"
        guard.refuse_request(self, flow, answers.blocked())
        return True

    @guarded("request")
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """Have the whole request judged; nothing of it has left yet."""
        way = passage.of(flow)
        if way is None:
            return None
        if way.refusal is not None:
            flow.response = answers.response_of(way.refusal)
            return None
        if way.conversing and flow.request.raw_content:
            raise ForeseenError("websocket_not_inspected")
        if way.asked is not None and not way.waved:
            self._recognise(flow, way, way.asked)
        if way.inspection is not None and not (way.waved or way.conversing):
            if way.inspection.counts and way.host != answers.SELF_TEST_HOST:
                return self._count_request(flow, way, way.inspection)
            self._inspect_request(flow, way, way.inspection)
        if way.host == answers.SELF_TEST_HOST and flow.response is None:
            way.own_answer = True
            flow.response = answers.self_test()
        return None

    async def _count_request(
        self, flow: http.HTTPFlow, way: Passage, inspection: Inspection
    ) -> None:
        """Ask what the request's limits have left before it is judged."""
        coding = flow.request.headers.get("content-encoding", "")
        body = encodings.decode(flow.request.raw_content or b"", coding, way.limit)
        over = await counting.reached(self._counter, inspection.charges(body))
        self._inspect_request(flow, way, inspection, over)

    def _inspect_request(
        self,
        flow: http.HTTPFlow,
        way: Passage,
        inspection: Inspection,
        over: Mapping[str, float] = NOTHING,
    ) -> None:
        coded = way.original = flow.request.raw_content or b""
        coding = flow.request.headers.get("content-encoding", "")
        if not inspection.binding("request"):
            self._judge_later(flow, "request", lambda: encodings.decode(coded, coding, way.limit))
            return
        body = encodings.decode(coded, coding, way.limit)
        decision = inspection.request(body, over)
        if isinstance(decision, Block):
            guard.answer_request(self, flow, decision)
        elif decision.body != body:
            messages.replace_body(flow.request, encodings.encode(decision.body, coding))
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
        way.settle()
        fields = heads.lowered(response.headers)
        empty = flow.request.method == "HEAD" or response.status_code in WITHOUT_BODY
        wanted = way.inspection.respond(ResponseHead(response.status_code, fields))
        if wanted == "stream" and not empty:
            self._tap(flow, way, way.inspection, response)
        elif heads.declared_length(fields) > way.limit:
            raise ForeseenError("body_too_large")

    def _tap(
        self, flow: http.HTTPFlow, way: Passage, inspection: Inspection, response: http.Response
    ) -> None:
        """Stream the answer through the inspection, without a length that may turn out wrong."""
        response.stream = tap = Tap(
            way,
            inspection,
            response.headers.get("content-encoding", ""),
            lambda code: self.on_failure(flow, "response", code) is not None,
            self._ledger.clock,
        )
        if tap.decodes:
            response.headers.pop("content-encoding")
        response.headers.pop("content-length", None)
        if flow.request.is_http11:
            response.headers["transfer-encoding"] = "chunked"

    def response(self, flow: http.HTTPFlow) -> None:
        """Have a held answer judged; record the exchange, whatever came of it."""
        way = passage.of(flow)
        if flow.websocket is not None and way is not None and way.conversing:
            return  # it has only begun
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

    def _inspect_response(
        self, flow: http.HTTPFlow, way: Passage, inspection: Inspection, response: http.Response
    ) -> None:
        coded = way.original = response.raw_content or b""
        way.first_byte = response.timestamp_start
        coding = response.headers.get("content-encoding", "")
        if way.own_answer:
            way.settle()
            inspection.respond(ResponseHead(response.status_code, heads.lowered(response.headers)))
        if not inspection.binding("response"):
            self._judge_later(flow, "response", lambda: encodings.decode(coded, coding, way.limit))
            return
        body = encodings.decode(coded, coding, way.limit)
        decision = inspection.response(body)
        if isinstance(decision, Block):
            guard.answer_response(self, flow, decision)
        elif decision.body != body:
            messages.replace_body(response, encodings.encode(decision.body, coding))
        way.original = None

    def _judge_later(
        self, flow: http.HTTPFlow, direction: Direction, body: Callable[[], bytes]
    ) -> None:
        """Let a message go on that no verdict can touch; judge it when its bytes are written."""
        way = passage.of(flow)
        assert way is not None
        assert way.inspection is not None
        way.original, inspection = None, way.inspection
        judge = inspection.request if direction == "request" else inspection.response

        def act() -> None:
            if way.pending is not act:
                return  # it was wanted sooner
            way.pending = None
            try:
                judge(body())
            except Exception as error:  # noqa: BLE001 - like in a guarded hook
                guard.report(direction, error)
                self.on_failure(flow, direction, guard.code_of(error))

        way.pending = act
        self._ledger.defer(act)

    # --- ends ------------------------------------------------------------------------------

    @guarded("notice")
    def conclude(self, flow: http.HTTPFlow) -> None:
        """Record an exchange that is over."""
        if way := passage.of(flow):
            self._ledger.close(flow, way)
            way.leave()
            if way.inspection and way.inspection.charged and flow.response:
                self._counter.spent(way.inspection.charged, way.inspection.tokens)

    @guarded("notice")
    def error(self, flow: http.HTTPFlow) -> None:
        """Record an exchange that broke off."""
        way = passage.of(flow) or self._open(flow)
        if flow.error and not way.error:
            way.error = "connection_closed" if way.host else "malformed_request"
        self._ledger.close(flow, way)
        way.leave()

    # --- what a failure means --------------------------------------------------------------

    def on_failure(self, data: object, stage: str, code: str) -> Block | None:
        """Return the answer of a policy that fails closed, None where it fails open."""
        assert isinstance(data, http.HTTPFlow)
        way = passage.of(data) or self._open(data)
        way.error = way.error or code
        if way.inspection is not None:
            try:
                decision = way.inspection.fail(direction_of(data, stage), ForeseenError(code))
                return decision if isinstance(decision, Block) else None
            except Exception as error:  # noqa: BLE001 - then the policy itself is asked
                guard.report(f"failure at {stage}", error)
        caller = self._callers.get(data.client_conn.id)
        process = caller.process if caller else None
        closed = self._watch.orders.rules.on_failure(way.service, process=process) == "closed"
        return answers.uninspectable(code) if closed else None

    def too_much(
        self, flow: http.HTTPFlow, way: Passage, direction: Direction, code: str
    ) -> Block | None:
        """Decide on a body of which more came than can be held."""
        answer = self.on_failure(flow, direction, code)
        way.waved = answer is None
        way.own_answer = answer is not None
        return answer

    def _open(self, flow: http.HTTPFlow) -> Passage:
        caller, now = self._callers.get(flow.client_conn.id), self._ledger.clock()
        way = Passage(
            exchange=self._ledger.exchange_id(now),
            started=now,
            cookie=caller.cookie if caller else 0,
            limit=self._body_limit,
            room=self._room,
            roomy=self._room.enter(),
            overseer=self,
            client=caller.process.client if caller and caller.process else None,
        )
        flow.metadata[passage.KEY] = way
        return way


def direction_of(flow: http.HTTPFlow, stage: str) -> Direction:
    """Return which way the message went at whose stage something failed."""
    if stage == "websocket_message" and flow.websocket and flow.websocket.messages:
        return "request" if flow.websocket.messages[-1].from_client else "response"
    return DIRECTIONS[stage]


def self_tested(way: Passage) -> bool:
    """Whether the answer is the self-test's, which is inspected like a provider's."""
    return way.host == answers.SELF_TEST_HOST and way.refusal is None

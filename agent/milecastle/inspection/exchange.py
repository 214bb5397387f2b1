"""One exchange, message by message: read, judge, rewrite or refuse.

The states are the order of the methods: ``request``, ``respond``, then either ``response`` or
``feed`` ... ``finish``. A WebSocket, where ``converse`` says that it can be read, has ``send`` and
``receive`` instead, and one inspection for each turn. Whatever can't be read or isn't finished in
time is a failure, and a failure is answered as the policy's ``on_failure`` says, never by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from milecastle import providers
from milecastle.detect import Unfinished
from milecastle.inspection import coaching
from milecastle.inspection.actions import Block, Chunk, Forward, Reply
from milecastle.inspection.context import Context
from milecastle.inspection.continuity import owner_of
from milecastle.inspection.pseudonyms import Pseudonyms
from milecastle.inspection.record import Told, record
from milecastle.inspection.replacing import edits, merge, restored, without_names
from milecastle.inspection.session import SessionInspection
from milecastle.inspection.signatures import signature
from milecastle.inspection.stream import StreamInspection
from milecastle.model import (
    Action,
    Direction,
    Exchange,
    Finding,
    OnFailure,
    ParseError,
    RequestHead,
    ResponseHead,
    Segment,
    Service,
    Subject,
    Verdict,
)
from milecastle.policy import Charge, Decision
from milecastle.providers import Format

if TYPE_CHECKING:
    from milecastle.inspection.inspector import Inspector

NONE: Mapping[str, float] = {}
FINAL = {"x-should-retry": "false"}
"""Several SDKs heed it: asking again would bring the same answer."""
BYTES_A_TOKEN = 4
"""About; of what is on its way nobody knows better before the provider counts."""
ROUNDS = 3
"""How often a rewritten body is read again before it is given up and refused."""


class Inspection:
    """The state machine of one exchange."""

    def __init__(
        self,
        inspector: Inspector,
        head: RequestHead,
        format_: Format,
        service: Service | None,
        context: Context,
    ) -> None:
        self.inspector = inspector
        self.head = head
        self.format = format_
        self.service = service
        self.context = context
        self.exchange = Exchange(format_.name, format_.operation, format_.provider)
        self.answer: ResponseHead | None = None
        self.told = Told()
        self.names = self._names()
        self.charged: Sequence[Charge] = ()
        """What the request counts against."""
        self._over: Mapping[str, float] = NONE
        self._stream: StreamInspection | None = None
        self._session: SessionInspection | None = None

    def _names(self) -> Pseudonyms:
        """Return what placeholders stand for, in this user's conversations with this service."""
        if not self.inspector.names:
            return Pseudonyms(b"", "")
        process = self.context.process
        who = f"uid {process.uid}" if process else f"connection {self.context.cookie}"
        whom = self.service.id if self.service else self.head.host
        return self.inspector.vault.of(f"{who}\0{whom}")

    # --- the request -----------------------------------------------------------------------

    def charges(self, body: bytes) -> Sequence[Charge]:
        """Return what a request counts against; nothing where no rule limits anything.

        Whoever counts them tells ``request`` which rules' limits are reached.
        """
        if not self.inspector.limits:
            return ()
        try:
            history = self.inspector.history
            self.exchange = providers.parse_request(self.format, self.head, body, history)
        except ParseError:
            return ()  # `request` will say so
        self.charged = self.inspector.policy.charges(self.subject("request"))
        return self.charged

    @property
    def counts(self) -> bool:
        """Whether ``charges`` is to be asked before the request is judged."""
        return self.inspector.limits

    @property
    def tokens(self) -> int:
        """What request and answer used; an estimate where the provider says nothing."""
        exchange = self._stream.exchange if self._stream else self.exchange
        told = (exchange.usage.input_tokens or 0) + (exchange.usage.output_tokens or 0)
        return told or (self.told.request_bytes + self.told.response_bytes) // BYTES_A_TOKEN

    def request(self, body: bytes, over: Mapping[str, float] = NONE) -> Forward | Block:
        """Read and judge the whole request; nothing of it has left the host yet.

        ``over`` are the rules whose limit is reached, each with the time at which that ends.
        """
        self.told.request_bytes = len(body)
        self._over = over
        try:
            exchange, segments, findings = self._read_request(body)
        except (ParseError, Unfinished) as error:
            return self.fail("request", error, body)
        self.exchange = exchange
        # by its head alone a request may have been no more than a call of unknown shape
        self.format = replace(self.format, name=exchange.format, provider=exchange.provider)
        decision = self.judge("request", findings)
        match decision.verdict.applied:
            case applied if applied.stops:
                return self.refusal(decision.verdict)
            case applied if applied.edits:
                return self._edited_request(body, decision, segments, findings)
            case _:
                return Forward(body)

    def _read_request(self, body: bytes) -> tuple[Exchange, list[Segment], list[Finding]]:
        history = self.inspector.history
        exchange = providers.parse_request(self.format, self.head, body, history)
        segments = providers.segments(exchange, "request")
        findings = self.inspector.engine.scan(segments)
        if exchange.format == "mcp":  # a call that is made; others are only told of again
            findings += self.called(exchange, segments)
        else:
            findings += self.inspector.continuity.offered(self, exchange)
        return exchange, segments, findings

    def _edited_request(
        self,
        body: bytes,
        decision: Decision,
        segments: Sequence[Segment],
        findings: Sequence[Finding],
    ) -> Forward | Block:
        """Rewrite until nothing is left to replace: an edit may uncover what it was joined to."""
        verdict = decision.verdict
        if scheme := signature(self.head):
            return self._unchangeable(verdict, f"the request is signed ({scheme})")
        try:
            for _ in range(ROUNDS):
                body = providers.rewrite(body, edits(decision, segments, findings, self.names))
                _exchange, segments, findings = self._read_request(body)
                findings = without_names(findings, segments, self.names)
                decision = self.decide("request", findings)
                if not decision.edited:
                    return Forward(body)
        except (ParseError, Unfinished):
            pass  # a body that can't be rewritten is refused, whatever on_failure says
        return self._unchangeable(verdict, "it could not be redacted without a trace")

    def _unchangeable(self, wanted: Verdict, why: str) -> Block:
        """Refuse a request that a rule wanted changed, and that can't be changed."""
        reason = f"{wanted.reason} It can not be taken out: {why}."
        verdict = Verdict(Action.BLOCK, wanted.rule, reason)
        self.told.verdicts["request"] = verdict
        return self.refusal(verdict)

    # --- the answer ------------------------------------------------------------------------

    def respond(self, head: ResponseHead) -> Literal["buffer", "stream"]:
        """Take the answer's head; say whether its body is wanted whole or as it comes."""
        self.answer = head
        if providers.is_stream(self.exchange, head):
            self._stream = StreamInspection(self, head)
            return "stream"
        return "buffer"

    def response(self, body: bytes) -> Forward | Block:
        """Read and judge a whole answer."""
        assert self.answer is not None, "respond() comes first"
        self.told.response_bytes = len(body)
        if not body:
            return Forward(body)
        try:
            exchange, segments, findings = self._read_response(body)
        except (ParseError, Unfinished) as error:
            return self.fail("response", error, body)
        self.exchange = exchange
        decision = self.judge("response", findings)
        if decision.verdict.applied.stops:
            return self.refusal(decision.verdict)
        wanted = edits(decision, segments, findings, self.names)
        wanted += restored(segments, self.names)
        wanted += coaching.appended(exchange, self.told.notices)
        try:
            return Forward(providers.rewrite(body, merge(wanted)))
        except ParseError:
            return self.refusal(decision.verdict) if decision.edited else Forward(body)

    def _read_response(self, body: bytes) -> tuple[Exchange, list[Segment], list[Finding]]:
        assert self.answer is not None
        try:
            exchange = providers.parse_response(self.exchange, self.answer, body)
        except ParseError:
            if self.answer.status < 400:
                raise
            # a gateway's page about an error, not the provider's words: text like any other
            exchange = replace(self.exchange, error=f"http_{self.answer.status}")
            text = body.decode("utf-8", "replace")
            segments = [Segment(text, "assistant", "web")]
            return exchange, segments, self.inspector.engine.scan(segments)
        segments = providers.segments(exchange, "response")
        findings = self.inspector.engine.scan(segments)
        return exchange, segments, findings + self.across(exchange, segments)

    def across(self, exchange: Exchange, segments: Sequence[Segment]) -> list[Finding]:
        """Return what an answer's segments are only beside what was said before."""
        continuity = self.inspector.continuity
        if exchange.format == "mcp":
            return continuity.offered(self, exchange)
        return [*continuity.given_away(exchange, segments), *self.called(exchange, segments)]

    def called(self, exchange: Exchange, calls: Sequence[Segment]) -> list[Finding]:
        """Return what is wrong with new calls after those that the conversation made before."""
        owner, cookie = owner_of(self.context.process), self.context.cookie
        line = f"connection {cookie}" if self._session is not None and cookie is not None else ""
        engine = self.inspector.engine
        return self.inspector.continuity.called(engine, exchange, calls, owner, line)

    def feed(self, data: bytes) -> Chunk:
        """Read the next bytes of a streamed answer; return those that may go on."""
        assert self._stream is not None, "respond() asked for a whole body"
        self.told.response_bytes += len(data)
        return self._stream.feed(data)

    def finish(self) -> Chunk:
        """Return what was held back, now that the answer is complete."""
        assert self._stream is not None, "respond() asked for a whole body"
        return self._stream.finish()

    # --- a WebSocket -----------------------------------------------------------------------

    def converse(self) -> bool:
        """Tell whether this opens a WebSocket whose messages can be read; if so, await them."""
        if providers.has_session(self.format):
            self._session = SessionInspection(self, providers.open_session(self.format, self.head))
        return self._session is not None

    def send(self, data: bytes) -> Forward | Block | Reply:
        """Judge a message of the client. A Block's body is a message that tells it why."""
        assert self._session is not None, "converse() comes first"
        return self._session.send(data)

    def receive(self, data: bytes) -> Forward | Block:
        """Judge a message of the server. A Block's body is sent instead; then the session ends."""
        assert self._session is not None, "converse() comes first"
        return self._session.receive(data)

    @property
    def complete(self) -> bool:
        """Whether a turn of the conversation is over, so that it can be recorded."""
        return self._session is not None and self._session.complete

    def turn(self, context: Context) -> Inspection:
        """Return the inspection of the next turn; this one has nothing left but its record."""
        assert self._session is not None, "converse() comes first"
        following = Inspection(self.inspector, self.head, self.format, self.service, context)
        self.exchange = self._session.exchange
        following._session = self._session.follow(following)
        self._session = None
        return following

    # --- judging ---------------------------------------------------------------------------

    def binding(self, direction: Direction) -> bool:
        """Tell whether more than a record can come of judging such a message.

        If not, it may go on first and be judged while nobody waits.
        """
        if direction == "response" and self.changes_answers:
            return True
        return self.on_failure(direction) == "closed" or self.inspector.acts_on(direction)

    @property
    def changes_answers(self) -> bool:
        """Whether something is put into answers, though no rule is about them."""
        coached = self.told.notices or self.inspector.coaches("response")
        return bool(self.names or coached)

    def subject(self, direction: Direction) -> Subject:
        """Return what the policy's rules can match on."""
        service, told = self.service, self.told
        asking = direction == "request"
        return Subject(
            service=service.id if service else None,
            category=service.category if service else "",
            standing=self.inspector.policy.standing(service),
            operation=self.exchange.operation,
            model=self.exchange.response_model or self.exchange.request_model or "",
            process=self.context.process,
            direction=direction,
            account=self.context.account,
            destination=self.head.host,
            host=self.inspector.host,
            size=told.request_bytes if asking else told.response_bytes,
            tokens=told.request_bytes // BYTES_A_TOKEN if asking else self.exchange.usage.total,
        )

    def judge(self, direction: Direction, findings: Sequence[Finding]) -> Decision:
        """Decide on a message, and remember the findings and the verdict for the record."""
        decision = self.decide(direction, findings)
        self.told.findings[direction] = tuple(findings)
        self.told.verdicts[direction] = decision.verdict
        self.told.heed(decision.notices)
        return decision

    def decide(self, direction: Direction, findings: Sequence[Finding]) -> Decision:
        """Ask the policy, at the time that the exchange began."""
        return self.inspector.policy.decide(
            self.subject(direction), findings, now=self.context.started, over=self._over
        )

    def on_failure(self, stage: Direction) -> OnFailure:
        """Return what the policy wants done with such a message where it can't be judged."""
        return self.inspector.policy.on_failure(
            self.service, self.subject(stage), now=self.context.started
        )

    def fail(self, stage: Direction, error: Exception, body: bytes = b"") -> Forward | Block:
        """Answer a message that can't be judged, as the policy's ``on_failure`` says."""
        why = f"{type(error).__name__}: {error}" if isinstance(error, ParseError) else str(error)
        self.told.failures[stage] = why[:200] or type(error).__name__
        if isinstance(error, Unfinished):
            self.told.findings[stage] = tuple(error.findings)
        if self.on_failure(stage) == "open":
            reason = f"the {stage} could not be inspected; on_failure is open"
            self.told.verdicts[stage] = Verdict(Action.ALERT, None, reason)
            return Forward(body)
        reason = f"the {stage} could not be inspected; on_failure is closed"
        verdict = Verdict(Action.BLOCK, None, reason)
        self.told.verdicts[stage] = verdict
        return self.refusal(verdict)

    def refusal(self, verdict: Verdict) -> Block:
        """Return the answer that tells the client why: the provider's error, or its assistant."""
        limited = verdict.applied is Action.LIMIT
        code, status = ("milecastle_limited", 429) if limited else ("milecastle_blocked", 403)
        message = self.told_why(verdict)
        if self._session is not None:
            told = providers.error_message(self.format, status=status, code=code, message=message)
            return Block(status, {}, told)
        if verdict.style == "message" and (said := self._said(message)):
            return said
        block = Block(*providers.error_body(self.format, status=status, code=code, message=message))
        until = self._over.get(verdict.rule or "", 0.0) - self.context.started
        later = {"retry-after": str(max(1, int(until)))} if limited and until > 0 else {}
        return replace(block, headers={**block.headers, **FINAL, **later})

    def told_why(self, verdict: Verdict) -> str:
        """Return what a client is told of a verdict that stops a message."""
        told = f"Blocked by milecastle rule {verdict.rule or 'on_failure'}: {verdict.reason}"
        return f"{told} (exchange {self.context.exchange})"

    def _said(self, message: str) -> Block | None:
        """Return an assistant's answer that says this, where the format has one."""
        said = providers.spoken(
            self.format,
            self.exchange,
            text=message,
            mark=self.context.exchange,
            at=int(self.context.started),
        )
        return Block(*said) if said else None

    def record(self, ended: float, first_byte_ms: float | None = None) -> dict[str, Any]:
        """Return what is to be stored of the exchange, with findings masked as settings say."""
        if self._stream is not None:
            self.exchange = self._stream.exchange
        if self._session is not None:
            self.exchange = self._session.exchange
        return record(self, ended, first_byte_ms)

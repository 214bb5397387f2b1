"""A WebSocket's conversation, judged message by message, one turn at a time.

Each message is read, judged and sent on before the next: it goes on as it came, or rewritten, or
it is withheld and the session ends. Text of which more may come is held back where a match is
unfinished (`withholding`).
A turn ends with the provider's answer, or before it holds too much; each has a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from milecastle import providers
from milecastle.detect import StreamScanner, Unfinished
from milecastle.inspection.actions import Block, Forward, Reply
from milecastle.inspection.pseudonyms import Restoring
from milecastle.inspection.record import FINDINGS, MASKED
from milecastle.inspection.replacing import (
    edits,
    marker,
    merge,
    notice,
    restored,
    without_names,
)
from milecastle.inspection.stream import said
from milecastle.inspection.withholding import Part, Withholding
from milecastle.model import (
    Action,
    Direction,
    Edit,
    Exchange,
    Finding,
    ParseError,
    Segment,
    Verdict,
)
from milecastle.policy import Decision
from milecastle.providers import Delta
from milecastle.providers.leaves import label

if TYPE_CHECKING:
    from milecastle.inspection.exchange import Inspection

ROUNDS = 3
"""How often a rewritten message is read again before it is given up and refused."""
TURN = 16 << 20
"""Bytes of messages after which a turn is recorded though it isn't answered."""
SPOKEN = 100
"""Characters of a message from which on it is held against what was said before."""
MESSAGES = 5_000
"""Messages after which it is, too."""


class SessionInspection:
    """The state of one turn."""

    def __init__(self, inspection: Inspection, session: providers.Session) -> None:
        self._inspection = inspection
        self._session = session
        self._messages = 0
        self._known: set[tuple[Direction, str, str]] = set()
        """Findings that are noted: a service repeats a text up to five times."""
        self._masked: set[tuple[str, str]] = set()
        self._withheld = Withholding(self._part)
        self._stopped: Verdict | None = None
        """Of the message that is being judged, if text that grows has stopped it."""

    @property
    def exchange(self) -> Exchange:
        """What was said in this turn."""
        return self._session.exchange

    @property
    def complete(self) -> bool:
        """Whether this turn is to be recorded, and the next to begin."""
        told = self._inspection.told
        large = told.request_bytes + told.response_bytes > TURN or self._messages >= MESSAGES
        return large or self._session.complete

    def follow(self, inspection: Inspection) -> SessionInspection:
        """Begin the next turn."""
        self._session.turn()
        inspection.exchange = self._session.asked
        return SessionInspection(inspection, self._session)

    def send(self, data: bytes) -> Forward | Block | Reply:
        """Judge a message of the client; none of it has left the host yet."""
        self._messages += 1
        self._inspection.told.request_bytes += len(data)
        try:
            segments = self._session.send(data)
            self._inspection.exchange = asked = self._session.asked
            findings = self._scan(segments)
            findings += self._inspection.inspector.continuity.offered(self._inspection, asked)
        except (ParseError, Unfinished) as error:
            return self._fail("request", error, data)
        decision = self._judge("request", segments, findings)
        match decision.verdict.applied:
            case applied if applied.stops:
                return self._reply(decision.verdict) or self._inspection.refusal(decision.verdict)
            case applied if applied.edits:
                return self._edited(data, decision, segments, findings)
            case _:
                return Forward(data)

    def _reply(self, verdict: Verdict) -> Reply | None:
        """Return an assistant's answer that says why, where rule and format have it so."""
        if verdict.style != "message":
            return None
        inspection = self._inspection
        said = providers.spoken_messages(
            inspection.format,
            self._session.asked,
            text=inspection.told_why(verdict),
            mark=f"{inspection.context.exchange}{self._messages}",
            at=int(inspection.context.started),
        )
        return Reply(said) if said else None

    def receive(self, data: bytes) -> Forward | Block:
        """Judge a message of the server; the client has not seen it yet."""
        self._messages += 1
        self._inspection.told.response_bytes += len(data)
        self._stopped = None
        try:
            deltas = self._session.receive(data)
            growing = [each for each in deltas if grows(each)] if self._withholds else []
            segments = [text for each in deltas if each not in growing for text in texts(each)]
            findings = self._scan(segments)
            if any(len(one.text) > SPOKEN or one.provenance == "tool_call" for one in segments):
                findings += self._inspection.across(self.exchange, segments)
            decision = self._judge("response", segments, findings)
            if decision.verdict.applied.stops:
                return self._inspection.refusal(decision.verdict)
            wanted, before = self._withhold(data, deltas, growing)
        except (ParseError, Unfinished) as error:
            return self._fail("response", error, data)
        if self._stopped is not None:
            return self._inspection.refusal(self._stopped)
        names = self._inspection.names
        wanted += edits(decision, segments, findings, names)
        wanted += restored(segments, names)
        try:
            return Forward(providers.rewrite(data, merge(wanted)), before)
        except ParseError:
            if decision.edited or growing:
                return self._unredactable("response", decision.verdict)
            return Forward(data, before)

    @property
    def _withholds(self) -> bool:
        """Whether text may have to be held back until more of it is known."""
        return self._inspection.inspector.acts_on("response") or bool(self._inspection.names)

    def _withhold(
        self, data: bytes, deltas: Sequence[Delta], growing: Sequence[Delta]
    ) -> tuple[list[Edit], tuple[bytes, ...]]:
        """Return what changes in pieces of text, and what was withheld of parts that ended."""
        ended = self._session.complete
        found = [self._withheld.grow(data, each, self._stand_in, last=ended) for each in growing]
        before = tuple(self._withheld.end(deltas, self._stand_in, all_=ended))
        return [edit for edit in found if edit], before

    def _part(self, delta: Delta) -> Part:
        called = delta.kind == "tool_call"
        inspection = self._inspection
        return Part(
            StreamScanner(inspection.inspector.engine, "assistant", said(delta)),
            Restoring(inspection.names, in_json=called),
            called and inspection.inspector.acts_on("response"),
        )

    def _stand_in(self, finding: Finding, text: str) -> str | None:
        """Judge a finding in text that grows; return what takes its place."""
        segment = Segment(text, "assistant", finding.provenance)
        placed = replace(finding, start=0, end=len(text), place="")
        decision = self._judge("response", [segment], [placed])
        if decision.verdict.applied.stops:
            self._stopped = decision.verdict
            return ""
        if not decision.edited:
            return None
        return notice(finding) if decision.neutralise else marker(finding)

    def _edited(
        self,
        data: bytes,
        decision: Decision,
        segments: Sequence[Segment],
        findings: Sequence[Finding],
    ) -> Forward | Block:
        """Rewrite until nothing is left to replace: an edit may uncover what it was joined to."""
        inspection, verdict = self._inspection, decision.verdict
        try:
            for _ in range(ROUNDS):
                data = providers.rewrite(
                    data, edits(decision, segments, findings, inspection.names)
                )
                segments = providers.open_session(inspection.format, inspection.head).send(data)
                findings = without_names(self._scan(segments), segments, inspection.names)
                decision = inspection.decide("request", findings)
                if not decision.edited:
                    return Forward(data)
        except (ParseError, Unfinished):
            pass  # a message that can't be rewritten is refused, whatever on_failure says
        return self._unredactable("request", verdict)

    def _unredactable(self, direction: Direction, wanted: Verdict) -> Block:
        reason = "it could not be redacted without a trace"
        verdict = Verdict(Action.BLOCK, wanted.rule, reason)
        self._inspection.told.verdicts[direction] = verdict
        return self._inspection.refusal(verdict)

    def _scan(self, segments: Sequence[Segment]) -> list[Finding]:
        return self._inspection.inspector.engine.scan(segments) if segments else []

    # --- what is remembered ----------------------------------------------------------------

    def _judge(
        self, direction: Direction, segments: Sequence[Segment], findings: Sequence[Finding]
    ) -> Decision:
        """Decide on one message; note what it adds to the turn."""
        decision = self._inspection.decide(direction, findings)
        verdicts = self._inspection.told.verdicts
        verdicts[direction] = stronger(verdicts.get(direction), decision.verdict)
        if findings:
            self._mask(segments, findings)
            self._note(direction, findings)
        return decision

    def _mask(self, segments: Sequence[Segment], findings: Sequence[Finding]) -> None:
        whole = {segment.place: segment.text for segment in segments}
        for finding in findings:
            text = whole.get(finding.place, "")[finding.start : finding.end]
            if finding.category in MASKED and text.strip():
                pair = (text, marker(finding))
                if pair not in self._masked:
                    self._masked.add(pair)
                    self._inspection.told.masked.append(pair)

    def _note(self, direction: Direction, findings: Sequence[Finding]) -> None:
        """Keep each finding once, under a place that tells the message: ``/7/item/content/0``."""
        told = self._inspection.told.findings
        kept = list(told.get(direction, ()))
        for finding in findings:
            known = (direction, finding.rule, finding.digest)
            if len(kept) >= FINDINGS or (finding.digest and known in self._known):
                continue
            self._known.add(known)
            kept.append(replace(finding, place=f"/{self._messages}{finding.place}"))
        told[direction] = tuple(kept)

    def _fail(self, direction: Direction, error: Exception, data: bytes) -> Forward | Block:
        """Answer as ``on_failure`` says; what was found in the turn so far stays known."""
        told = self._inspection.told
        found, verdict = told.findings.get(direction, ()), told.verdicts.get(direction)
        answer = self._inspection.fail(direction, error, data)
        told.verdicts[direction] = stronger(verdict, told.verdicts[direction])
        told.findings[direction] = found
        if isinstance(error, Unfinished):
            self._note(direction, error.findings)
        return answer


def grows(delta: Delta) -> bool:
    """Tell whether a delta is a piece of a text of which more may come."""
    return not (delta.whole or delta.leaves) and delta.part >= 0


def texts(delta: Delta) -> list[Segment]:
    """Return what is to be inspected of a delta; a tool call's piece is not a tool call yet."""
    piece = delta.kind == "tool_call" and not delta.whole
    provenance = "assistant" if piece else said(delta)
    found = [(leaf.place, leaf.text) for leaf in delta.leaves] or [(delta.place, delta.text)]
    return [
        Segment(text, "assistant", provenance, place, label(place), delta.name or "")
        for place, text in found
    ]


def stronger(before: Verdict | None, now: Verdict) -> Verdict:
    """Return the verdict that did more, or would have; the earlier one of equals."""
    if before is None:
        return now
    return max(before, now, key=lambda one: (one.applied.rank, one.action.rank))

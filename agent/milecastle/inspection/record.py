"""What is kept of an exchange: OTel GenAI attributes, findings, verdict. Redacted before it leaves.

With ``capture: redacted`` every text that a secret or personal-data finding covers is replaced,
wherever in the record it stands, so that a value found in one place cannot stay in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from milecastle import providers
from milecastle.inspection import thread as threads
from milecastle.inspection.replacing import marker
from milecastle.model import (
    ALLOWED,
    Action,
    Attributes,
    Direction,
    Exchange,
    Finding,
    Message,
    Part,
    Segment,
    Usage,
    Verdict,
)
from milecastle.policy import Notice

if TYPE_CHECKING:
    from milecastle.inspection.exchange import Inspection

MASKED = frozenset({"secret", "pii"})
"""Categories whose matched text is itself the damage."""
TEXT = 64 << 10
"""Longest text of one part that is kept, code points."""
TEXTS = 1 << 20
"""Most text of all parts together; the oldest messages are left out first."""
FINDINGS = 500
UNCLAIMED = 200
"""Most strings that no message holds (metadata, unknown fields) that are kept."""
DIRECTIONS: tuple[Direction, ...] = ("request", "response")


@dataclass(slots=True)
class Told:
    """What an inspection remembers for its record."""

    findings: dict[Direction, tuple[Finding, ...]] = field(default_factory=dict)
    verdicts: dict[Direction, Verdict] = field(default_factory=dict)
    failures: dict[Direction, str] = field(default_factory=dict)
    """Why a message could not be inspected."""
    notices: tuple[Notice, ...] = ()
    """What is said to whoever asked, though nothing was stopped."""
    masked: list[tuple[str, str]] = field(default_factory=list)
    """Texts found in a stream, with their markers."""
    request_bytes: int = 0
    response_bytes: int = 0

    def heed(self, notices: Sequence[Notice]) -> None:
        """Remember what is to be said, each thing once."""
        self.notices = tuple(dict.fromkeys((*self.notices, *notices)))

    def verdict(self) -> Verdict:
        """Return the strongest verdict by what was done, then by what would have been done."""
        given = [self.verdicts[one] for one in DIRECTIONS if one in self.verdicts]
        return max(given, key=lambda one: (one.applied.rank, one.action.rank), default=ALLOWED)


def record(inspection: Inspection, ended: float, first_byte_ms: float | None) -> dict[str, Any]:
    """Return the record of an exchange (see the `record` frame)."""
    told, exchange = inspection.told, inspection.exchange
    capture = inspection.inspector.capture
    mask = Mask(()) if capture == "full" else Mask(matched(inspection))
    owner = owner_of(inspection)
    thread = inspection.inspector.threads.trace(exchange)
    known = 0
    if thread is not None:
        known = inspection.inspector.threads.known(owner, thread, exchange.input_messages)
    verdict = told.verdict()
    if verdict.action is Action.ALLOW:
        verdict = replace(verdict, mode=inspection.inspector.policy.mode)
    places = message_places(exchange) if told.findings.get("request") else {}
    findings = [
        {**finding_record(finding, direction), "message": message}
        for direction in DIRECTIONS
        for finding in told.findings.get(direction, ())
        for message in (places.get(finding.place) if direction == "request" else None,)
    ]
    if thread is not None:
        inspection.inspector.threads.report(owner, thread)
    return {
        "cookie": inspection.context.cookie,
        "exchange": inspection.context.exchange,
        "started": inspection.context.started,
        "ended": ended,
        "first_byte_ms": first_byte_ms,
        "host": inspection.head.host,
        "method": inspection.head.method,
        "path": mask(inspection.head.path.split("?", 1)[0])[:1024],
        "status": inspection.answer.status if inspection.answer else None,
        "service": inspection.service.id if inspection.service else None,
        "attributes": attributes(
            exchange if capture == "full" else read_only(exchange, told),
            mask,
            content=capture != "metadata",
            known=known,
        ),
        "thread": threads.told(thread, known) if thread else None,
        "findings": findings[:FINDINGS],
        "verdict": verdict_record(verdict),
        "steps": steps(inspection),
        "failures": dict(told.failures),
        "shape": exchange.format,
        "strange": providers.strange(exchange),
        "request_bytes": told.request_bytes,
        "response_bytes": told.response_bytes,
    }


def owner_of(inspection: Inspection) -> threads.Owner | None:
    """Return whose conversation it is; None in a replay, where every record stands for itself."""
    cookie, process = inspection.context.cookie, inspection.context.process
    host = inspection.head.host
    if cookie is None:
        return None
    if process is not None:
        return (process.pid, process.started, process.exe, process.uid, host)
    return ("connection", cookie, host)


def message_places(exchange: Exchange) -> dict[str, int]:
    """Return the number of the input message that each place belongs to."""
    places = {}
    for number, message in enumerate(exchange.input_messages):
        for part in message.parts:
            places[part.place] = number
            places.update((leaf.place, number) for leaf in part.leaves)
    return places


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as it is stored and printed."""
    return {
        "action": verdict.action.value,
        "applied": verdict.applied.value,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "mode": verdict.mode,
    }


def finding_record(finding: Finding, direction: Direction) -> dict[str, Any]:
    """Return a finding as it is stored and printed; its excerpt is masked already."""
    return {
        "category": finding.category,
        "rule": finding.rule,
        "severity": finding.severity.value,
        "where": f"{direction} {finding.place}" if finding.place else direction,
        "direction": direction,
        "provenance": finding.provenance,
        "start": finding.start,
        "end": finding.end,
        "excerpt": finding.excerpt,
        "score": finding.score,
        "evidence": finding.evidence,
        "via": list(finding.via),
        "digest": finding.digest,
        "owasp": list(finding.owasp),
        "atlas": list(finding.atlas),
        "count": finding.count,
    }


def steps(inspection: Inspection) -> list[dict[str, Any]]:
    """Return why each rule matched or not, for the messages that a rule had a say about."""
    explained = []
    for direction in DIRECTIONS:
        findings = inspection.told.findings.get(direction, ())
        verdict = inspection.told.verdicts.get(direction, ALLOWED)
        if findings or verdict.rule:
            subject = inspection.subject(direction)
            for step in inspection.inspector.policy.explain(
                subject, findings, now=inspection.context.started
            ):
                explained.append({"direction": direction, **asdict(step)})
    return explained[:FINDINGS]


# --- content -------------------------------------------------------------------------------


def read_only(exchange: Exchange, told: Told) -> Exchange:
    """Return an exchange without the messages that could not be read to their end.

    Nobody knows what would have to be masked in them.
    """
    if "request" in told.failures:
        exchange = replace(
            exchange, input_messages=(), system_instructions=(), tool_definitions=(), unclaimed=()
        )
    if "response" in told.failures:
        exchange = replace(exchange, output_messages=(), unclaimed_output=())
    return exchange


class Mask:
    """Replace texts that must not be kept by their markers."""

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        """Take (text, marker) pairs; longer texts are replaced first."""
        pairs = {}
        for text, mark in texts:
            pairs[text] = mark
            pairs[orjson.dumps(text).decode()[1:-1]] = mark
        self._pairs = sorted(pairs.items(), key=lambda pair: -len(pair[0]))

    def __call__(self, text: str) -> str:
        for secret, mark in self._pairs:
            if secret in text:
                text = text.replace(secret, mark)
        return text


def matched(inspection: Inspection) -> list[tuple[str, str]]:
    """Return the texts of the findings that are masked, each with its marker."""
    found = list(inspection.told.masked)
    for direction in DIRECTIONS:
        findings = [
            one for one in inspection.told.findings.get(direction, ()) if one.category in MASKED
        ]
        if not findings:
            continue
        texts = {
            segment.place: segment.text for segment in _segments(inspection.exchange, direction)
        }
        for finding in findings:
            text = texts.get(finding.place, "")[finding.start : finding.end]
            if text.strip():
                found.append((text, marker(finding)))
    return found


def _segments(exchange: Exchange, direction: Direction) -> Sequence[Segment]:
    return providers.segments(exchange, direction)


def attributes(
    exchange: Exchange,
    mask: Mask | None = None,
    *,
    content: bool = True,
    keep: Callable[[str], str] | None = None,
    known: int = 0,
) -> Attributes:
    """Return the OTel GenAI attributes of an exchange; those without a value are left out.

    ``keep`` cuts texts that are too long; without it the budget of a stored record does. The first
    ``known`` input messages are left out, but for instructions, which may have changed.
    """
    usage: Usage = exchange.usage
    told: Attributes = {
        "gen_ai.operation.name": exchange.operation,
        "gen_ai.provider.name": exchange.provider,
        "gen_ai.request.model": exchange.request_model,
        "gen_ai.response.model": exchange.response_model,
        "gen_ai.response.id": exchange.response_id,
        "gen_ai.conversation.id": exchange.conversation_id,
        "gen_ai.response.finish_reasons": list(exchange.finish_reasons) or None,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "gen_ai.request.stream": exchange.stream or None,
        "error.type": exchange.error,
    }
    for name, value in exchange.parameters.items():
        told[f"gen_ai.request.{name}"] = value
    if content:
        mask = mask or Mask(())
        keep = keep or Budget()
        told["gen_ai.output.messages"] = _messages(exchange.output_messages, mask, keep)
        told["gen_ai.system_instructions"] = [
            _part(part, mask, keep) for part in exchange.system_instructions
        ]
        told["gen_ai.input.messages"] = _messages(exchange.input_messages[known:], mask, keep)
        told["milecastle.input.instructions"] = [
            {"at": at, **one}
            for at, message in enumerate(exchange.input_messages[:known])
            if message.role in threads.INSTRUCTING
            for one in _messages([message], mask, keep)
        ] or None
        told["gen_ai.tool.definitions"] = [
            {
                "type": tool.type,
                "name": mask(tool.name),
                "description": keep(mask(tool.description)),
                "parameters": keep(mask(tool.parameters)),
            }
            for tool in exchange.tool_definitions
        ] or None
        told["milecastle.unclaimed"] = [
            {"where": leaf.place, "content": keep(mask(leaf.text))}
            for leaf in (*exchange.unclaimed, *exchange.unclaimed_output)
        ][:UNCLAIMED] or None
    return {name: value for name, value in told.items() if value is not None}


class Budget:
    """Cut texts so that all together stay below a bound."""

    def __init__(self) -> None:
        self._left = TEXTS

    def __call__(self, text: str) -> str:
        allowed = min(TEXT, self._left)
        self._left -= min(len(text), allowed)
        if len(text) <= allowed:
            return text
        return f"{text[:allowed]}[... {len(text) - allowed} more characters]"


def _messages(
    messages: Sequence[Message], mask: Mask, keep: Callable[[str], str]
) -> list[dict[str, Any]]:
    """Return messages in OTel form; the newest get their text first."""
    told = []
    for message in reversed(messages):
        one: dict[str, Any] = {
            "role": message.role,
            "parts": [_part(part, mask, keep) for part in message.parts],
        }
        if message.finish_reason:
            one["finish_reason"] = message.finish_reason
        told.append(one)
    return told[::-1]


def _part(part: Part, mask: Mask, keep: Callable[[str], str]) -> dict[str, Any]:
    text = keep(mask(part.text))
    match part.kind:
        case "text" | "reasoning":
            return {"type": part.kind, "content": text}
        case "tool_call":
            call = {"type": "tool_call", "id": part.call_id, "name": part.name}
            return {**call, "arguments": text}
        case "tool_call_response":
            return {"type": "tool_call_response", "id": part.call_id, "response": text}
        case "blob" | "file" | "uri":
            told = {
                "type": part.kind,
                "mime_type": part.mime_type,
                "uri": mask(part.uri) if part.uri else None,
                "name": part.name,
                "size": part.size,
                "sha256": part.digest,
                "content": text or None,
            }
            return {name: value for name, value in told.items() if value is not None}

"""Amazon Bedrock Converse, and Amazon Nova's own body, which has the same shape.

Source: AWS, Bedrock Runtime API reference: Converse, ConverseStream; Nova's request schema.
"""

from __future__ import annotations

import orjson

from milecastle.model import Json, Part
from milecastle.providers import eventstream
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_block, read_content
from milecastle.providers.dialect import Dialect
from milecastle.providers.leaves import leaves
from milecastle.providers.media import blob
from milecastle.providers.parts import role
from milecastle.providers.typed import first, items, mapping, string, word


def request(ask: Ask) -> None:
    """Read system, messages, tools and configuration."""
    read_body(ask, ask.body, "")
    inner = mapping(ask.body.get("input"))  # count-tokens
    for key in ("converse", "invokeModel"):
        if isinstance(value := inner.get(key), dict):
            read_body(ask, value, f"/input/{key}")
            if data := string(value.get("body")):  # the model's own request, in base64
                place = f"/input/{key}/body"
                ask.say("user", [blob(data, place, mime_type="application/json")])


def read_body(ask: Ask, body: dict[str, Json], place: str) -> None:
    """Read one Converse request that stands at ``place``."""
    ask.take_parameters(body.get("inferenceConfig"))
    ask.system += read_content(body.get("system"), f"{place}/system")
    for index, message in enumerate(items(body.get("messages"))):
        told, here = mapping(message), f"{place}/messages/{index}/content"
        ask.say(role(told.get("role")), read_content(told.get("content"), here))
    for index, tool in enumerate(items(mapping(body.get("toolConfig")).get("tools"))):
        described = mapping(mapping(tool).get("toolSpec"))
        schema = mapping(described.get("inputSchema")).get("json")
        shown: Json = {**described, "inputSchema": schema} if schema is not None else described
        ask.offer(tool, f"{place}/toolConfig/tools/{index}", shown, "function")
    structure = mapping(
        mapping(mapping(body.get("outputConfig")).get("textFormat")).get("structure")
    )
    if isinstance(structured := structure.get("jsonSchema"), dict):
        here = f"{place}/outputConfig/textFormat/structure/jsonSchema"
        ask.offer(structured, here, None, "response_format")
    for name, value in mapping(body.get("promptVariables")).items():
        for leaf in leaves(value, f"{place}/promptVariables/{name}"):
            ask.say("user", [Part("text", leaf.text, leaf.place)])


def response(answer: Answer, document: Json) -> None:
    """Read a whole answer, a token count or an error."""
    body = mapping(document)
    message = mapping(mapping(body.get("output")).get("message"))
    for part in read_content(message.get("content"), "/output/message/content"):
        answer.put(part.place, part)
    answer.finish(body.get("stopReason"))
    answer.report(body.get("usage"))
    answer.report({"inputTokens": body.get("inputTokens")} if "inputTokens" in body else None)
    read_error(answer, body)
    answer.leave_over(document)


def read_error(answer: Answer, body: dict[str, Json]) -> None:
    """Take ``{"message": ...}``, which is all that an AWS error has in its body."""
    message = first(body, "message", "Message")
    if isinstance(message, str) and not answer.messages:
        kind = string(body.get("__type")).rpartition("#")[2]
        answer.fail(kind or "error", message)


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event; Nova puts the event's name into its JSON instead of the frame's header."""
    body = mapping(value)
    kind = name
    place = ""
    if name not in EVENTS and len(body) >= 1:
        key = next(iter(body), "")
        if key in EVENTS:
            kind, place, body = key, f"/{key}", mapping(body[key])
    if kind.lower().endswith(("exception", "error")):
        answer.fail(kind, first(body, "message", "Message"))
        answer.repeat("text", answer.error_message or "", "/message")
    elif kind == "contentBlockDelta":
        _delta(answer, body, place)
    elif kind == "contentBlockStart":
        _start(answer, body)
    elif kind == "messageStop":
        answer.finish(body.get("stopReason"))
    elif kind == "metadata":
        answer.report(body.get("usage"))
        answer.ended = True
    elif kind not in EVENTS:
        answer.tell_rest(value)
    if isinstance(metrics := mapping(value).get("amazon-bedrock-invocationMetrics"), dict):
        answer.report(metrics)


EVENTS = frozenset(
    {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
)


def _index(body: dict[str, Json]) -> int:
    index = body.get("contentBlockIndex")
    return index if isinstance(index, int) else 0


def _final(index: int) -> str:
    return f"/output/message/content/{index}"


def _start(answer: Answer, body: dict[str, Json]) -> None:
    index, start = _index(body), mapping(body.get("start"))
    if isinstance(tool := start.get("toolUse"), dict):
        place = f"{_final(index)}/toolUse/input"
        answer.open(
            place,
            "tool_call",
            place,
            name=word(tool.get("name")),
            call_id=word(tool.get("toolUseId")),
            structured=True,
        )


def _delta(answer: Answer, body: dict[str, Json], place: str) -> None:
    index, delta = _index(body), mapping(body.get("delta"))
    here = f"{place}/delta"
    if isinstance(text := delta.get("text"), str):
        final = f"{_final(index)}/text"
        answer.grow(answer.open(final, "text", final), text, f"{here}/text")
    if isinstance(reasoning := delta.get("reasoningContent"), dict):
        final = f"{_final(index)}/reasoningContent/reasoningText/text"
        part = answer.open(final, "reasoning", final)
        answer.grow(part, string(reasoning.get("text")), f"{here}/reasoningContent/text")
    if isinstance(tool := delta.get("toolUse"), dict):
        final = f"{_final(index)}/toolUse/input"
        part = answer.open(final, "tool_call", final, structured=True)
        if isinstance(tool.get("input"), str):
            answer.grow(part, string(tool["input"]), f"{here}/toolUse/input")
        else:
            for read in read_block({"toolUse": tool}, here):
                answer.grow(part, read.text, read.place)
    for key in ("citation", "toolResult"):
        answer.tell_rest(delta.get(key), f"{here}/{key}")


def closing(answer: Answer, reason: str) -> bytes:
    """Return the reason as a last block, and the message's end."""
    index = 1000
    events: list[tuple[str, Json]] = [
        ("contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": reason}}),
        ("contentBlockStop", {"contentBlockIndex": index}),
        ("messageStop", {"stopReason": "content_filtered"}),
        (
            "metadata",
            {
                "usage": {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0},
                "metrics": {"latencyMs": 0},
            },
        ),
    ]
    return b"".join(eventstream.event(kind, orjson.dumps(body)) for kind, body in events)


DIALECT = Dialect(request, response, event, "aws", closing)

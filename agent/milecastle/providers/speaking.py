"""A whole answer in which the assistant says one thing, in the format that was asked for.

For clients that would try again for ever if they were told of an error. Like `errors`, it speaks
for the provider, and says what the provider never said; the text has to make that plain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson

from milecastle.model import Exchange, Json
from milecastle.providers import eventstream
from milecastle.providers.format import Format

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENTSTREAM = "application/vnd.amazon.eventstream"

TALK = frozenset({"chat", "generate_content"})
"""Operations whose answer is an assistant's."""

type Object = dict[str, Json]
type Answered = tuple[str, bytes]
"""Content type and body."""


@dataclass(frozen=True, slots=True)
class Saying:
    """What is to be said."""

    text: str
    model: str
    mark: str
    """Makes ids: letters and digits."""
    at: int
    """Unix seconds."""
    stream: bool
    query: tuple[tuple[str, str], ...] = ()


def spoken(
    wire: Format, exchange: Exchange, *, text: str, mark: str, at: int
) -> tuple[int, dict[str, str], bytes] | None:
    """Return status, headers and body of an answer; None for formats that have no such words."""
    speak = SPEAKERS.get(exchange.format)
    if speak is None or exchange.operation not in TALK:
        return None
    model = exchange.request_model or ""
    kind, body = speak(Saying(text, model, mark, at, exchange.stream, wire.query))
    return 200, {"content-type": kind}, body


def spoken_messages(
    wire: Format, exchange: Exchange, *, text: str, mark: str, at: int
) -> tuple[bytes, ...]:
    """Return an answer as a WebSocket's messages; none for formats that have no such words."""
    speak = SOCKETS.get(wire.name)
    if speak is None:
        return ()
    _, events = speak(Saying(text, exchange.request_model or "", mark, at, stream=True))
    lines = events.split(b"\n")
    return tuple(line[6:] for line in lines if line.startswith(b"data: "))


def data(events: Iterable[Object], *, named: bool = False, end: bytes = b"") -> Answered:
    """Return server-sent events, with their types as names where the provider does that."""
    lines = [
        (f"event: {each['type']}\n".encode() if named else b"")
        + b"data: "
        + orjson.dumps(each)
        + b"\n\n"
        for each in events
    ]
    return SSE, b"".join(lines) + end


def whole(document: Json) -> Answered:
    return JSON, orjson.dumps(document)


def openai_chat(say: Saying) -> Answered:
    head: Object = {"id": f"chatcmpl-{say.mark}", "created": say.at, "model": say.model}
    if say.stream:
        head |= {"object": "chat.completion.chunk"}
        deltas: list[tuple[Object, str | None]] = [
            ({"role": "assistant", "content": ""}, None),
            ({"content": say.text}, None),
            ({}, "stop"),
        ]
        return data(
            (
                {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": why}]}
                for delta, why in deltas
            ),
            end=b"data: [DONE]\n\n",
        )
    message: Json = {"role": "assistant", "content": say.text, "refusal": None}
    choice: Json = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage: Json = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return whole({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def openai_responses(say: Saying) -> Answered:
    part: Object = {"type": "output_text", "text": say.text, "annotations": []}
    item: Object = {"id": f"msg_{say.mark}", "type": "message", "role": "assistant"}
    done: Object = {**item, "status": "completed", "content": [part]}
    response: Object = {
        "id": f"resp_{say.mark}",
        "object": "response",
        "created_at": say.at,
        "model": say.model,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
    }
    used: Json = {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    ended: Object = {**response, "status": "completed", "output": [done], "usage": used}
    if not say.stream:
        return whole(ended)
    begun: Object = {**response, "status": "in_progress", "output": [], "usage": None}
    at: Object = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    events: list[Object] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **at, "delta": say.text, "logprobs": []},
        {"type": "response.output_text.done", **at, "text": say.text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": ended},
    ]
    return data(
        ({**each, "sequence_number": number} for number, each in enumerate(events)), named=True
    )


def anthropic(say: Saying) -> Answered:
    usage: Json = {"input_tokens": 0, "output_tokens": 0}
    message: Object = {
        "id": f"msg_{say.mark}",
        "type": "message",
        "role": "assistant",
        "model": say.model,
        "stop_sequence": None,
        "usage": usage,
    }
    if not say.stream:
        content: Json = [{"type": "text", "text": say.text}]
        return whole({**message, "content": content, "stop_reason": "end_turn"})
    ends: Json = {"stop_reason": "end_turn", "stop_sequence": None}
    return data(
        [
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": say.text},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ends, "usage": {"output_tokens": 0}},
            {"type": "message_stop"},
        ],
        named=True,
    )


def gemini(say: Saying) -> Answered:
    content: Json = {"role": "model", "parts": [{"text": say.text}]}
    document: Object = {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
        "modelVersion": say.model,
        "responseId": say.mark,
    }
    if not say.stream:
        return whole(document)
    if dict(say.query).get("alt") == "sse":
        return data([document])
    return whole([document])


def ollama(say: Saying) -> Answered:
    head: Object = {"model": say.model, "created_at": "1970-01-01T00:00:00Z"}
    message: Object = {"role": "assistant", "content": say.text}
    last: Object = {**head, "done": True, "done_reason": "stop"}
    if not say.stream:
        return whole({**last, "message": message})
    lines: list[Object] = [
        {**head, "message": message, "done": False},
        {**last, "message": {**message, "content": ""}},
    ]
    return NDJSON, b"".join(orjson.dumps(line) + b"\n" for line in lines)


def cohere(say: Saying) -> Answered:
    content: Json = [{"type": "text", "text": say.text}]
    if not say.stream:
        message: Json = {"role": "assistant", "content": content}
        return whole({"id": say.mark, "message": message, "finish_reason": "COMPLETE"})

    def inner(told: Json) -> Json:
        return {"message": {"content": told}}

    return data(
        [
            {"type": "message-start", "id": say.mark, "delta": {"message": {"role": "assistant"}}},
            {"type": "content-start", "index": 0, "delta": inner({"type": "text", "text": ""})},
            {"type": "content-delta", "index": 0, "delta": inner({"text": say.text})},
            {"type": "content-end", "index": 0},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
        ],
        named=True,
    )


def bedrock_converse(say: Saying) -> Answered:
    usage: Json = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
    counted: Object = {"usage": usage, "metrics": {"latencyMs": 0}}
    if not say.stream:
        message: Json = {"role": "assistant", "content": [{"text": say.text}]}
        return whole({"output": {"message": message}, "stopReason": "end_turn", **counted})
    events: list[tuple[str, Json]] = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": say.text}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", counted),
    ]
    return EVENTSTREAM, b"".join(
        eventstream.event(kind, orjson.dumps(body)) for kind, body in events
    )


SPEAKERS: Mapping[str, Callable[[Saying], Answered]] = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "anthropic-messages": anthropic,
    "gemini": gemini,
    "ollama": ollama,
    "cohere-chat": cohere,
    "bedrock-converse": bedrock_converse,
}
SOCKETS: Mapping[str, Callable[[Saying], Answered]] = {
    "openai-responses-socket": openai_responses,
}

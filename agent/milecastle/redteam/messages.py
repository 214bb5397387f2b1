"""A text put into an exchange, in the form of two providers: requests, answers, streams."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

import orjson

from milecastle.model import Json, RequestHead, ResponseHead

REQUESTS = ("prompt", "system", "tool_result", "tool_definition", "file")
ANSWERS = ("answer", "tool_call")
PLACES = (*REQUESTS, *ANSWERS)
"""Where an attack stands: five in a request, two in an answer."""

type Body = dict[str, Json]
JSON = {"content-type": "application/json"}


def openai(place: str, text: str) -> Body:
    """Return a request of Chat Completions."""
    content: Json = "Carry on, please."
    messages: list[Json] = []
    body: Body = {"model": "gpt-4o", "messages": messages}
    match place:
        case "prompt":
            content = text
        case "system":
            messages.append({"role": "system", "content": text})
        case "tool_definition":
            function: Json = {"name": "lookup", "description": text, "parameters": {}}
            body["tools"] = [{"type": "function", "function": function}]
        case "file":
            data = f"data:text/plain;base64,{base64.b64encode(text.encode()).decode()}"
            file: Json = {"type": "file", "file": {"filename": "notes.txt", "file_data": data}}
            content = [{"type": "text", "text": "Summarise this."}, file]
    messages.append({"role": "user", "content": content})
    if place == "tool_result":
        call: Json = {"id": "c1", "type": "function",
                      "function": {"name": "fetch", "arguments": "{}"}}  # fmt: skip
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": "c1", "content": text})
    return body


def anthropic(place: str, text: str) -> Body:
    """Return a request of Messages."""
    content: Json = "Carry on, please."
    body: Body = {"model": "claude-sonnet-4-5", "max_tokens": 1024}
    before: list[Json] = []
    match place:
        case "prompt":
            content = text
        case "system":
            body["system"] = text
        case "tool_definition":
            body["tools"] = [
                {"name": "lookup", "description": text, "input_schema": {"type": "object"}}
            ]
        case "file":
            source: Json = {"type": "text", "media_type": "text/plain", "data": text}
            content = [{"type": "document", "source": source}]
        case "tool_result":
            use: Json = {"type": "tool_use", "id": "t1", "name": "fetch", "input": {}}
            before = [{"role": "user", "content": "Look it up."},
                      {"role": "assistant", "content": [use]}]  # fmt: skip
            content = [{"type": "tool_result", "tool_use_id": "t1", "content": text}]
    body["messages"] = [*before, {"role": "user", "content": content}]
    return body


def openai_answer(place: str, text: str) -> Body:
    """Return an answer of Chat Completions."""
    message: Body = {"role": "assistant", "content": text if place == "answer" else None}
    if place == "tool_call":
        arguments = orjson.dumps({"command": text}).decode()
        function: Json = {"name": "bash", "arguments": arguments}
        message["tool_calls"] = [{"id": "c1", "type": "function", "function": function}]
    choice: Json = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "r1", "object": "chat.completion", "model": "gpt-4o", "choices": [choice]}


def anthropic_answer(place: str, text: str) -> Body:
    """Return an answer of Messages."""
    block: Body = {"type": "text", "text": text}
    if place == "tool_call":
        block = {"type": "tool_use", "id": "t1", "name": "bash", "input": {"command": text}}
    return {"id": "m1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": [block], "stop_reason": "end_turn"}  # fmt: skip


def pieces(text: str) -> list[str]:
    """Return a text in three parts, as a stream brings it."""
    third = max(1, len(text) // 3)
    return [part for part in (text[:third], text[third : 2 * third], text[2 * third :]) if part]


def openai_stream(place: str, text: str) -> list[Body]:
    """Return the events of a streamed answer of Chat Completions."""
    if place == "answer":
        deltas: list[Body] = [{"content": part} for part in pieces(text)]
    else:
        arguments = pieces(orjson.dumps({"command": text}).decode())
        begun: Json = {"index": 0, "id": "c1", "type": "function",
                       "function": {"name": "bash", "arguments": ""}}  # fmt: skip
        calls: list[Json] = [begun]
        calls += [{"index": 0, "function": {"arguments": part}} for part in arguments]
        deltas = [{"tool_calls": [call]} for call in calls]
    ends: list[str | None] = [*(None for _ in deltas), "stop"]
    choices: list[Json] = [
        {"index": 0, "delta": delta, "finish_reason": end}
        for delta, end in zip([*deltas, {}], ends, strict=True)
    ]
    return [
        {"id": "r1", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [each]}
        for each in choices
    ]


def anthropic_stream(place: str, text: str) -> list[Body]:
    """Return the events of a streamed answer of Messages."""
    start: Body = {"type": "text", "text": ""}
    deltas: list[Body] = [{"type": "text_delta", "text": part} for part in pieces(text)]
    if place == "tool_call":
        start = {"type": "tool_use", "id": "t1", "name": "bash", "input": {}}
        arguments = pieces(orjson.dumps({"command": text}).decode())
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in arguments]
    message: Body = {**anthropic_answer("answer", ""), "content": [], "stop_reason": None}
    grown: list[Body] = [
        {"type": "content_block_delta", "index": 0, "delta": each} for each in deltas
    ]
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": start},
        *grown,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
        {"type": "message_stop"},
    ]


HEADS: Mapping[str, RequestHead] = {
    "openai": RequestHead("POST", "api.openai.com", "/v1/chat/completions", JSON),
    "anthropic": RequestHead(
        "POST", "api.anthropic.com", "/v1/messages", {**JSON, "anthropic-version": "2023-06-01"}
    ),
}
ASKING: Mapping[str, Callable[[str, str], Body]] = {"openai": openai, "anthropic": anthropic}
ANSWERING: Mapping[str, Callable[[str, str], Body]] = {
    "openai": openai_answer,
    "anthropic": anthropic_answer,
}
STREAMING: Mapping[str, Callable[[str, str], list[Body]]] = {
    "openai": openai_stream,
    "anthropic": anthropic_stream,
}


def request(provider: str, place: str, text: str, *, stream: bool) -> bytes:
    """Return a request's body; for a place in an answer, one that asks for nothing special."""
    body = ASKING[provider](place, text)
    return orjson.dumps({**body, "stream": True} if stream else body)


def answer(provider: str, place: str, text: str, *, stream: bool) -> tuple[ResponseHead, bytes]:
    """Return an answer's head and its bytes."""
    if not stream:
        return ResponseHead(200, JSON), orjson.dumps(ANSWERING[provider](place, text))
    events = STREAMING[provider](place, text)
    named = (f"event: {each['type']}\n".encode() if "type" in each else b"" for each in events)
    data = b"".join(
        name + b"data: " + orjson.dumps(each) + b"\n\n"
        for name, each in zip(named, events, strict=True)
    )
    end = b"data: [DONE]\n\n" if provider == "openai" else b""
    return ResponseHead(200, {"content-type": "text/event-stream"}), data + end

"""Ollama's own API: chat and generate, answered in newline-delimited JSON.

Source: ollama's docs/api.md. Ollama is written in Go and takes keys in any case; the fields that
this misses are found as unclaimed text.
"""

from __future__ import annotations

import orjson

from milecastle.model import Json, Part
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.fields import said
from milecastle.providers.media import blob
from milecastle.providers.openai_chat import message_parts, read_error, read_tools
from milecastle.providers.parts import call, role
from milecastle.providers.typed import items, mapping, string, word


def request(ask: Ask) -> None:
    """Read chat messages, or the prompt and system of generate."""
    body = ask.body
    ask.take_parameters(body.get("options"))
    ask.stream = body.get("stream") is not False
    if system := string(body.get("system")):
        ask.system.append(Part("text", system, "/system"))
    for index, message in enumerate(items(body.get("messages"))):
        told, place = mapping(message), f"/messages/{index}"
        parts = message_parts(told, place)
        parts += _images(told.get("images"), f"{place}/images")
        ask.say(role(told.get("role")), parts)
    read_tools(ask, body)
    for key in ("prompt", "suffix", "template"):
        if text := string(body.get(key)):
            ask.say("user", [Part("text", text, f"/{key}")])
    ask.say("user", _images(body.get("images"), "/images"))
    ask.say("user", said(body.get("input"), "/input"))  # /api/embed
    if isinstance(body.get("format"), dict):
        shown: Json = {"name": "format", "schema": body["format"]}
        ask.offer(body["format"], "/format", shown, "response_format")


def _images(value: Json, place: str) -> list[Part]:
    return [
        blob(each, f"{place}/{index}", mime_type="image")
        for index, each in enumerate(items(value))
        if isinstance(each, str) and each
    ]


def response(answer: Answer, document: Json) -> None:
    """Read an answer that is one object."""
    body = mapping(document)
    _head(answer, body)
    message = mapping(body.get("message"))
    for part in message_parts(message, "/message"):
        answer.put(part.place, part)
    for key, kind in (("thinking", "reasoning"), ("response", "text")):
        if text := string(body.get(key)):
            answer.put(key, Part("reasoning" if kind == "reasoning" else "text", text, f"/{key}"))
    answer.finish(body.get("done_reason"))
    answer.leave_over(document)


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one line."""
    body = mapping(value)
    _head(answer, body)
    message = mapping(body.get("message"))
    for source, place in ((message, "/message"), (body, "")):
        if text := string(source.get("thinking")):
            part = answer.open("thinking", "reasoning", f"{place}/thinking")
            answer.grow(part, text, f"{place}/thinking")
    if text := string(message.get("content")):
        answer.grow(answer.open("content", "text", "/message/content"), text, "/message/content")
    if text := string(body.get("response")):
        answer.grow(answer.open("response", "text", "/response"), text, "/response")
    for index, each in enumerate(items(message.get("tool_calls"))):
        function = mapping(mapping(each).get("function"))
        place = f"/message/tool_calls/{index}/function/arguments"
        number = len(answer.message().parts)
        final = f"/message/tool_calls/{number}/function/arguments"
        name_of_tool = word(function.get("name"))
        made = call(function.get("arguments"), final, name=name_of_tool)
        answer.put((final, number), made, moved=(final, place))
    answer.finish(body.get("done_reason"))
    if body.get("done") is True:
        answer.ended = True


def _head(answer: Answer, body: dict[str, Json]) -> None:
    answer.model = word(body.get("model")) or answer.model
    answer.report(body)
    if (error := body.get("error")) is not None:
        read_error(answer, error)


def closing(answer: Answer, reason: str) -> bytes:
    """Return the reason and a line that says it is done."""
    model = answer.model or answer.base.request_model or ""
    told: dict[str, Json] = {"model": model, "created_at": "1970-01-01T00:00:00Z"}
    if answer.base.operation == "chat":
        held: dict[str, Json] = {"message": {"role": "assistant", "content": reason}}
        last: dict[str, Json] = {"message": {"role": "assistant", "content": ""}}
    else:
        held, last = {"response": reason}, {"response": ""}
    lines = [
        {**told, **held, "done": False},
        {**told, **last, "done": True, "done_reason": "stop"},
    ]
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


DIALECT = Dialect(request, response, event, "error", closing)

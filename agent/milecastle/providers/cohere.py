"""Cohere's chat, v1 (``message``, ``chat_history``) and v2 (``messages``).

Source: docs.cohere.com/reference/chat, .../chat-stream, .../v1/chat-api.
"""

from __future__ import annotations

import orjson

from milecastle.model import Json, Part
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.fields import said
from milecastle.providers.leaves import leaves
from milecastle.providers.openai_chat import message_parts, read_tools
from milecastle.providers.parts import call, rendered, role
from milecastle.providers.typed import first, items, mapping, string, word


def request(ask: Ask) -> None:
    """Read a conversation of either version."""
    body = ask.body
    ask.take_parameters(body)
    ask.conversation = word(body.get("conversation_id"))
    if preamble := string(body.get("preamble")):
        ask.system.append(Part("text", preamble, "/preamble"))
    for index, message in enumerate(items(body.get("messages"))):
        told, place = mapping(message), f"/messages/{index}"
        plan = string(told.get("tool_plan"))
        parts = [Part("reasoning", plan, f"{place}/tool_plan")] if plan else []
        ask.say(role(told.get("role")), parts + message_parts(told, place))
    for index, message in enumerate(items(body.get("chat_history"))):
        told, place = mapping(message), f"/chat_history/{index}"
        parts = said(told.get("message"), f"{place}/message")
        parts += _calls(told.get("tool_calls"), f"{place}/tool_calls")
        parts += _results(told.get("tool_results"), f"{place}/tool_results")
        ask.say(role(told.get("role")), parts)
    ask.say("user", said(body.get("message"), "/message"))
    ask.say("tool", _results(body.get("tool_results"), "/tool_results"))
    for index, document in enumerate(items(body.get("documents"))):
        place = f"/documents/{index}"
        if isinstance(document, str):
            ask.say("user", [Part("file", document, place)])
        else:
            ask.say(
                "user", [Part("file", leaf.text, leaf.place) for leaf in leaves(document, place)]
            )
    if any("parameter_definitions" in mapping(each) for each in items(body.get("tools"))):
        for index, tool in enumerate(items(body.get("tools"))):
            ask.offer(tool, f"/tools/{index}", None, "function")
    else:
        read_tools(ask, body)
    structured = mapping(body.get("response_format"))
    if isinstance(first(structured, "schema", "json_schema"), dict):
        schema = first(structured, "schema", "json_schema")
        shown: Json = {"name": "response", "schema": schema}
        ask.offer(structured, "/response_format", shown, "response_format")


def _calls(value: Json, place: str) -> list[Part]:
    return [
        call(
            mapping(each).get("parameters"),
            f"{place}/{index}/parameters",
            name=word(mapping(each).get("name")),
            call_id=word(mapping(each).get("id")),
        )
        for index, each in enumerate(items(value))
    ]


def _results(value: Json, place: str) -> list[Part]:
    parts: list[Part] = []
    for index, each in enumerate(items(value)):
        told = mapping(each)
        made = mapping(told.get("call"))
        name = word(made.get("name"))
        if made:
            parts.append(
                call(made.get("parameters"), f"{place}/{index}/call/parameters", name=name)
            )
        here, outputs = f"{place}/{index}/outputs", told.get("outputs")
        parts.append(
            Part("tool_call_response", rendered(outputs), here, name, None, leaves(outputs, here))
        )
    return parts


def response(answer: Answer, document: Json) -> None:
    """Read a whole answer of either version."""
    body = mapping(document)
    _head(answer, body)
    message = mapping(body.get("message"))
    if plan := string(message.get("tool_plan")):
        answer.put("plan", Part("reasoning", plan, "/message/tool_plan"))
    for part in message_parts(message, "/message"):
        answer.put(part.place, part)
    if text := string(body.get("text")):
        answer.put("text", Part("text", text, "/text"))
    for part in _calls(body.get("tool_calls"), "/tool_calls"):
        answer.put(part.place, part)
    answer.finish(body.get("finish_reason"))
    if isinstance(body.get("message"), str):
        answer.fail(str(body.get("code") or "error"), body["message"])
    answer.claimed.add("/chat_history")  # repeats the request
    answer.leave_over(document)


def _head(answer: Answer, body: dict[str, Json]) -> None:
    answer.response_id = (
        word(first(body, "id", "response_id", "generation_id")) or answer.response_id
    )
    meta = mapping(body.get("meta"))
    for source in (body.get("usage"), meta.get("tokens"), meta.get("billed_units")):
        if source is not None and answer.usage.input_tokens is None:
            answer.report(source)


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event of either version."""
    body = mapping(value)
    kind = string(first(body, "type", "event_type")) or name
    delta = mapping(body.get("delta"))
    message = mapping(delta.get("message"))
    if kind in ("content-delta", "content-start"):
        _content(answer, message, body)
    elif kind == "tool-plan-delta":
        part = answer.open("plan", "reasoning", "/message/tool_plan")
        answer.grow(part, string(message.get("tool_plan")), "/delta/message/tool_plan")
    elif kind in ("tool-call-start", "tool-call-delta"):
        _call(answer, mapping(message.get("tool_calls")), body)
    elif kind == "message-start":
        answer.response_id = word(body.get("id"))
    elif kind == "message-end":
        answer.report(delta.get("usage"))
        answer.finish(delta.get("finish_reason"))
        answer.ended = True
    elif kind == "text-generation":
        answer.grow(answer.open("text", "text", "/text"), string(body.get("text")), "/text")
    elif kind == "stream-start":
        answer.response_id = word(body.get("generation_id"))
    elif kind == "stream-end":
        _end(answer, body)
    elif kind not in ("content-end", "tool-call-end", "citation-end"):
        answer.tell_rest(value)


def _content(answer: Answer, message: dict[str, Json], body: dict[str, Json]) -> None:
    content = mapping(message.get("content"))
    index = body.get("index") if isinstance(body.get("index"), int) else 0
    for key in ("text", "thinking"):
        if isinstance(text := content.get(key), str):
            kind = "reasoning" if key == "thinking" else "text"
            final = f"/message/content/{index}/{key}"
            part = answer.open(final, "reasoning" if kind == "reasoning" else "text", final)
            answer.grow(part, text, f"/delta/message/content/{key}")


def _call(answer: Answer, made: dict[str, Json], body: dict[str, Json]) -> None:
    index = body.get("index") if isinstance(body.get("index"), int) else 0
    function = mapping(made.get("function"))
    final = f"/message/tool_calls/{index}/function/arguments"
    part = answer.open(
        final, "tool_call", final, name=word(function.get("name")), call_id=word(made.get("id"))
    )
    place = "/delta/message/tool_calls/function/arguments"
    answer.grow(part, string(function.get("arguments")), place)


def _end(answer: Answer, body: dict[str, Json]) -> None:
    """Take v1's last event, which repeats the whole answer."""
    whole = mapping(body.get("response"))
    _head(answer, whole)
    answer.finish(first(body, "finish_reason") or whole.get("finish_reason"))
    known = answer.message().parts
    if text := string(whole.get("text")):
        if "text" in known:
            answer.repeat("text", text, "/response/text", known["text"])
        else:
            answer.put("text", Part("text", text, "/text"), moved=("", "/response"))
    for part in _calls(whole.get("tool_calls"), "/tool_calls"):
        answer.put(part.place, part, moved=("", "/response"))
    answer.ended = True


def closing(answer: Answer, reason: str) -> bytes:
    """Return the reason and the end, in the grammar of the version that was spoken."""
    if answer.base.format == "cohere-chat-v1":
        lines: list[Json] = [
            {"is_finished": False, "event_type": "text-generation", "text": reason},
            {
                "is_finished": True,
                "event_type": "stream-end",
                "finish_reason": "ERROR_TOXIC",
                "response": {"text": reason, "generation_id": "withheld"},
            },
        ]
        return b"".join(orjson.dumps(line) + b"\n" for line in lines)
    number = 1000
    text: Json = {"message": {"content": {"text": reason}}}
    begin: Json = {"message": {"content": {"type": "text", "text": ""}}}
    events: list[dict[str, Json]] = [
        {"type": "content-start", "index": number, "delta": begin},
        {"type": "content-delta", "index": number, "delta": text},
        {"type": "content-end", "index": number},
        {"type": "message-end", "delta": {"finish_reason": "ERROR"}},
    ]
    return b"".join(
        f"event: {each['type']}\ndata: ".encode() + orjson.dumps(each) + b"\n\n" for each in events
    )


DIALECT = Dialect(request, response, event, "message", closing)

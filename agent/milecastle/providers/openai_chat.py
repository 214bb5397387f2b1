"""OpenAI Chat Completions, and every host that speaks it: messages, tools, SSE chunks.

Source: platform.openai.com/docs/api-reference/chat; the additions of DeepSeek
(``reasoning_content``), OpenRouter (``reasoning``), Mistral (``thinking`` blocks, ``prefix``),
Groq (``x_groq``) and Azure (``data_sources``, filter results) from their references.
"""

from __future__ import annotations

import orjson

from milecastle.model import Json, Part
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_content, read_result
from milecastle.providers.dialect import Dialect
from milecastle.providers.media import blob
from milecastle.providers.parts import call, role
from milecastle.providers.typed import first, items, mapping, string, word

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Where hosts put a model's reasoning beside its ``content``."""
REASONS = ("finish_reason", "finishReason", "stop_reason")
ANSWERING = ("tool", "function")
"""Roles that give a tool's result."""
PLAIN = frozenset({"role", "content"})
"""Most messages have nothing else, and need not be asked for it."""


def request(ask: Ask) -> None:
    """Read messages, tools and parameters."""
    body = ask.body
    ask.take_parameters(body)
    read_messages(ask, body.get("messages"), "/messages")
    read_tools(ask, body)
    structured = mapping(body.get("response_format"))
    if isinstance(structured.get("json_schema"), dict):
        place = "/response_format/json_schema"
        ask.offer(structured, place, structured["json_schema"], "response_format")
    elif structured.get("schema") is not None:  # Together, Fireworks, DeepInfra
        ask.offer(structured, "/response_format", None, "response_format")
    prediction = mapping(body.get("prediction"))
    ask.say("assistant", read_content(prediction.get("content"), "/prediction/content"))
    if prompt := string(body.get("prompt")):  # completions sent to the wrong path, and gateways
        ask.say("user", [Part("text", prompt, "/prompt")])


def read_messages(ask: Ask, messages: Json, place: str) -> None:
    """Read a list of chat messages."""
    for index, message in enumerate(items(messages)):
        if isinstance(message, dict):
            ask.say(role(message.get("role")), message_parts(message, f"{place}/{index}"))
        elif isinstance(message, str):
            ask.say("user", [Part("text", message, f"{place}/{index}")])


def read_tools(ask: Ask, body: dict[str, Json]) -> None:
    """Read ``tools`` and the older ``functions``."""
    for index, tool in enumerate(items(body.get("tools"))):
        described = first(mapping(tool), "function", "custom")
        ask.offer(tool, f"/tools/{index}", described if isinstance(described, dict) else None)
    for index, function in enumerate(items(body.get("functions"))):
        ask.offer(function, f"/functions/{index}", kind="function")


def message_parts(message: dict[str, Json], place: str) -> list[Part]:
    """Return the parts of one message, of a request or of an answer."""
    told: list[Part] = []
    content, here = message.get("content"), f"{place}/content"
    speaker = message.get("role")
    if message.keys() <= PLAIN and isinstance(content, str) and speaker not in ANSWERING:
        return [Part("text", content, here)] if content else []
    for key in REASONING:
        if text := string(message.get(key)):
            told.append(Part("reasoning", text, f"{place}/{key}"))
            break
    if speaker in ANSWERING:
        name, call_id = word(message.get("name")), word(message.get("tool_call_id"))
        return told + read_result(content, here, name=name, call_id=call_id)
    told += read_content(content, here)
    if refusal := string(message.get("refusal")):
        told.append(Part("text", refusal, f"{place}/refusal"))
    audio = mapping(message.get("audio"))
    if transcript := string(audio.get("transcript")):
        told.append(Part("text", transcript, f"{place}/audio/transcript"))
    if data := string(audio.get("data")):
        told.append(blob(data, f"{place}/audio/data", mime_type="audio"))
    told += read_content(message.get("images"), f"{place}/images")  # OpenRouter
    for index, each in enumerate(items(message.get("tool_calls"))):
        if isinstance(each, dict):
            told.append(tool_call(each, f"{place}/tool_calls/{index}"))
    function = message.get("function_call")
    if isinstance(function, dict):
        here = f"{place}/function_call/arguments"
        told.append(call(function.get("arguments"), here, name=word(function.get("name"))))
    return told


def tool_call(each: dict[str, Json], place: str) -> Part:
    """Return one entry of ``tool_calls``: a function's arguments or a custom tool's input."""
    key = "custom" if "custom" in each else "function"
    inner = mapping(each.get(key))
    field = "input" if key == "custom" and "input" in inner else "arguments"
    return call(
        inner.get(field),
        f"{place}/{key}/{field}",
        name=word(inner.get("name")),
        call_id=word(each.get("id")),
    )


def response(answer: Answer, document: Json) -> None:
    """Read a ``chat.completion``."""
    body = mapping(document)
    head(answer, body)
    for position, choice in enumerate(items(body.get("choices"))):
        told = mapping(choice)
        index = _index(told, position)
        place = f"/choices/{position}/message"
        message = mapping(told.get("message"))
        for number, part in enumerate(message_parts(message, place)):
            answer.put(number, part, choice=index)
        if text := string(told.get("text")):  # a completion, answered to a chat
            answer.put("text", Part("text", text, f"/choices/{position}/text"), choice=index)
        answer.finish(first(told, *REASONS), index)
    answer.leave_over(document)


def head(answer: Answer, body: dict[str, Json]) -> None:
    """Take what chunks and whole answers say alike: id, model, usage, error."""
    answer.model = word(body.get("model")) or answer.model
    answer.response_id = word(body.get("id")) or answer.response_id
    for source in (body.get("usage"), mapping(body.get("x_groq")).get("usage")):
        if source is not None:
            answer.report(source)
    if (error := body.get("error")) is not None:
        read_error(answer, error)


def read_error(answer: Answer, error: Json) -> None:
    """Take ``{"error": {"type", "code", "message"}}`` or ``{"error": "..."}``."""
    if isinstance(error, str):
        answer.fail("error", error)
    elif isinstance(error, dict):
        code = first(error, "type", "code", "status")
        answer.fail(code if isinstance(code, str) else str(code or "error"), error.get("message"))


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one ``chat.completion.chunk``."""
    body = mapping(value)
    head(answer, body)
    choices = body.get("choices")
    if not isinstance(choices, list):
        if answer.error and (text := answer.error_message):
            answer.repeat("text", text, "/error/message")
        return
    for position, choice in enumerate(choices):
        told = mapping(choice)
        index = _index(told, position)
        if delta := mapping(told.get("delta")):
            read_delta(answer, delta, index, f"/choices/{position}/delta")
        if message := mapping(told.get("message")):
            _message_of_stream(answer, message, index, f"/choices/{position}/message", delta)
        if text := string(told.get("text")):
            grows = answer.open("text", "text", f"/choices/{index}/text", choice=index)
            answer.grow(grows, text, f"/choices/{position}/text")
        answer.finish(first(told, *REASONS), index)


def _message_of_stream(
    answer: Answer, message: dict[str, Json], index: int, place: str, delta: dict[str, Json]
) -> None:
    """Take a message in a chunk: what was said so far, or (Mistral on Bedrock) a piece of it."""
    known = answer.message(index).parts.get("content")
    told = "".join(known.chunks) if known else ""
    if delta or (told and told == string(message.get("content"))):
        for part in message_parts(message, place):
            answer.repeat(part.kind, part.text, part.place)
    else:
        read_delta(answer, message, index, place)


def read_delta(answer: Answer, delta: dict[str, Json], index: int, place: str) -> None:
    """Let the parts of one choice grow by one delta."""
    final = f"/choices/{index}/message"
    for key in REASONING:
        if text := string(delta.get(key)):
            part = answer.open("reasoning", "reasoning", f"{final}/{key}", choice=index)
            answer.grow(part, text, f"{place}/{key}")
            break
    content = delta.get("content")
    if isinstance(content, str):
        if content:
            part = answer.open("content", "text", f"{final}/content", choice=index)
            answer.grow(part, content, f"{place}/content")
    elif content is not None:  # Mistral streams blocks
        for read in read_content(content, f"{place}/content"):
            part = answer.open((read.kind, "content"), read.kind, f"{final}/content", choice=index)
            answer.grow(part, read.text, read.place)
    if text := string(delta.get("refusal")):
        part = answer.open("refusal", "text", f"{final}/refusal", choice=index)
        answer.grow(part, text, f"{place}/refusal")
    if text := string(mapping(delta.get("audio")).get("transcript")):
        part = answer.open("audio", "text", f"{final}/audio/transcript", choice=index)
        answer.grow(part, text, f"{place}/audio/transcript")
    for position, each in enumerate(items(delta.get("tool_calls"))):
        if isinstance(each, dict):
            _grow_call(answer, each, index, position, f"{place}/tool_calls/{position}")
    function = delta.get("function_call")
    if isinstance(function, dict):
        here = f"{final}/function_call/arguments"
        name = word(function.get("name"))
        part = answer.open("function_call", "tool_call", here, choice=index, name=name)
        answer.grow(part, string(function.get("arguments")), f"{place}/function_call/arguments")


def _grow_call(
    answer: Answer, each: dict[str, Json], index: int, position: int, place: str
) -> None:
    number = each.get("index")
    number = number if isinstance(number, int) else position
    key = "custom" if "custom" in each else "function"
    inner = mapping(each.get(key))
    field = "input" if key == "custom" else "arguments"
    part = answer.open(
        ("call", number),
        "tool_call",
        f"/choices/{index}/message/tool_calls/{number}/{key}/{field}",
        choice=index,
        name=word(inner.get("name")),
        call_id=word(each.get("id")),
    )
    arguments = inner.get(field)
    if isinstance(arguments, str):
        answer.grow(part, arguments, f"{place}/{key}/{field}")
    elif isinstance(arguments, dict):
        read = call(arguments, f"{place}/{key}/{field}")
        answer.grow(part, read.text, read.place)


def _index(choice: dict[str, Json], position: int) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else position


def closing(answer: Answer, reason: str) -> bytes:
    """Return a last chunk that says why, a finish reason, and the sentinel."""
    told: dict[str, Json] = {
        "id": answer.response_id or "chatcmpl-withheld",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": answer.model or answer.base.request_model or "",
    }
    delta: dict[str, Json] = {"content": reason} if reason else {}
    chunk: dict[str, Json] = {
        **told,
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }
    last: dict[str, Json] = {
        **told,
        "choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}],
    }
    return b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in (chunk, last)) + (
        b"data: [DONE]\n\n"
    )


DIALECT = Dialect(request, response, event, "openai", closing)

"""Mistral Conversations: entries in, entries out; agents with tools that the service runs.

Source: docs.mistral.ai/api, Beta Conversations; the types of mistralai 3.7.
"""

from __future__ import annotations

from milecastle.model import Json, Part, Role
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_content, read_result
from milecastle.providers.dialect import Dialect
from milecastle.providers.openai_chat import closing, read_error, read_tools
from milecastle.providers.parts import call, role
from milecastle.providers.typed import first, items, mapping, string, word

SPEAKS: dict[str, Role] = {
    "message.output": "assistant",
    "function.call": "assistant",
    "tool.execution": "assistant",
    "function.result": "tool",
}
"""Type of entry -> who says it; any other says so itself."""


def request(ask: Ask) -> None:
    """Read instructions, inputs, tools and parameters."""
    body = ask.body
    ask.take_parameters(body.get("completion_args"))
    ask.model = word(first(body, "model", "agent_id"))
    ask.conversation = ask.conversation or word(body.get("conversation_id"))
    if text := string(body.get("instructions")):
        ask.system.append(Part("text", text, "/instructions"))
    read_tools(ask, body)
    inputs = body.get("inputs")
    if isinstance(inputs, str):
        ask.say("user", [Part("text", inputs, "/inputs")] if inputs else [])
    for index, each in enumerate(items(inputs)):
        told = mapping(each)
        speaker = SPEAKS.get(string(told.get("type"))) or role(told.get("role"))
        ask.say(speaker, entry_parts(told, f"/inputs/{index}"))


def entry_parts(entry: dict[str, Json], place: str) -> list[Part]:
    """Return the parts of one entry."""
    kind, identifier = string(entry.get("type")), word(entry.get("tool_call_id"))
    if kind in ("function.call", "tool.execution"):
        name, identifier = word(entry.get("name")), identifier or word(entry.get("id"))
        return [call(entry.get("arguments"), f"{place}/arguments", name=name, call_id=identifier)]
    if kind == "function.result":
        return read_result(entry.get("result"), f"{place}/result", call_id=identifier)
    return read_content(entry.get("content"), f"{place}/content")


def response(answer: Answer, document: Json) -> None:
    """Read a whole answer, or a conversation's history."""
    body = mapping(document)
    _head(answer, body)
    key = next((each for each in ("outputs", "entries", "messages") if each in body), "outputs")
    for index, each in enumerate(items(body.get(key))):
        entry = mapping(each)
        answer.model = word(entry.get("model")) or answer.model
        for part in entry_parts(entry, f"/{key}/{index}"):
            answer.put(part.place, part)
    if isinstance(body.get("message"), str):
        read_error(answer, document)
    answer.leave_over(document)


def _head(answer: Answer, body: dict[str, Json]) -> None:
    answer.conversation = word(body.get("conversation_id")) or answer.conversation
    answer.report(body.get("usage"))


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event."""
    body = mapping(value)
    kind = string(body.get("type")) or name
    number = f"{body.get('output_index', 0)}"
    _head(answer, body)
    answer.model = word(body.get("model")) or answer.model
    if kind == "message.output.delta":
        _content(answer, body.get("content"), number, str(body.get("content_index", 0)))
    elif kind in ("function.call.delta", "tool.execution.started", "tool.execution.delta"):
        identifier = word(first(body, "tool_call_id", "id"))
        final = f"/outputs/{number}/arguments"
        called = word(body.get("name"))
        key = (final, identifier)
        part = answer.open(key, "tool_call", final, name=called, call_id=identifier)
        answer.grow(part, string(body.get("arguments")), "/arguments")
    elif kind == "tool.execution.done":
        answer.tell_rest(body.get("info"), "/info")
    elif kind == "conversation.response.error":
        answer.fail(str(body.get("code") or "error"), body.get("message"))
    elif kind == "conversation.response.done":
        answer.ended = True


def _content(answer: Answer, content: Json, number: str, index: str) -> None:
    """Let a message grow by a text or a chunk."""
    for read in read_content(content, "/content"):
        final = f"/outputs/{number}/content/{index}"
        if read.kind in ("text", "reasoning"):
            part = answer.open((final, read.kind), read.kind, final)
            answer.grow(part, read.text, read.place)
        else:
            answer.put((final, len(answer.message().parts)), read)


DIALECT = Dialect(request, response, event, "openai", closing)

"""OpenAI Assistants: assistants, threads, messages, runs, and the run's event stream.

Source: OpenAI's API reference, Assistants (v2). What was said in a thread also comes back in
answers to GET, so those are read too.
"""

from __future__ import annotations

import orjson

from milecastle.model import Json, Part
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_content
from milecastle.providers.dialect import Dialect
from milecastle.providers.openai_chat import read_error, read_tools, tool_call
from milecastle.providers.parts import role
from milecastle.providers.typed import items, mapping, string, word

INSTRUCTIONS = ("name", "description", "instructions", "additional_instructions")


def request(ask: Ask) -> None:
    """Read instructions, messages, tools and tool outputs, wherever a request may have them."""
    read_body(ask, ask.body, "")
    read_body(ask, mapping(ask.body.get("thread")), "/thread")


def read_body(ask: Ask, body: dict[str, Json], place: str) -> None:
    """Read one object: an assistant, a thread, a run or a message."""
    ask.take_parameters(body)
    for key in INSTRUCTIONS:
        if text := string(body.get(key)):
            ask.system.append(Part("text", text, f"{place}/{key}"))
    for key in ("messages", "additional_messages"):
        for index, message in enumerate(items(body.get(key))):
            told, here = mapping(message), f"{place}/{key}/{index}/content"
            ask.say(role(told.get("role")), read_content(told.get("content"), here))
    if "content" in body:
        ask.say(role(body.get("role")), read_content(body["content"], f"{place}/content"))
    if not place:
        read_tools(ask, body)
    for index, output in enumerate(items(body.get("tool_outputs"))):
        told, here = mapping(output), f"{place}/tool_outputs/{index}/output"
        identifier = word(told.get("tool_call_id"))
        text = string(told.get("output"))
        ask.say("tool", [Part("tool_call_response", text, here, None, identifier)])


def response(answer: Answer, document: Json) -> None:
    """Read an object or a list of objects."""
    body = mapping(document)
    if (error := body.get("error")) is not None:
        read_error(answer, error)
    if body.get("object") == "list":
        for index, each in enumerate(items(body.get("data"))):
            _object(answer, mapping(each), f"/data/{index}", index)
    else:
        _object(answer, body, "", 0)
    answer.leave_over(document)


def _object(answer: Answer, body: dict[str, Json], place: str, index: int) -> None:
    kind = body.get("object")
    answer.conversation = word(body.get("thread_id")) or answer.conversation
    answer.claimed.update(f"{place}/{key}" for key in ("instructions", "tools", "description"))
    if kind == "thread.message":
        parts = read_content(body.get("content"), f"{place}/content")
        for part in parts:
            answer.message(index, role(body.get("role")))
            answer.put(part.place, part, choice=index)
    elif kind == "thread.run":
        _run(answer, body, place, index)
    elif kind == "thread.run.step":
        answer.report(body.get("usage"))
        details = mapping(body.get("step_details"))
        for number, each in enumerate(items(details.get("tool_calls"))):
            here = f"{place}/step_details/tool_calls/{number}"
            for part in _step_call(mapping(each), here):
                answer.put(part.place, part, choice=index)
    elif kind in ("assistant", "thread"):
        answer.model = word(body.get("model")) or answer.model
    answer.response_id = answer.response_id or word(body.get("id"))


def _run(answer: Answer, body: dict[str, Json], place: str, index: int) -> None:
    answer.model = word(body.get("model")) or answer.model
    answer.response_id = word(body.get("id")) or answer.response_id
    answer.report(body.get("usage"))
    if (error := body.get("last_error")) is not None:
        read_error(answer, error)
    outputs = mapping(mapping(body.get("required_action")).get("submit_tool_outputs"))
    for number, each in enumerate(items(outputs.get("tool_calls"))):
        here = f"{place}/required_action/submit_tool_outputs/tool_calls/{number}"
        part = tool_call(mapping(each), here)
        answer.put(part.place, part, choice=index)
    if status := word(body.get("status")):
        answer.finish_reasons = [status]


def _step_call(each: dict[str, Json], place: str) -> list[Part]:
    """Return a step's call: a function with its output, or code with what it printed."""
    kind = string(each.get("type"))
    inner, here = mapping(each.get(kind)), f"{place}/{kind}"
    identifier = word(each.get("id"))
    parts: list[Part] = []
    if kind == "function":
        parts.append(tool_call(each, place))
        if text := string(inner.get("output")):
            parts.append(Part("tool_call_response", text, f"{here}/output", None, identifier))
    elif text := string(inner.get("input")):
        parts.append(Part("tool_call", text, f"{here}/input", kind, identifier))
    for number, output in enumerate(items(inner.get("outputs"))):
        if text := string(mapping(output).get("logs")):
            place_of_logs = f"{here}/outputs/{number}/logs"
            parts.append(Part("tool_call_response", text, place_of_logs, kind, identifier))
    return parts


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event of a run."""
    body = mapping(value)
    kind = string(body.get("object"))
    if kind == "thread.message.delta":
        for position, block in enumerate(items(mapping(body.get("delta")).get("content"))):
            told = mapping(block)
            index = told.get("index") if isinstance(told.get("index"), int) else position
            text = string(mapping(told.get("text")).get("value"))
            final = f"/content/{index}/text/value"
            part = answer.open((word(body.get("id")), final), "text", final)
            answer.grow(part, text, f"/delta/content/{position}/text/value")
    elif kind == "thread.run.step.delta":
        details = mapping(mapping(body.get("delta")).get("step_details"))
        for position, each in enumerate(items(details.get("tool_calls"))):
            _step_delta(answer, body, mapping(each), position)
    elif name == "thread.message.completed":
        for whole in read_content(body.get("content"), "/content"):
            key = (word(body.get("id")), whole.place)
            known = answer.message().parts
            if key in known:
                answer.repeat(whole.kind, whole.text, whole.place, known[key])
            else:
                answer.put(key, whole)
    elif kind == "thread.run":
        _run(answer, body, "", 0)
        answer.conversation = word(body.get("thread_id")) or answer.conversation
    elif name == "error":
        read_error(answer, body)
    elif name in ("thread.run.step.completed", "thread.message.incomplete"):
        answer.tell_rest(value)
    if name in ("thread.run.completed", "thread.run.failed", "thread.run.requires_action"):
        answer.ended = True


def _step_delta(
    answer: Answer, body: dict[str, Json], each: dict[str, Json], position: int
) -> None:
    kind = string(each.get("type"))
    inner = mapping(each.get(kind))
    index = each.get("index") if isinstance(each.get("index"), int) else position
    field = "arguments" if kind == "function" else "input"
    here = f"/delta/step_details/tool_calls/{position}/{kind}"
    final = f"/step_details/tool_calls/{index}/{kind}"
    part = answer.open(
        (word(body.get("id")), final),
        "tool_call",
        f"{final}/{field}",
        name=word(inner.get("name")) or kind,
        call_id=word(each.get("id")),
    )
    answer.grow(part, string(inner.get(field)), f"{here}/{field}")
    for number, output in enumerate(items(inner.get("outputs"))):
        if text := string(mapping(output).get("logs")):
            answer.repeat("tool_call_response", text, f"{here}/outputs/{number}/logs")


def closing(answer: Answer, reason: str) -> bytes:
    """Return an error event, which is how a run's stream says that it failed, and its end."""
    error = orjson.dumps({"code": "content_filter", "message": reason})
    return b"event: error\ndata: " + error + b"\n\nevent: done\ndata: [DONE]\n\n"


DIALECT = Dialect(request, response, event, "openai", closing)

"""Gemini Interactions: steps of a conversation that the service keeps, or contents sent whole.

Source: ai.google.dev/api/interactions, and the types of google-genai 1.55 and 3.4: what was
``outputs`` and ``content.delta`` in the first is ``steps`` and ``step.delta`` in the second.
"""

from __future__ import annotations

from collections.abc import Mapping

from milecastle.model import Json, Part, PartKind
from milecastle.providers import gemini
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_block, read_result
from milecastle.providers.dialect import Dialect
from milecastle.providers.media import blob
from milecastle.providers.openai_chat import read_error
from milecastle.providers.parts import call, link, role
from milecastle.providers.typed import first, items, mapping, string, word

MEDIA = frozenset({"image", "audio", "video", "document", "file"})
SAYING = frozenset({"user_input", "model_output"})
OUTPUTS = ("steps", "outputs")


def request(ask: Ask) -> None:
    """Read the instruction, the input, tools and parameters."""
    body = ask.body
    ask.take_parameters(body.get("generation_config"))
    ask.model = word(first(body, "model", "agent"))
    ask.conversation = word(body.get("previous_interaction_id"))
    instruction = body.get("system_instruction")
    if isinstance(instruction, str):
        ask.system += [Part("text", instruction, "/system_instruction")] if instruction else []
    else:
        ask.system += gemini.content_parts(mapping(instruction), "/system_instruction")
    _input(ask, body.get("input"), "/input")
    for index, tool in enumerate(items(body.get("tools"))):
        ask.offer(tool, f"/tools/{index}")
    structured = body.get("response_format")
    if isinstance(structured, dict):
        schema: Json = {"name": "response", "schema": structured.get("schema", structured)}
        ask.offer(structured, "/response_format", schema, "response_format")


def _input(ask: Ask, value: Json, place: str) -> None:
    """Read a text, a content, contents, steps or turns."""
    if isinstance(value, str):
        ask.say("user", [Part("text", value, place)] if value else [])
    elif isinstance(value, dict):
        ask.say("user", step_parts(value, place))
    loose: list[Part] = []
    for index, each in enumerate(items(value)):
        here, told = f"{place}/{index}", mapping(each)
        if isinstance(each, str):
            loose.append(Part("text", each, here))
        elif "content" in told or is_step(string(told.get("type"))):
            ask.say("user", loose)
            loose = []
            speaks = "assistant" if _by_model(told) else "user"
            ask.say(role(told.get("role") or speaks), step_parts(told, here))
        else:
            loose += content(told, here)
    ask.say("user", loose)


def is_step(kind: str) -> bool:
    """Tell whether a type is that of a step, not of a content."""
    return kind == "thought" or kind in SAYING or kind.endswith(("_call", "_result"))


def _by_model(step: Mapping[str, Json]) -> bool:
    kind = string(step.get("type"))
    return kind in ("model_output", "thought") or kind.endswith("_call")


def step_parts(step: dict[str, Json], place: str) -> list[Part]:
    """Return the parts of one step, turn or content."""
    kind = string(step.get("type"))
    name, identifier = word(step.get("name")), word(first(step, "id", "call_id"))
    if kind == "thought":
        summary = contents(step.get("summary"), f"{place}/summary")
        return [Part("reasoning", each.text, each.place) for each in summary if each.text]
    if kind.endswith("_call"):
        name = name or kind.removesuffix("_call")
        return [call(step.get("arguments"), f"{place}/arguments", name=name, call_id=identifier)]
    if kind.endswith("_result"):
        identifier = word(step.get("call_id"))
        return read_result(step.get("result"), f"{place}/result", name=name, call_id=identifier)
    if "content" in step:
        return contents(step["content"], f"{place}/content")
    return content(step, place)


def contents(value: Json, place: str) -> list[Part]:
    """Return the parts of a text, a content or a list of contents."""
    if isinstance(value, str):
        return [Part("text", value, place)] if value else []
    if isinstance(value, dict):
        return content(value, place)
    return [
        part
        for index, each in enumerate(items(value))
        for part in content(mapping(each), f"{place}/{index}")
    ]


def content(block: dict[str, Json], place: str) -> list[Part]:
    """Return the parts of one content."""
    mime_type = word(block.get("mime_type"))
    if block.get("type") in MEDIA:
        if data := string(block.get("data")):
            return [blob(data, f"{place}/data", mime_type=mime_type)]
        if uri := string(block.get("uri")):
            return [link(uri, f"{place}/uri", mime_type=mime_type)]
    return read_block(block, place)


# --- answers -----------------------------------------------------------------------------------


def response(answer: Answer, document: Json) -> None:
    """Read an interaction."""
    body = mapping(document)
    _head(answer, body)
    for part in _outputs(body, ""):
        answer.put(part.place, part)
    answer.finish(body.get("status"))
    answer.claimed.update(("/input", "/system_instruction", "/tools"))  # repeat the request
    answer.leave_over(document)


def _outputs(body: dict[str, Json], place: str) -> list[Part]:
    return [
        part
        for key in OUTPUTS
        for index, each in enumerate(items(body.get(key)))
        if mapping(each).get("type") != "user_input"
        for part in step_parts(mapping(each), f"{place}/{key}/{index}")
    ]


def _head(answer: Answer, body: dict[str, Json]) -> None:
    answer.model = word(body.get("model")) or answer.model
    answer.response_id = word(body.get("id")) or answer.response_id
    answer.report(body.get("usage"))
    if (error := body.get("error")) is not None:
        read_error(answer, error)


GROWS: Mapping[str, tuple[PartKind, str]] = {
    "text": ("text", "text"),
    "thought_summary": ("reasoning", "content/text"),
    "arguments_delta": ("tool_call", "arguments"),
}
"""Type of delta -> the kind of part that grows, and where in the delta its text stands."""


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event."""
    body = mapping(value)
    kind = string(first(body, "event_type", "type")) or name
    if isinstance(told := body.get("interaction"), dict):
        _head(answer, told)
        answer.claimed.update(f"/interaction/{key}" for key in ("input", "tools"))
        if kind.endswith((".complete", ".completed")):
            _complete(answer, told)
    elif kind.endswith(".delta"):
        _delta(answer, body, mapping(body.get("delta")))
    elif kind.endswith(".start"):
        _start(answer, body)
    elif kind == "error":
        read_error(answer, body.get("error"))


def _start(answer: Answer, body: dict[str, Json]) -> None:
    """Take a step as it begins: the name of what is called, and what it already holds."""
    key = "step" if "step" in body else "content"
    step, number = mapping(body.get(key)), str(body.get("index"))
    kind = string(step.get("type"))
    if kind.endswith("_call"):
        answer.open(
            (number, "tool_call"),
            "tool_call",
            f"/steps/{number}/arguments",
            name=word(step.get("name")) or kind.removesuffix("_call"),
            call_id=word(step.get("id")),
            structured=True,
        )
        if not step.get("arguments"):
            return
    for part in step_parts(step, f"/{key}"):
        opened = answer.open((number, part.kind), part.kind, f"/steps/{number}")
        answer.grow(opened, part.text, part.place)


def _delta(answer: Answer, body: dict[str, Json], delta: dict[str, Json]) -> None:
    number, kind = str(body.get("index")), string(delta.get("type"))
    if kind in GROWS:
        grows, path = GROWS[kind]
        text: Json = delta
        for key in path.split("/"):
            text = mapping(text).get(key)
        growing = answer.open(
            (number, grows), grows, f"/steps/{number}", structured=grows == "tool_call"
        )
        answer.grow(growing, string(text), f"/delta/{path}")
        return
    for part in step_parts(delta, "/delta"):
        opened = answer.open((number, part.kind), part.kind, f"/steps/{number}", structured=True)
        if part.kind == "tool_call" and opened.chunks:
            answer.again(part, ("", ""), opened)
        elif part.kind in ("text", "reasoning", "tool_call"):
            opened.name = opened.name or part.name
            answer.grow(opened, part.text, part.place)
        else:
            answer.put((number, part.kind, part.place, len(answer.message().parts)), part)


def _complete(answer: Answer, told: dict[str, Json]) -> None:
    """Take the whole interaction: it repeats every step that a stream has told."""
    known = bool(answer.messages)
    for part in _outputs(told, ""):
        moved = ("", "/interaction")
        if known:
            answer.again(part, moved)
        else:
            answer.put(part.place, part, moved=moved)
    answer.finish(told.get("status"))
    answer.repeat("text", string(told.get("output_text")), "/interaction/output_text")
    answer.ended = True


DIALECT = Dialect(request, response, event, "google", gemini.closing)

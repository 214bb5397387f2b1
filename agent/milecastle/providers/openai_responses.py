"""OpenAI Responses: items in, items out, typed SSE events (also over WebSocket, as Codex does).

Source: platform.openai.com/docs/api-reference/responses and .../responses-streaming. The stream
says most things three times (delta, ``.done``, ``response.completed``); each repetition is
reported, because each would carry a withheld text to the client again.
"""

from __future__ import annotations

import orjson

from milecastle.model import Json, Part, PartKind
from milecastle.providers.answer import Answer, OpenPart
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_content
from milecastle.providers.dialect import Dialect
from milecastle.providers.leaves import unclaimed
from milecastle.providers.openai_chat import read_error
from milecastle.providers.openai_items import CALLS, read_item, speaker
from milecastle.providers.places import token
from milecastle.providers.typed import first, items, mapping, string, word


def request(ask: Ask) -> None:
    """Read instructions, input items, tools and parameters."""
    body = ask.body
    ask.take_parameters(body)
    ask.conversation = word(body.get("previous_response_id")) or _conversation(body)
    read_instructions(ask, body.get("instructions"), "/instructions")
    for key in ("input", "items"):  # items: of a conversation
        read_input(ask, body.get(key), f"/{key}")
    for index, tool in enumerate(items(body.get("tools"))):
        ask.offer(tool, f"/tools/{index}")
    structured = mapping(mapping(body.get("text")).get("format"))
    if structured.get("schema") is not None:
        ask.offer(structured, "/text/format", None, "response_format")
    prompt = mapping(body.get("prompt"))
    for key, value in mapping(prompt.get("variables")).items():
        place = f"/prompt/variables/{token(key)}"
        ask.say("user", read_content(value, place))


def _conversation(body: dict[str, Json]) -> str | None:
    value = body.get("conversation")
    return word(value.get("id")) if isinstance(value, dict) else word(value)


def read_instructions(ask: Ask, value: Json, place: str) -> None:
    """Read instructions: a string, or a list of items."""
    if isinstance(value, str):
        ask.system += [Part("text", value, place)] if value else []
        return
    for index, item in enumerate(items(value)):
        ask.system += read_item(mapping(item), f"{place}/{index}")


OFFERS = frozenset({"additional_tools"})
"""Items that hold tool definitions."""


def read_input(ask: Ask, value: Json, place: str) -> None:
    """Read input: a string, or a list of items."""
    if isinstance(value, str):
        ask.say("user", [Part("text", value, place)] if value else [])
        return
    for index, item in enumerate(items(value)):
        here = f"{place}/{index}"
        if isinstance(item, str):
            ask.say("user", [Part("text", item, here)])
        elif isinstance(item, dict):
            if item.get("type") in OFFERS:
                for number, tool in enumerate(items(item.get("tools"))):
                    ask.offer(tool, f"{here}/tools/{number}")
                continue
            ask.say(speaker(item), read_item(item, here))


def response(answer: Answer, document: Json) -> None:
    """Read a whole ``response``."""
    body = mapping(document)
    head(answer, body)
    for number, item in enumerate(items(body.get("output"))):
        for part in read_item(mapping(item), f"/output/{number}"):
            answer.put(part.place or (number, part.kind), part)
    finish(answer, body)
    claim_echo(answer, body, "")
    answer.leave_over(document)


ECHO = ("instructions", "tools", "input", "text", "metadata")
"""What an answer repeats of its request; inspected there."""


def claim_echo(answer: Answer, body: dict[str, Json], place: str) -> None:
    """Pass over what the answer repeats of the request."""
    answer.claimed.update(f"{place}/{key}" for key in ECHO if key in body)


def head(answer: Answer, body: dict[str, Json]) -> None:
    """Take id, model, usage, error and conversation of a response object."""
    answer.model = word(body.get("model")) or answer.model
    answer.response_id = word(body.get("id")) or answer.response_id
    answer.conversation = _conversation(body) or answer.conversation
    if (used := body.get("usage")) is not None:
        answer.report(used)
    if (error := body.get("error")) is not None:
        read_error(answer, error)


def finish(answer: Answer, body: dict[str, Json]) -> None:
    """Take the status, and why it is incomplete."""
    status = word(body.get("status"))
    reason = word(mapping(body.get("incomplete_details")).get("reason"))
    if answer.messages or reason:
        answer.finish(reason or status)


# --- streams ---------------------------------------------------------------------------------

GROWS: dict[str, tuple[PartKind, str]] = {
    "response.output_text.delta": ("text", "content/{content_index}/text"),
    "response.refusal.delta": ("text", "content/{content_index}/refusal"),
    "response.reasoning_text.delta": ("reasoning", "content/{content_index}/text"),
    "response.reasoning_summary_text.delta": ("reasoning", "summary/{summary_index}/text"),
    "response.function_call_arguments.delta": ("tool_call", "arguments"),
    "response.custom_tool_call_input.delta": ("tool_call", "input"),
    "response.mcp_call_arguments.delta": ("tool_call", "arguments"),
    "response.code_interpreter_call_code.delta": ("tool_call", "code"),
    "response.output_audio_transcript.delta": ("text", "content/{content_index}/transcript"),
    "response.audio_transcript.delta": ("text", "content/{content_index}/transcript"),
    "response.text.delta": ("text", "content/{content_index}/text"),
}
"""Event -> kind of the part that grows, and where in its item it stands. The last three are
those of the Realtime API, which shares these events."""

SILENT = frozenset(
    {
        "response.output_audio.delta",
        "response.audio.delta",
        "response.output_audio.done",
        "response.audio.done",
        "response.image_generation_call.partial_image",
        "response.in_progress",
        "keepalive",
    }
)
"""Events that hold no text."""


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one typed event."""
    body = mapping(value)
    kind = string(body.get("type")) or name
    if (grows := GROWS.get(kind)) is not None:
        part = _part(answer, body, *grows)
        answer.grow(part, string(body.get("delta")), "/delta")
    elif kind in SILENT:
        pass
    elif kind in ("response.output_item.added", "response.output_item.done"):
        _item(answer, body, kind)
    elif kind in TERMINAL or kind in ("response.created", "response.queued"):
        told = mapping(body.get("response"))
        head(answer, told)
        claim_echo(answer, told, "/response")
        if kind in TERMINAL:
            _complete(answer, told, kind)
    elif kind == "error":
        inner = body.get("error") if isinstance(body.get("error"), dict) else body
        read_error(answer, inner)
        answer.repeat(
            "text", answer.error_message or "", "/message" if inner is body else "/error/message"
        )
    else:
        repeat_strings(answer, value)


TERMINAL = frozenset(
    {
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
        "response.done",
    }
)


def repeat_strings(answer: Answer, value: Json) -> None:
    """Report every string of an event that repeats text, or that nobody knows."""
    for leaf in unclaimed(value, ()):
        answer.repeat("text", leaf.text, leaf.place)


def _part(answer: Answer, body: dict[str, Json], kind: PartKind, template: str) -> OpenPart:
    """Return the part that an event's indices name."""
    output = _number(body, "output_index")
    place = f"/output/{output}/{template}"
    for index in ("content_index", "summary_index"):
        place = place.replace("{" + index + "}", str(_number(body, index)))
    item = mapping(answer.notes.get(f"item {output}"))
    return answer.open(
        place, kind, place, name=word(item.get("name")), call_id=word(item.get("call_id"))
    )


def _number(body: dict[str, Json], key: str) -> int:
    value = body.get(key)
    return value if isinstance(value, int) else 0


def _item(answer: Answer, body: dict[str, Json], kind: str) -> None:
    """Take an item as it begins (its name) or as it ends (all of it)."""
    item, output = mapping(body.get("item")), _number(body, "output_index")
    type_ = string(item.get("type"))
    name = word(item.get("name")) or (type_.removesuffix("_call") if type_ in CALLS else None)
    answer.notes[f"item {output}"] = {"name": name, "call_id": word(first(item, "call_id", "id"))}
    if kind.endswith("done"):
        _tell(answer, item, output, "/item")


def _complete(answer: Answer, told: dict[str, Json], kind: str) -> None:
    """Take the response as a whole: it repeats every item."""
    for number, item in enumerate(items(told.get("output"))):
        _tell(answer, mapping(item), number, f"/response/output/{number}")
    finish(answer, told)
    if kind == "response.failed" and not answer.error:
        answer.fail("response.failed")
    answer.ended = True


def _tell(answer: Answer, item: dict[str, Json], number: int, here: str) -> None:
    """Take a whole item: parts that did not grow are new, the others repeat what was told."""
    final = f"/output/{number}"
    known = answer.message().parts
    for part in read_item(item, final):
        key = part.place or (number, part.kind)
        if key in known:
            answer.again(part, (final, here), known[key])
        else:
            answer.put(key, part, moved=(final, here))


def closing(answer: Answer, reason: str) -> bytes:
    """Return the reason as a last message, and an incomplete response."""
    number = 1 + max(
        (int(name[5:]) for name in answer.notes if name.startswith("item ")), default=-1
    )
    sequence = 1 << 20  # behind every number of the provider's own
    told = _withheld(answer, number, reason)
    events: list[dict[str, Json]] = []
    if reason:
        at: dict[str, Json] = {"item_id": "msg_withheld", "output_index": number}
        inner: dict[str, Json] = {**at, "content_index": 0}
        text: Json = {"type": "output_text", "text": reason, "annotations": []}
        item = items(told["output"])[0]
        begun = {**mapping(item), "status": "in_progress", "content": []}
        events = [
            {"type": "response.output_item.added", "output_index": number, "item": begun},
            {
                "type": "response.content_part.added",
                **inner,
                "part": {"type": "output_text", "text": "", "annotations": []},
            },
            {"type": "response.output_text.delta", **inner, "delta": reason, "logprobs": []},
            {"type": "response.output_text.done", **inner, "text": reason, "logprobs": []},
            {"type": "response.content_part.done", **inner, "part": text},
            {"type": "response.output_item.done", "output_index": number, "item": item},
        ]
    events.append({"type": "response.incomplete", "response": told})
    out = []
    for offset, each in enumerate(events):
        each["sequence_number"] = sequence + offset
        out.append(f"event: {each['type']}\ndata: ".encode() + orjson.dumps(each) + b"\n\n")
    return b"".join(out)


def _withheld(answer: Answer, number: int, reason: str) -> dict[str, Json]:
    content: list[Json] = [{"type": "output_text", "text": reason, "annotations": []}]
    message: Json = {
        "id": "msg_withheld",
        "type": "message",
        "role": "assistant",
        "status": "incomplete",
        "content": content,
    }
    return {
        "id": answer.response_id or "resp_withheld",
        "object": "response",
        "created_at": 0,
        "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"},
        "error": None,
        "instructions": None,
        "metadata": {},
        "model": answer.model or answer.base.request_model or "",
        "output": [message] if reason else [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


DIALECT = Dialect(request, response, event, "openai", closing)

"""Anthropic Messages: blocks, thinking, tools of the client and of the server; JSON and SSE.

Source: docs.anthropic.com, Messages, Streaming Messages, Count tokens, Message Batches. The same
bodies travel through Bedrock (``anthropic_version`` in the body) and Vertex (``rawPredict``).
"""

from __future__ import annotations

import orjson

from milecastle.model import Json, Part, PartKind
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_block, read_content
from milecastle.providers.dialect import Dialect
from milecastle.providers.parts import role
from milecastle.providers.typed import items, mapping, string, word


def request(ask: Ask) -> None:
    """Read the system prompt, messages, tools and parameters."""
    read_body(ask, ask.body, "")


def read_body(ask: Ask, body: dict[str, Json], place: str) -> None:
    """Read one Messages request that stands at ``place``."""
    ask.take_parameters(body)
    ask.system += read_content(body.get("system"), f"{place}/system")
    for index, message in enumerate(items(body.get("messages"))):
        told = mapping(message)
        here = f"{place}/messages/{index}/content"
        ask.say(role(told.get("role")), read_content(told.get("content"), here))
    for index, tool in enumerate(items(body.get("tools"))):
        ask.offer(tool, f"{place}/tools/{index}")
    for key in ("output_format", "output_config"):
        structured, here = mapping(body.get(key)), f"{place}/{key}"
        if isinstance(structured.get("format"), dict):
            structured, here = mapping(structured["format"]), f"{here}/format"
        if structured.get("schema") is not None:
            ask.offer(structured, here, None, "response_format")
    if prompt := string(body.get("prompt")):  # /v1/complete
        ask.say("user", [Part("text", prompt, f"{place}/prompt")])
    metadata = mapping(body.get("metadata"))
    if isinstance(metadata.get("user_id"), str):
        ask.conversation = ask.conversation or _session(string(metadata["user_id"]))


def _session(user: str) -> str | None:
    """Return the session that Claude Code writes into ``metadata.user_id``, if it is one."""
    head, mark, session = user.rpartition("_session_")
    return session if mark and head.startswith("user_") and len(session) <= 64 else None


def response(answer: Answer, document: Json) -> None:
    """Read a whole message, a legacy completion, a token count or an error."""
    body = mapping(document)
    read_message(answer, body, "")
    if isinstance(text := body.get("completion"), str):
        answer.put("completion", Part("text", text, "/completion"))
        answer.finish(body.get("stop_reason"))
    if "input_tokens" in body:  # count_tokens
        answer.report(body)
    if body.get("type") == "error" or "error" in body:
        read_error(answer, body.get("error"))
    answer.leave_over(document)


def read_message(answer: Answer, body: dict[str, Json], place: str) -> None:
    """Read a message object."""
    head(answer, body)
    for index, block in enumerate(items(body.get("content"))):
        for number, part in enumerate(read_block(mapping(block), f"{place}/content/{index}")):
            answer.put((index, number), part)
    if (reason := word(body.get("stop_reason"))) is not None:
        answer.finish(reason)


def head(answer: Answer, body: dict[str, Json]) -> None:
    """Take id, model and usage."""
    answer.model = word(body.get("model")) or answer.model
    answer.response_id = word(body.get("id")) or answer.response_id
    if (used := body.get("usage")) is not None:
        answer.report(used)


def read_error(answer: Answer, error: Json) -> None:
    """Take ``{"type", "message"}``."""
    told = mapping(error)
    answer.fail(told.get("type"), told.get("message"))


# --- streams ---------------------------------------------------------------------------------

GROWS: dict[str, tuple[str, PartKind]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "reasoning"),
    "input_json_delta": ("partial_json", "tool_call"),
    "compaction_delta": ("content", "text"),
}
"""Type of delta -> its field, and the kind of part that grows."""

BEGINS: dict[str, tuple[str, PartKind]] = {
    "text": ("text", "text"),
    "thinking": ("thinking", "reasoning"),
    "compaction": ("content", "text"),
}
"""Blocks that begin empty and grow by deltas -> their field, and the kind of part."""


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event."""
    body = mapping(value)
    kind = string(body.get("type")) or name
    if kind == "content_block_delta":
        _delta(answer, body)
    elif kind == "content_block_start":
        _begin(answer, body)
    elif kind == "message_start":
        message = mapping(body.get("message"))
        head(answer, message)
        for index, block in enumerate(items(message.get("content"))):
            _begin(answer, {"index": index, "content_block": block}, f"/message/content/{index}")
    elif kind == "message_delta":
        if (used := body.get("usage")) is not None:
            answer.report(used)
        answer.finish(mapping(body.get("delta")).get("stop_reason"))
    elif kind == "message_stop":
        answer.ended = True
    elif kind == "content_block_stop":
        _stop(answer, body)
    elif kind == "error":
        read_error(answer, body.get("error"))
        answer.repeat("text", answer.error_message or "", "/error/message")
    elif kind == "completion" or "completion" in body:  # on Bedrock it says no type
        _completion(answer, body)
    elif kind != "ping":
        answer.tell_rest(value)


def _index(body: dict[str, Json]) -> int:
    index = body.get("index")
    return index if isinstance(index, int) else 0


def _begin(answer: Answer, body: dict[str, Json], here: str = "/content_block") -> None:
    """Open a block; what it already holds is told."""
    index, block = _index(body), mapping(body.get("content_block"))
    kind = string(block.get("type"))
    opened = _opened(answer)
    opened[str(index)] = True
    final = f"/content/{index}"
    if kind in BEGINS:
        field, part_kind = BEGINS[kind]
        part = answer.open((index, 0), part_kind, f"{final}/{field}")
        answer.grow(part, string(block.get(field)), f"{here}/{field}")
    elif kind.endswith("tool_use"):
        part = answer.open(
            (index, 0),
            "tool_call",
            f"{final}/input",
            name=word(block.get("name")),
            call_id=word(block.get("id")),
            structured=True,
        )
        if block.get("input"):
            answer.grow(part, orjson.dumps(block["input"]).decode(), f"{here}/input")
    else:
        for number, read in enumerate(read_block(block, final)):
            answer.put((index, number), read, moved=(final, here))


def _delta(answer: Answer, body: dict[str, Json]) -> None:
    index, delta = _index(body), mapping(body.get("delta"))
    kind = string(delta.get("type"))
    if kind in GROWS:
        field, part_kind = GROWS[kind]
        inner = "input" if part_kind == "tool_call" else field
        part = answer.open(
            (index, 0),
            part_kind,
            f"/content/{index}/{inner}",
            structured=part_kind == "tool_call",
        )
        answer.grow(part, string(delta.get(field)), f"/delta/{field}")
    elif kind != "signature_delta":
        answer.tell_rest(delta, "/delta")


def _stop(answer: Answer, body: dict[str, Json]) -> None:
    index = _index(body)
    _opened(answer).pop(str(index), None)
    part = answer.message().parts.get((index, 0))
    if part is not None and part.kind == "tool_call" and not part.chunks:
        part.chunks.append("{}")  # the final form of a call without arguments


def _opened(answer: Answer) -> dict[str, Json]:
    """Return the blocks that have begun and not stopped, by index."""
    found = answer.notes.setdefault("open", {})
    assert isinstance(found, dict)
    return found


def _completion(answer: Answer, body: dict[str, Json]) -> None:
    """Take an event of the old text completions."""
    head(answer, body)
    part = answer.open("completion", "text", "/completion")
    answer.grow(part, string(body.get("completion")), "/completion")
    answer.finish(body.get("stop_reason"))


def closing(answer: Answer, reason: str) -> bytes:
    """Return the ends of the open blocks, the reason as a text block, and the message's end."""
    opened = [int(index) for index in _opened(answer)]
    events: list[tuple[str, dict[str, Json]]] = []
    if answer.response_id is None and not answer.messages:
        events.append(("message_start", {"message": _message(answer)}))
    events += [("content_block_stop", {"index": index}) for index in opened]
    known = [key[0] for key in answer.message().parts if isinstance(key, tuple)]
    after = 1 + max([*opened, *(each for each in known if isinstance(each, int))], default=-1)
    if reason:
        block: Json = {"type": "text", "text": ""}
        delta: Json = {"type": "text_delta", "text": reason}
        events += [
            ("content_block_start", {"index": after, "content_block": block}),
            ("content_block_delta", {"index": after, "delta": delta}),
            ("content_block_stop", {"index": after}),
        ]
    events += [
        (
            "message_delta",
            {
                "delta": {"stop_reason": "refusal", "stop_sequence": None},
                "usage": {"output_tokens": answer.usage.output_tokens or 0},
            },
        ),
        ("message_stop", {}),
    ]
    return b"".join(
        f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **body}) + b"\n\n"
        for kind, body in events
    )


def _message(answer: Answer) -> dict[str, Json]:
    return {
        "id": "msg_withheld",
        "type": "message",
        "role": "assistant",
        "model": answer.model or answer.base.request_model or "",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


DIALECT = Dialect(request, response, event, "anthropic", closing)

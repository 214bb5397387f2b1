"""Gemini's function calls that come piece by piece (``streamFunctionCallArguments``).

A call opens with its name; ``partialArgs`` then name a place in the arguments by a JSONPath
(``$.city``, ``$.stops[0].name``) and give its value, a string perhaps over several pieces.
Source: cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling.
"""

from __future__ import annotations

import re

import orjson

from milecastle.model import Json, ParseError
from milecastle.providers.answer import Answer
from milecastle.providers.typed import count, first, items, mapping, string, word

PIECES = ("partialArgs", "partial_args")
VALUES = (
    "stringValue", "string_value", "numberValue", "number_value", "boolValue", "bool_value",
)  # fmt: skip
LONGEST = 2_000
"""Longest path, characters."""
MOST = 10_000
"""Most items of one array."""
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,6})\]|\['([^']*)'\]")


def is_partial(call: dict[str, Json]) -> bool:
    """Tell whether this is a piece of a call rather than all of it."""
    return any(key in call for key in (*PIECES, "willContinue", "will_continue"))


def take(answer: Answer, call: dict[str, Json], index: int, place: str) -> None:
    """Take one piece; ``place`` is the function call's own."""
    known = answer.message(index).parts
    if name := word(call.get("name")):
        answer.notes[f"call {index}"] = {"number": len(known), "arguments": {}}
    state = mapping(answer.notes.setdefault(f"call {index}", {"number": 0, "arguments": {}}))
    number, arguments = count(state["number"]), mapping(state["arguments"])
    part = answer.open(
        number,
        "tool_call",
        f"/candidates/{index}/content/parts/{number}/functionCall/args",
        choice=index,
        name=name,
        call_id=word(call.get("id")),
        structured=True,
    )
    for key in PIECES:
        for position, each in enumerate(items(call.get(key))):
            piece = mapping(each)
            value = first(piece, *VALUES)
            put(arguments, string(first(piece, "jsonPath", "json_path")), value)
            if isinstance(value, str):
                told = next(one for one in VALUES if piece.get(one) is not None)
                answer.grow(part, value, f"{place}/{key}/{position}/{told}")
    part.chunks = [orjson.dumps(arguments).decode()]


def put(arguments: dict[str, Json], path: str, value: Json) -> None:
    """Put a value where a path says; a string goes on where one stands already."""
    if len(path) > LONGEST:
        raise ParseError(f"a path of {len(path)} characters")
    steps: list[str | int] = [
        int(number) if number else named or quoted for named, number, quoted in _STEP.findall(path)
    ]
    if not steps:
        return
    here: Json = arguments
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        before = _at(here, step)
        if following is None:
            goes_on = isinstance(before, str) and isinstance(value, str)
            _set(here, step, f"{before}{value}" if goes_on else value)
        elif not isinstance(before, (dict, list)):
            before = [] if isinstance(following, int) else {}
            _set(here, step, before)
        here = before


def _at(holder: Json, step: str | int) -> Json:
    if isinstance(holder, dict):
        return holder.get(str(step))
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return holder[step]
    return None


def _set(holder: Json, step: str | int, value: Json) -> None:
    if isinstance(holder, dict):
        holder[str(step)] = value
    elif isinstance(holder, list) and isinstance(step, int):
        if step >= MOST:
            raise ParseError(f"an array of more than {MOST} items")
        holder.extend([None] * (step + 1 - len(holder)))
        holder[step] = value

"""Replicate's output streams: server-sent events whose data is the text itself.

Source: replicate.com/docs/topics/predictions/streaming.
"""

from __future__ import annotations

from milecastle.model import Json
from milecastle.providers.answer import Answer
from milecastle.providers.dialect import Dialect
from milecastle.providers.fields import dialect
from milecastle.providers.openai_chat import read_error
from milecastle.providers.places import byte_range
from milecastle.providers.plain import FIELDS
from milecastle.providers.typed import mapping, string

_BODIES = dialect(FIELDS["replicate"])


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event: ``output`` is text, ``done`` and ``error`` are JSON."""
    if name == "output":
        text = string(value)
        place = byte_range(0, len(text.encode()))
        answer.grow(answer.open("output", "text", "/output"), text, place)
    elif name == "error":
        read_error(answer, mapping(value).get("detail") or value)
    elif name == "done":
        answer.ended = True
    else:
        _BODIES.event(answer, name, value)


def closing(answer: Answer, reason: str) -> bytes:
    """Return the reason as output, and the end."""
    lines = "\n".join(f"data: {line}" for line in reason.splitlines() or [""])
    return f"event: output\n{lines}\n\nevent: done\ndata: {{}}\n\n".encode()


DIALECT = Dialect(
    _BODIES.request, _BODIES.response, event, "detail", closing, plain_events=frozenset({"output"})
)

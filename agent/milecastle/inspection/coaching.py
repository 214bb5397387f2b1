"""The note that a coached person finds at the end of the answer, and the answers that bear one.

A note is for a person who reads prose. So there is none in an answer that a program reads: one
that calls tools, that is JSON or markup, of which several were asked for, or that did not end of
its own accord. Those people still find the reason in `milecastle tail` and in the session.
"""

from __future__ import annotations

from collections.abc import Sequence

from milecastle.model import Edit, Exchange, Message, Part
from milecastle.policy import Notice
from milecastle.providers.speaking import TALK

NATURAL = frozenset(
    {"stop", "end_turn", "STOP", "COMPLETE", "complete", "completed", "stop_sequence", "eos"}
)
"""Finish reasons of answers that are whole, as the providers call them."""
FOR_PROGRAMS = ("{", "[", '"', "<", "```")
"""How answers begin that are parsed, not read."""


def text_of(notices: Sequence[Notice]) -> str:
    """Return what is added to the answer's text."""
    told = " ".join(dict.fromkeys(notice.reason for notice in notices))
    return f"\n\n[Note from your organisation (milecastle): {told}]"


def bearing(exchange: Exchange) -> Part | None:
    """Return the part of a finished answer that a note can stand behind, None where none can."""
    if not may_bear(exchange) or len(exchange.output_messages) != 1:
        return None
    (message,) = exchange.output_messages
    if message.finish_reason not in NATURAL:
        return None
    part = last_text(message)
    if part is None or part.text.lstrip().startswith(FOR_PROGRAMS):
        return None
    return part


def may_bear(exchange: Exchange) -> bool:
    """Tell from the request whether a person is going to read the answer."""
    structured = any(tool.type == "response_format" for tool in exchange.tool_definitions)
    choices = exchange.parameters.get("choice.count", 1)
    return exchange.operation in TALK and not structured and choices == 1


def last_text(message: Message) -> Part | None:
    """Return the last part, if it is text and the message only talks."""
    if message.role != "assistant" or any(
        part.kind not in ("text", "reasoning") for part in message.parts
    ):
        return None
    part = message.parts[-1] if message.parts else None
    return part if part and part.kind == "text" and part.place and not part.leaves else None


def appended(exchange: Exchange, notices: Sequence[Notice]) -> list[Edit]:
    """Return the edit that puts the note into a whole answer; none where it can't bear one."""
    part = bearing(exchange) if notices else None
    if part is None or part.place.startswith("!"):
        return []
    return [Edit(part.place, len(part.text), len(part.text), text_of(notices))]

"""Exchange -> segments: every run of text that a detector should read, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from milecastle.model import (
    Direction,
    Exchange,
    Leaf,
    Message,
    Part,
    Provenance,
    Role,
    Segment,
    ToolDefinition,
)
from milecastle.providers.leaves import label

OFFERED_BY_SERVER = frozenset({"mcp"})
"""Formats in which tool definitions come with the answer."""
PROVENANCE_OF_ROLE: dict[Role, Provenance] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool_result",
}
PROVENANCE_OF_KIND: dict[str, Provenance] = {
    "reasoning": "reasoning",
    "tool_call": "tool_call",
    "tool_call_response": "tool_result",
    "file": "file",
    "blob": "file",
}


def segments(exchange: Exchange, direction: Direction) -> list[Segment]:
    """Return the segments of the request or of the answer, in the order of the conversation."""
    found: list[Segment] = []
    if direction == "request":
        for part in exchange.system_instructions:
            _add(found, part, "system", "")
        _add_messages(found, exchange.input_messages)
        if exchange.format not in OFFERED_BY_SERVER:
            for tool in exchange.tool_definitions:
                found += _definition(tool)
        found += _loose(exchange.unclaimed, "user", "user")
    else:
        _add_messages(found, exchange.output_messages)
        if exchange.format in OFFERED_BY_SERVER:
            for tool in exchange.tool_definitions:
                found += _definition(tool)
        found += _loose(exchange.unclaimed_output, "assistant", "web")
    return found


def _add_messages(found: list[Segment], messages: Iterable[Message]) -> None:
    names: dict[str, str] = {}
    for message in messages:
        for part in message.parts:
            if part.kind == "tool_call" and part.call_id and part.name:
                names[part.call_id] = part.name
            _add(found, part, message.role, part.name or names.get(part.call_id or "", ""))


def _add(found: list[Segment], part: Part, role: Role, tool: str) -> None:
    provenance = PROVENANCE_OF_KIND.get(part.kind) or PROVENANCE_OF_ROLE[role]
    if part.kind not in ("tool_call", "tool_call_response"):
        tool = ""
    if part.leaves:
        for leaf in part.leaves:
            key = label(leaf.place)
            found.append(Segment(leaf.text, role, provenance, leaf.place, key, tool))
    elif part.text:
        found.append(Segment(part.text, role, provenance, part.place, "", tool))
    elif part.uri:
        found.append(Segment(part.uri, role, provenance, part.place, "uri", tool))


def _definition(tool: ToolDefinition) -> Iterator[Segment]:
    for leaf in tool.leaves:
        yield Segment(
            leaf.text, "system", "tool_definition", leaf.place, label(leaf.place), tool.name
        )


def _loose(found: Iterable[Leaf], role: Role, provenance: Provenance) -> Iterator[Segment]:
    for leaf in found:
        yield Segment(leaf.text, role, provenance, leaf.place, label(leaf.place))

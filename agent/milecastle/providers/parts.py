"""Build what every format has: tool calls, links, tool definitions."""

from __future__ import annotations

import orjson

from milecastle.model import Json, ParseError, Part, Role, ToolDefinition
from milecastle.providers.leaves import is_structural, label, leaves, text_leaves
from milecastle.providers.media import blob
from milecastle.providers.typed import first, mapping, string, word

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "agent": "assistant",
    "role_user": "user",
    "role_agent": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
}
"""A provider's name of a role, in lower case. Any other speaks like a user."""


SCHEMAS = (
    "parameters",
    "input_schema",
    "inputSchema",
    "parametersJsonSchema",
    "parameter_definitions",
    "schema",
    "format",
)
"""Where the providers put a tool's schema."""


def role(value: Json) -> Role:
    """Return the role under its OTel name."""
    return ROLES.get(string(value).lower(), "user")


def rendered(value: Json) -> str:
    """Return a structured value as compact JSON text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise ParseError("JSON nested deeper than 254") from None


def call(
    arguments: Json, place: str, *, name: str | None = None, call_id: str | None = None
) -> Part:
    """Return a tool call: its arguments stand at ``place`` as JSON text or as a value."""
    if isinstance(arguments, str):
        found = text_leaves(arguments, place)
        return Part("tool_call", arguments, place, name, call_id, found)
    if arguments is None:
        return Part("tool_call", "", place, name, call_id)
    return Part("tool_call", rendered(arguments), place, name, call_id, leaves(arguments, place))


def link(url: str, place: str, *, mime_type: str | None = None, name: str | None = None) -> Part:
    """Return the part for a URL: a data URL holds the bytes, any other only names them."""
    if url[:5].lower() == "data:":
        return blob(url, place, mime_type=mime_type, name=name)
    return Part("uri", "", place, name, mime_type=mime_type, uri=url)


def definition(tool: Json, place: str, function: Json = None, kind: str = "") -> ToolDefinition:
    """Return a tool definition; ``function`` is the object that describes it, the tool itself
    where it is not given.
    """
    described = mapping(function if function is not None else tool)
    schema = first(described, *SCHEMAS)
    return ToolDefinition(
        name=word(described.get("name")) or string(mapping(tool).get("type")),
        description=string(described.get("description")),
        type=kind or word(mapping(tool).get("type")) or "function",
        parameters=""
        if schema is None
        else schema
        if isinstance(schema, str)
        else rendered(schema),
        place=place,
        leaves=tuple(
            leaf for leaf in leaves(tool, place) if not is_structural(label(leaf.place), leaf.text)
        ),
    )

"""The items of OpenAI's Responses API: what ``input`` and ``output`` lists are made of.

Items are told apart by ``type``. Most are a call of some tool or what it gave back, so two tables
name the fields; the same item may hold both. Source: OpenAI's API reference, Responses.
"""

from __future__ import annotations

from collections.abc import Mapping

from milecastle.model import Json, Part, Role
from milecastle.providers.blocks import read_block, read_content, read_result
from milecastle.providers.media import blob
from milecastle.providers.parts import call, role
from milecastle.providers.typed import first, string, word

CALLS: Mapping[str, str] = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "mcp_call": "arguments",
    "mcp_approval_request": "arguments",
    "web_search_call": "action",
    "file_search_call": "queries",
    "code_interpreter_call": "code",
    "computer_call": "action",
    "local_shell_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
    "image_generation_call": "revised_prompt",
    "tool_search_call": "arguments",
    "program": "code",
}
"""Type of item -> the field that holds what the tool is told."""

RESULTS: Mapping[str, str] = {
    "function_call_output": "output",
    "custom_tool_call_output": "output",
    "computer_call_output": "output",
    "local_shell_call_output": "output",
    "shell_call_output": "output",
    "apply_patch_call_output": "output",
    "mcp_approval_response": "reason",
    "mcp_call": "output",
    "program_output": "result",
    "mcp_list_tools": "tools",
    "tool_search_output": "tools",
    "file_search_call": "results",
    "code_interpreter_call": "outputs",
}
"""Type of item -> the field that holds what came back."""

ASSISTANT = frozenset({*CALLS, "reasoning", "mcp_list_tools", "compaction"})
"""Items that the model's side says."""


def speaker(item: dict[str, Json]) -> Role:
    """Return who says an item."""
    kind = item.get("type")
    if kind in ASSISTANT:
        return "assistant"
    if isinstance(kind, str) and kind in RESULTS:
        return "tool"
    return role(item.get("role"))


def read_item(item: dict[str, Json], place: str) -> list[Part]:
    """Return the parts of one item; none where nobody knows it."""
    kind = item.get("type")
    if kind is None or kind == "message":
        return read_content(item.get("content"), f"{place}/content")
    if not isinstance(kind, str):
        return []
    if kind == "reasoning":
        return _reasoning(item, place)
    parts: list[Part] = []
    identifier = word(first(item, "call_id", "id"))
    name = word(item.get("name")) or kind.removesuffix("_output").removesuffix("_call")
    if (key := CALLS.get(kind)) is not None:
        key = "actions" if key == "action" and "actions" in item else key  # a computer's, in one go
        parts.append(call(item.get(key), f"{place}/{key}", name=name, call_id=identifier))
    if (key := RESULTS.get(kind)) is not None and item.get(key) is not None:
        value = item[key]
        if isinstance(value, dict):  # a screenshot, an exit code
            value_parts = read_content(value, f"{place}/{key}")
            parts += value_parts or read_result(value, f"{place}/{key}", call_id=identifier)
        else:
            name_of_result = name if kind in CALLS else None
            parts += read_result(value, f"{place}/{key}", name=name_of_result, call_id=identifier)
    if kind == "image_generation_call" and (data := string(item.get("result"))):
        parts.append(blob(data, f"{place}/result", mime_type="image/png"))
    if kind not in CALLS and kind not in RESULTS:  # content blocks straight in the list
        parts += read_block(item, place)
    return parts


def _reasoning(item: dict[str, Json], place: str) -> list[Part]:
    parts = read_content(item.get("summary"), f"{place}/summary", "reasoning")
    parts += read_content(item.get("content"), f"{place}/content", "reasoning")
    return [Part("reasoning", part.text, part.place) for part in parts if part.text]

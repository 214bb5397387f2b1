"""MCP over HTTP: JSON-RPC 2.0 as JSON or SSE, revisions 2024-11-05 to 2026-07-28; A2A beside it.

A client's ``tools/call`` is a tool call, what the server answers is a tool result; a server's
``tools/list`` is a list of tool definitions, and a server may itself ask (``sampling``,
``elicitation``). Source: modelcontextprotocol.io/specification, a2a-protocol.org.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson

from milecastle.model import Json, Part
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_block, read_content
from milecastle.providers.dialect import Dialect
from milecastle.providers.leaves import leaves
from milecastle.providers.parts import call, definition, rendered, role
from milecastle.providers.typed import items, mapping, string, word

METHODS = frozenset(
    {
        "initialize",
        "ping",
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "server/discover",
        "tasks/get",
        "tasks/list",
        "tasks/cancel",
        "tasks/result",
        "subscriptions/listen",
        "message/send",
        "message/stream",
        "agent/getAuthenticatedExtendedCard",
        # A2A 1.0 has names of its own
        "SendMessage",
        "SendStreamingMessage",
        "GetTask",
        "ListTasks",
        "CancelTask",
        "SubscribeToTask",
        "GetExtendedAgentCard",
    }
)
"""Methods of MCP and A2A. ``notifications/...`` belong to MCP too."""

OPERATIONS: Mapping[str, str] = {
    "tools/call": "execute_tool",
    "tools/list": "list_tools",
    "message/send": "invoke_agent",
    "message/stream": "invoke_agent",
    "SendMessage": "invoke_agent",
    "SendStreamingMessage": "invoke_agent",
}


def is_method(method: Json) -> bool:
    """Tell whether a JSON-RPC method is one of MCP or A2A."""
    return isinstance(method, str) and (method in METHODS or method.startswith("notifications/"))


def request(ask: Ask) -> None:
    """Read one JSON-RPC message, or a batch (revision 2025-03-26)."""
    messages = items(ask.document) if isinstance(ask.document, list) else [ask.document]
    prefix = isinstance(ask.document, list)
    for index, message in enumerate(messages):
        place = f"/{index}" if prefix else ""
        told = mapping(message)
        method, params = string(told.get("method")), mapping(told.get("params"))
        here = f"{place}/params"
        if reader := ASKS.get(method):
            reader(ask, params, here)
        elif "result" in told:  # a client answers what the server asked
            result = mapping(told["result"])
            parts = read_content(result.get("content"), f"{place}/result/content")
            ask.say(role(result.get("role") or "user"), parts)
    meta = mapping(mapping(ask.body.get("params")).get("_meta"))
    ask.conversation = ask.conversation or word(meta.get("sessionId"))


def _tool(ask: Ask, params: dict[str, Json], place: str) -> None:
    name = word(params.get("name"))
    ask.say("assistant", [call(params.get("arguments"), f"{place}/arguments", name=name)])


def _prompt(ask: Ask, params: dict[str, Json], place: str) -> None:
    found = leaves(params.get("arguments"), f"{place}/arguments")
    ask.say("user", [Part("text", leaf.text, leaf.place) for leaf in found])


def _resource(ask: Ask, params: dict[str, Json], place: str) -> None:
    if uri := string(params.get("uri")):
        ask.say("assistant", [Part("uri", "", f"{place}/uri", uri=uri)])


def _agent_message(ask: Ask, params: dict[str, Json], place: str) -> None:
    told = mapping(params.get("message"))
    ask.conversation = word(told.get("contextId"))
    parts = agent_parts(told.get("parts"), f"{place}/message/parts")
    ask.say(role(told.get("role")), parts)


def agent_parts(value: Json, place: str) -> list[Part]:
    """Return the parts of an A2A message: ``kind`` text, file or data."""
    found: list[Part] = []
    for index, each in enumerate(items(value)):
        told, here = mapping(each), f"{place}/{index}"
        data = told.get("data")
        if isinstance(data, (dict, list)):
            rendering = rendered(data)
            found.append(
                Part("text", rendering, f"{here}/data", leaves=leaves(data, f"{here}/data"))
            )
        else:
            found += read_block(told, here)
    return found


ASKS: Mapping[str, Callable[[Ask, dict[str, Json], str], None]] = {
    "tools/call": _tool,
    "prompts/get": _prompt,
    "resources/read": _resource,
    "message/send": _agent_message,
    "message/stream": _agent_message,
    "SendMessage": _agent_message,
    "SendStreamingMessage": _agent_message,
}


# --- answers -----------------------------------------------------------------------------------


def response(answer: Answer, document: Json) -> None:
    """Read one answer, or a batch."""
    if isinstance(document, list):
        for index, each in enumerate(document):
            _take(answer, mapping(each), f"/{index}")
    else:
        _take(answer, mapping(document), "")
    answer.leave_over(document)


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one message of an SSE stream: an answer, a notification or a server's request."""
    _take(answer, mapping(value), "")


def _take(answer: Answer, message: dict[str, Json], place: str) -> None:
    if isinstance(error := message.get("error"), dict):
        answer.fail(str(error.get("code") or "error"), error.get("message"))
    result = mapping(message.get("result"))
    here = f"{place}/result"
    parts: list[Part] = []
    if "content" in result:
        if "role" in result:
            parts += read_content(result["content"], f"{here}/content")
        else:
            parts += _tool_result(result, here)
    for index, tool in enumerate(items(result.get("tools"))):
        answer.tools.append(definition(tool, f"{here}/tools/{index}"))
    for index, content in enumerate(items(result.get("contents"))):
        resource: dict[str, Json] = {"type": "resource", "resource": content}
        for part in read_block(resource, ""):
            final = f"{here}/contents/{index}{part.place.removeprefix('/resource')}"
            parts.append(replace(part, place=final))
    for index, told in enumerate(items(result.get("messages"))):
        inner = mapping(told)
        parts += read_content(inner.get("content"), f"{here}/messages/{index}/content")
    params = mapping(message.get("params"))
    if message.get("method") == "sampling/createMessage":
        parts += read_content(params.get("systemPrompt"), f"{place}/params/systemPrompt")
        for index, told in enumerate(items(params.get("messages"))):
            inner = mapping(told)
            parts += read_content(inner.get("content"), f"{place}/params/messages/{index}/content")
    parts += _of_agent(result, here)
    for key in ("task", "statusUpdate", "artifactUpdate"):  # A2A 1.0 wraps what it answers
        parts += _of_agent(mapping(result.get(key)), f"{here}/{key}")
    for part in parts:
        number = answer.notes.get("number", 0)
        number = number if isinstance(number, int) else 0
        answer.notes["number"] = number + 1
        answer.put(number, part)


def _of_agent(result: dict[str, Json], place: str) -> list[Part]:
    """Return what an agent says: a message, a task's status and its artifacts."""
    parts: list[Part] = []
    for holder, held in ((result, place), (mapping(result.get("status")), f"{place}/status")):
        parts += agent_parts(holder.get("parts"), f"{held}/parts")
        inner = mapping(holder.get("message"))
        parts += agent_parts(inner.get("parts"), f"{held}/message/parts")
    made = [
        (each, f"{place}/artifacts/{n}") for n, each in enumerate(items(result.get("artifacts")))
    ]
    for artifact, here in [*made, (result.get("artifact"), f"{place}/artifact")]:
        parts += agent_parts(mapping(artifact).get("parts"), f"{here}/parts")
    return parts


def _tool_result(result: dict[str, Json], place: str) -> list[Part]:
    """Return a tool's result: content blocks as one response part each, structured content too."""
    found: list[Part] = []
    for part in read_content(result.get("content"), f"{place}/content"):
        if part.kind == "text":
            found.append(Part("tool_call_response", part.text, part.place))
        else:
            found.append(part)
    structured = result.get("structuredContent")
    if isinstance(structured, (dict, list)):
        here = f"{place}/structuredContent"
        found.append(
            Part("tool_call_response", rendered(structured), here, leaves=leaves(structured, here))
        )
    return found


def closing(answer: Answer, reason: str) -> bytes:
    """Return an error event, without knowing which call it answers."""
    error: Json = {"code": -32000, "message": reason}
    body = orjson.dumps({"jsonrpc": "2.0", "id": answer.notes.get("call"), "error": error})
    return b"event: message\ndata: " + body + b"\n\n"


DIALECT = Dialect(request, response, event, "json-rpc", closing)

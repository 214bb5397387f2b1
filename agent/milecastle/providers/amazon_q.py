"""Amazon Q Developer and Kiro: one conversation state in, an event stream out.

Source: AWS's published models of CodeWhispererStreaming (aws-toolkits, Apache-2.0), fields only.
"""

from __future__ import annotations

from milecastle.model import Json, Part
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.bedrock_converse import read_error
from milecastle.providers.blocks import read_result
from milecastle.providers.dialect import Dialect
from milecastle.providers.leaves import leaves
from milecastle.providers.parts import call
from milecastle.providers.typed import items, mapping, string, word

STATE = "/conversationState"


def request(ask: Ask) -> None:
    """Read history, the current message, tools and tool results."""
    state = mapping(ask.body.get("conversationState"))
    ask.conversation = word(state.get("conversationId"))
    for index, turn in enumerate(items(state.get("history"))):
        _turn(ask, mapping(turn), f"{STATE}/history/{index}")
    _turn(ask, mapping(state.get("currentMessage")), f"{STATE}/currentMessage")


def _turn(ask: Ask, turn: dict[str, Json], place: str) -> None:
    user, here = mapping(turn.get("userInputMessage")), f"{place}/userInputMessage"
    if user:
        ask.model = word(user.get("modelId")) or ask.model
        context, where = (
            mapping(user.get("userInputMessageContext")),
            (f"{here}/userInputMessageContext"),
        )
        for index, each in enumerate(items(context.get("toolResults"))):
            told = mapping(each)
            results = f"{where}/toolResults/{index}/content"
            identifier = word(told.get("toolUseId"))
            ask.say("tool", read_result(told.get("content"), results, call_id=identifier))
        for index, tool in enumerate(items(context.get("tools"))):
            described = mapping(mapping(tool).get("toolSpecification"))
            schema = mapping(described.get("inputSchema")).get("json")
            shown: Json = {**described, "inputSchema": schema}
            ask.offer(tool, f"{where}/tools/{index}", shown, "function")
        if text := string(user.get("content")):
            ask.say("user", [Part("text", text, f"{here}/content")])
        for key in ("editorState", "envState", "shellState", "additionalContext"):
            found = leaves(context.get(key), f"{where}/{key}")
            ask.say("user", [Part("file", leaf.text, leaf.place) for leaf in found])
    told, here = mapping(turn.get("assistantResponseMessage")), f"{place}/assistantResponseMessage"
    parts: list[Part] = []
    if text := string(told.get("content")):
        parts.append(Part("text", text, f"{here}/content"))
    for index, use in enumerate(items(told.get("toolUses"))):
        made = mapping(use)
        name, identifier = word(made.get("name")), word(made.get("toolUseId"))
        parts.append(
            call(made.get("input"), f"{here}/toolUses/{index}/input", name=name, call_id=identifier)
        )
    ask.say("assistant", parts)


def response(answer: Answer, document: Json) -> None:
    """Read an error: every other answer is a stream."""
    read_error(answer, mapping(document))
    answer.leave_over(document)


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event."""
    body = mapping(value)
    if name in ("assistantResponseEvent", "codeEvent"):
        answer.model = word(body.get("modelId")) or answer.model
        part = answer.open("content", "text", "/content")
        answer.grow(part, string(body.get("content")), "/content")
    elif name == "reasoningContentEvent":
        part = answer.open("reasoning", "reasoning", "/text")
        answer.grow(part, string(body.get("text")), "/text")
    elif name == "toolUseEvent":
        identifier = word(body.get("toolUseId"))
        part = answer.open(
            identifier,
            "tool_call",
            "/input",
            name=word(body.get("name")),
            call_id=identifier,
            structured=True,
        )
        answer.grow(part, string(body.get("input")), "/input")
    elif name.lower().endswith(("exception", "error")):
        answer.fail(name, body.get("message"))
    elif name == "messageMetadataEvent":
        answer.conversation = word(body.get("conversationId"))
    else:
        answer.tell_rest(value)


DIALECT = Dialect(request, response, event, "aws")

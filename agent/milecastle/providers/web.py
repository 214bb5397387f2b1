"""The web interfaces of chat services: what the person wrote, and what was answered.

None of these is documented and all change without notice; fields are as seen by third-party
clients in 2025 and 2026. What has moved since is still found as unclaimed text. Two of them
(ChatGPT, DeepSeek) stream patches: ``p`` a path, ``o`` an operation, ``v`` a value, each left out
where it is the last one again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import orjson

from milecastle.model import Json, Part, PartKind
from milecastle.providers import anthropic, openai_chat
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.fields import Fields, dialect, read_request, read_response, said
from milecastle.providers.leaves import unclaimed
from milecastle.providers.parts import role
from milecastle.providers.typed import items, mapping, string, word

# --- ChatGPT, DeepSeek: patches --------------------------------------------------------------

CONTENT: tuple[tuple[str, PartKind], ...] = (
    ("/message/content/parts/", "text"),
    ("/message/content/text", "text"),
    ("/message/content/thoughts", "reasoning"),
    ("thinking_content", "reasoning"),
    ("response/content", "text"),
    ("response/fragments", "text"),
)
"""Part of a patch's path -> kind of the part that grows by it."""


def chatgpt_request(ask: Ask) -> None:
    """Read the messages of a conversation."""
    ask.conversation = word(ask.body.get("conversation_id"))
    ask.stream = True
    for index, message in enumerate(items(ask.body.get("messages"))):
        told = mapping(message)
        speaker = role(mapping(told.get("author")).get("role"))
        content, place = mapping(told.get("content")), f"/messages/{index}/content"
        parts = said(content.get("parts"), f"{place}/parts")
        parts += said(content.get("text"), f"{place}/text")
        ask.say(speaker, parts)


def patch_event(answer: Answer, name: str, value: Json) -> None:
    """Take one event: a patch, a list of patches, a whole message, or an older full message."""
    body = mapping(value)
    if isinstance(error := body.get("error"), (str, dict)):
        openai_chat.read_error(answer, error)
    if "v" in body or "o" in body:
        _patch(answer, body, "")
    elif isinstance(message := body.get("message"), dict):
        _whole(answer, message, "/message")
    elif "choices" in body:
        openai_chat.event(answer, name, value)
    else:
        answer.conversation = word(body.get("conversation_id")) or answer.conversation
        answer.tell_rest(value)


def _patch(answer: Answer, patch: dict[str, Json], place: str) -> None:
    path = string(patch["p"]) if "p" in patch else string(answer.notes.get("p"))
    operation = string(patch["o"]) if "o" in patch else string(answer.notes.get("o"))
    answer.notes["p"], answer.notes["o"] = path, operation
    value, here = patch.get("v"), f"{place}/v"
    if isinstance(value, list) and operation.lower() in ("patch", "batch", ""):
        for index, each in enumerate(value):
            if isinstance(each, dict):
                _patch(answer, _below(each, path, operation), f"{here}/{index}")
        return
    if isinstance(value, dict):
        message = value.get("message") or value.get("response")
        if isinstance(message, dict):
            answer.conversation = word(value.get("conversation_id")) or answer.conversation
            inner = "message" if "message" in value else "response"
            _whole(answer, message, f"{here}/{inner}")
            return
    if isinstance(value, str):
        kind = next((kind for part, kind in CONTENT if part in path), None)
        if kind is not None and operation.lower() in ("append", "add", ""):
            part = answer.open(path, kind, "/" + path.lstrip("/"))
            answer.grow(part, value, here)
            return
    answer.tell_rest(value, here)


def _below(patch: dict[str, Json], path: str, operation: str) -> dict[str, Json]:
    """Return a patch of a batch: DeepSeek's paths are relative to the batch's own."""
    inner = patch.get("p")
    if isinstance(inner, str) and not inner.startswith("/") and path:
        return {**patch, "p": f"{path}/{inner}"}
    return patch


def _whole(answer: Answer, message: dict[str, Json], place: str) -> None:
    """Take a message as it stands; what it repeats of a part that grew adds nothing."""
    metadata = mapping(message.get("metadata"))
    answer.model = word(metadata.get("model_slug")) or word(message.get("model")) or answer.model
    answer.response_id = word(message.get("id")) or answer.response_id
    author = mapping(message.get("author")).get("role")
    for leaf in unclaimed(message.get("content"), ()):
        here = f"{place}/content{leaf.place}"
        key = f"/message/content{leaf.place}"
        if author in ("user", "system", "tool"):
            answer.repeat("text", leaf.text, here)
            continue
        part = answer.open(key, "text", key)
        told = "".join(part.chunks)
        if leaf.text.startswith(told) and leaf.text != told:
            if told:
                answer.repeat("text", leaf.text, here, part)
                part.chunks.append(leaf.text[len(told) :])
            else:
                answer.grow(part, leaf.text, here)
        else:
            answer.repeat("text", leaf.text, here, part)


def _closing(answer: Answer, reason: str) -> bytes:
    patch = {"p": "/message/content/parts/0", "o": "append", "v": f"\n\n{reason}"}
    return b"event: delta\ndata: " + orjson.dumps(patch) + b"\n\ndata: [DONE]\n\n"


def chatgpt_response(answer: Answer, document: Json) -> None:
    """Read an answer that is one document: an error, or a conversation with its messages."""
    body = mapping(document)
    if (detail := body.get("detail")) is not None:
        openai_chat.read_error(answer, detail)
    for name, node in mapping(body.get("mapping")).items():
        message = mapping(mapping(node).get("message"))
        content = mapping(message.get("content"))
        place = f"/mapping/{name}/message/content/parts"
        for part in said(content.get("parts"), place):
            number = len(answer.messages)
            answer.message(number, role(mapping(message.get("author")).get("role")))
            answer.put(part.place, part, choice=number)
    answer.leave_over(document)


# --- the rest ----------------------------------------------------------------------------------

CLAUDE = Fields(
    asks=("prompt", "text"),
    media=("images",),
    conversations=("conversation_uuid",),
    error="anthropic",
)


def claude_request(ask: Ask) -> None:
    """Read the prompt and the text of what was attached."""
    read_request(ask, CLAUDE)
    ask.stream = True
    for index, attached in enumerate(items(ask.body.get("attachments"))):
        told = mapping(attached)
        if text := string(told.get("extracted_content")):
            place = f"/attachments/{index}/extracted_content"
            name = word(told.get("file_name"))
            ask.say("user", [Part("file", text, place, name=name)])
    for index, tool in enumerate(items(ask.body.get("tools"))):
        ask.offer(tool, f"/tools/{index}")


def claude_response(answer: Answer, document: Json) -> None:
    """Read an error, or a conversation."""
    read_response(answer, document, CLAUDE)


PERPLEXITY = Fields(
    asks=("query_str", "params/query_str", "params/dsl_query"),
    grows=("delta",),
    repeats=("text", "blocks/*/markdown_block/answer", "blocks/*/markdown_block/chunks"),
    conversations=("params/frontend_context_uuid",),
    models=("params/model_preference", "display_model"),
)
GROK = Fields(
    asks=("message", "query", "responses/*/message"),
    answers=("result/response/modelResponse/message", "result/message"),
    grows=("result/response/token", "result/token"),
    repeats=("result/response/modelResponse/message", "result/modelResponse/message"),
    models=("modelName", "grokModelOptionId", "result/response/modelResponse/model"),
    conversations=("conversationId",),
)
HUGGINGCHAT = Fields(
    asks=("inputs", "preprompt"), grows=("token",), repeats=("text",), models=("model",)
)
DUCK = Fields(asks=(), messages=("messages",), grows=("message",))
COPILOT = Fields(
    asks=("content", "text", "arguments/*/message/text"),
    grows=("text",),
    repeats=("arguments/*/messages/*/text", "item/messages/*/text"),
    conversations=("conversationId",),
)

DIALECTS: Mapping[str, Dialect] = {
    "chatgpt-web": Dialect(chatgpt_request, chatgpt_response, patch_event, "detail", _closing),
    "deepseek-web": Dialect(
        dialect(Fields(asks=("prompt",), conversations=("chat_session_id",))).request,
        chatgpt_response,
        patch_event,
        "detail",
        _closing,
    ),
    "claude-web": Dialect(
        claude_request, claude_response, anthropic.event, "anthropic", anthropic.closing
    ),
    "perplexity-web": dialect(PERPLEXITY),
    "grok-web": dialect(GROK),
    "huggingchat-web": dialect(HUGGINGCHAT),
    "duckchat-web": dialect(DUCK),
    "copilot-web": replace(dialect(COPILOT), socket=True),
}

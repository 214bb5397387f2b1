"""What a body says of its wire format by its shape: where no path did, or where one needs proof."""

from __future__ import annotations

from collections.abc import Mapping

from milecastle.model import Json, ParseError, RequestHead
from milecastle.providers import mcp
from milecastle.providers.document import read_lenient
from milecastle.providers.typed import items, mapping

HAS: Mapping[str, tuple[str, ...]] = {
    "openai-chat": ("messages",),
    "openai-responses": ("model", "input"),
    "openai-completions": ("prompt",),
    "openai-embeddings": ("input",),
    "openai-moderations": ("input",),
    "openai-images": ("prompt",),
    "anthropic-messages": ("messages", "max_tokens"),
    "gemini": (),
    "bedrock-converse": (),
    "bedrock-invoke": (),
    "sagemaker": (),
    "cohere-chat": ("messages",),
    "cohere-embed": ("model",),
    "cohere-chat-v1": ("message", "model"),
    "ollama": ("model",),
    "rerank": ("query", "documents"),
}
"""Format -> keys that a request at a host of no catalogue must have, beside the format's path.
A format that is not here is believed at hosts of the catalogue only."""


def convinces(wire: str, body: bytes | None) -> bool:
    """Tell whether a body proves the format that a path suggests."""
    keys = HAS.get(wire)
    if keys is None or not body:
        return False
    try:
        value = mapping(read_lenient(body))
    except ParseError:
        return False
    return bool(value) and all(key in value for key in keys)


def document(body: bytes) -> Json:
    """Return the body as JSON, or None where it is none."""
    if body.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return read_lenient(body)
    except ParseError:
        return None


def of_value(value: dict[str, Json], head: RequestHead) -> tuple[str, str] | None:
    """Return format and operation by the keys of a request that can hardly be anything else."""
    if value.get("jsonrpc") == "2.0":
        return _json_rpc(value, head)
    modelled = isinstance(value.get("model"), str)
    turn = mapping(next(iter(items(value.get("messages"))), None))
    if "role" in turn and "content" in turn:
        return _messages(value, turn, head, modelled=modelled)
    content = mapping(next(iter(items(value.get("contents"))), None))
    if "parts" in content or "contents" in mapping(value.get("request")):
        return "gemini", "generate_content"
    if not modelled:
        return None
    if isinstance(value.get("input"), list):
        inner = mapping(next(iter(items(value["input"])), None))
        if "role" in inner or "type" in inner:
            return "openai-responses", "chat"
    if "input" in value and "instructions" in value:
        return "openai-responses", "chat"
    if "query" in value and "documents" in value:
        return "rerank", "rerank"
    if isinstance(value.get("prompt"), str) and "max_tokens" in value:
        return "openai-completions", "text_completion"
    return None


def _messages(
    value: dict[str, Json], turn: dict[str, Json], head: RequestHead, *, modelled: bool
) -> tuple[str, str] | None:
    block = mapping(next(iter(items(turn.get("content"))), None))
    if "anthropic-version" in head.headers or "anthropic_version" in value:
        return "anthropic-messages", "chat"
    if "inferenceConfig" in value or (block and "type" not in block and "text" in block):
        return "bedrock-converse", "chat"
    if not modelled:
        return None
    if "system" in value and "max_tokens" in value:
        return "anthropic-messages", "chat"
    return "openai-chat", "chat"


def _json_rpc(value: dict[str, Json], head: RequestHead) -> tuple[str, str] | None:
    method = value.get("method")
    told = any(name in head.headers for name in ("mcp-session-id", "mcp-protocol-version"))
    if mcp.is_method(method):
        return "mcp", mcp.OPERATIONS.get(str(method), str(method))
    return ("mcp", str(method or "answer")[:60]) if told else None

"""What a body's shape says of its wire format, where no path did."""

from __future__ import annotations

from milecastle.model import Json, ParseError, RequestHead
from milecastle.providers.document import read_lenient
from milecastle.providers.typed import items, mapping


def by_shape(head: RequestHead, body: bytes) -> tuple[str, str] | None:
    """Return format and operation of a JSON body that can hardly be anything else."""
    if body.lstrip()[:1] != b"{":
        return None
    try:
        value = mapping(read_lenient(body))
    except ParseError:
        return None
    return of_value(value, head)


def of_value(value: dict[str, Json], head: RequestHead) -> tuple[str, str] | None:
    """Return format and operation by the keys of a request."""
    first = mapping(next(iter(items(value.get("messages"))), None))
    if "role" in first and isinstance(value.get("model"), str):
        if "anthropic-version" in head.headers or ("system" in value and "max_tokens" in value):
            return "anthropic-messages", "chat"
        return "openai-chat", "chat"
    if isinstance(value.get("model"), str) and isinstance(value.get("input"), list):
        inner = mapping(next(iter(items(value["input"])), None))
        if "role" in inner or "type" in inner:
            return "openai-responses", "chat"
    return None

"""Every wire format by name: one row each."""

from __future__ import annotations

from collections.abc import Mapping

from milecastle.providers import anthropic, openai_chat, openai_responses, unknown
from milecastle.providers.dialect import Dialect

DIALECTS: Mapping[str, Dialect] = {
    "openai-chat": openai_chat.DIALECT,
    "openai-responses": openai_responses.DIALECT,
    "anthropic-messages": anthropic.DIALECT,
    "unknown": unknown.DIALECT,
}


def dialect(name: str) -> Dialect:
    """Return the dialect of a format; what has none is read as unknown."""
    return DIALECTS.get(name, unknown.DIALECT)

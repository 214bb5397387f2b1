"""Every wire format by name: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from milecastle.providers import (
    amazon_q,
    anthropic,
    anthropic_batches,
    bedrock_converse,
    bedrock_invoke,
    cohere,
    gemini,
    gemini_interactions,
    gemini_live,
    mcp,
    mistral_conversations,
    ollama,
    openai_assistants,
    openai_chat,
    openai_live,
    openai_realtime,
    openai_responses,
    plain,
    replicate_stream,
    unknown,
    web,
)
from milecastle.providers.dialect import Dialect
from milecastle.providers.fields import dialect as dialect_of_fields

DIALECTS: Mapping[str, Dialect] = {
    "openai-chat": openai_chat.DIALECT,
    "openai-responses": openai_responses.DIALECT,
    "openai-realtime": openai_realtime.DIALECT,
    "openai-live": openai_live.DIALECT,
    "openai-responses-socket": openai_realtime.DIALECT,
    "openai-assistants": openai_assistants.DIALECT,
    "openai-files": unknown.DIALECT,
    "openai-traces": unknown.DIALECT,
    "anthropic-messages": anthropic.DIALECT,
    "anthropic-batches": anthropic_batches.DIALECT,
    "gemini": gemini.DIALECT,
    "gemini-interactions": gemini_interactions.DIALECT,
    "gemini-live": gemini_live.DIALECT,
    "mistral-conversations": mistral_conversations.DIALECT,
    "bedrock-converse": bedrock_converse.DIALECT,
    "bedrock-invoke": bedrock_invoke.DIALECT,
    "amazon-q": amazon_q.DIALECT,
    "cohere-chat": cohere.DIALECT,
    "cohere-chat-v1": cohere.DIALECT,
    "ollama": ollama.DIALECT,
    "mcp": mcp.DIALECT,
    "replicate-stream": replicate_stream.DIALECT,
    "connect": replace(unknown.DIALECT, error="connect"),
    "gemini-web": unknown.DIALECT,
    "unknown": unknown.DIALECT,
    "unknown-socket": replace(unknown.DIALECT, socket=True),
    **web.DIALECTS,
    **{name: dialect_of_fields(fields) for name, fields in plain.FIELDS.items()},
    "bedrock-agent": replace(
        dialect_of_fields(plain.FIELDS["bedrock-agent"]), plain_events=frozenset({"chunk"})
    ),
}


def dialect(name: str) -> Dialect:
    """Return the dialect of a format; what has none is read as unknown."""
    return DIALECTS.get(name, unknown.DIALECT)

"""What recognition answers: which wire format a request speaks, and for whom."""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.model import Json


@dataclass(frozen=True, slots=True)
class Format:
    """A recognised wire format, with what the request's path and head already say."""

    name: str
    """``openai-chat``, ``anthropic-messages``, ...: a row of dialects.DIALECTS."""
    operation: str
    """``gen_ai.operation.name``."""
    provider: str
    """``gen_ai.provider.name``."""
    model: str | None = None
    """The model that the path names (Azure deployment, Bedrock, Gemini)."""
    conversation: str | None = None
    """The thread, session or conversation that path or headers name."""
    streams: bool = False
    """The path or the headers ask for a stream, whatever the body says."""
    call: Json = None
    """The JSON-RPC id that an answer has to repeat."""
    query: tuple[tuple[str, str], ...] = ()
    """The path's query, decoded."""

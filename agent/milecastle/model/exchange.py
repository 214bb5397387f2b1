"""What was said: one request to a model and its answer.

Messages follow the OpenTelemetry GenAI semantic conventions (parts ``text``, ``reasoning``,
``tool_call``, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from milecastle.model.problems import Json

type Role = Literal["system", "developer", "user", "assistant", "tool"]
type PartKind = Literal[
    "text", "reasoning", "tool_call", "tool_call_response", "blob", "uri", "file"
]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One string inside a structured value, with its own place."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a message (OTel GenAI message part).

    ``place`` is a JSON Pointer (RFC 6901) into the body; ``#`` enters a JSON document that is
    itself held in a string: ``/messages/1/tool_calls/0/function/arguments#/command``.
    """

    kind: PartKind
    text: str = ""
    """text and reasoning: the content; tool_call: its arguments as JSON text;
    tool_call_response: the result as text."""
    place: str = ""
    name: str | None = None
    """tool_call: the tool's name; file: the file's name."""
    call_id: str | None = None
    leaves: tuple[Leaf, ...] = ()
    """Where ``text`` is a rendering of a structured value: its strings. Empty where ``text`` is
    exactly the string at ``place``."""
    mime_type: str | None = None
    uri: str | None = None
    size: int | None = None
    """blob and file: length in bytes, decoded."""
    digest: str | None = None
    """blob and file: SHA-256, hexadecimal."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool offered to the model."""

    name: str
    description: str = ""
    type: str = "function"
    parameters: str = ""
    """The JSON schema, as JSON text."""
    place: str = ""
    leaves: tuple[Leaf, ...] = ()
    """Every string of the definition that a model may read, with its own place."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider billed them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def total(self) -> int | None:
        """Tokens asked and answered; None where neither is told."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of an HTTP request, as far as recognition needs it."""

    method: str
    host: str
    path: str
    """Path and query, undecoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a model and its answer, whatever the provider's wire format."""

    format: str
    """The wire format that was recognised: ``openai-chat``, ``anthropic-messages``, ..."""
    operation: str
    """``gen_ai.operation.name``: chat, text_completion, embeddings, ..."""
    provider: str
    """``gen_ai.provider.name``: openai, anthropic, aws.bedrock, ..."""
    request_model: str | None = None
    response_model: str | None = None
    system_instructions: tuple[Part, ...] = ()
    input_messages: tuple[Message, ...] = ()
    output_messages: tuple[Message, ...] = ()
    tool_definitions: tuple[ToolDefinition, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    """Request parameters under their gen_ai.request.* short names: max_tokens, temperature."""
    finish_reasons: tuple[str, ...] = ()
    usage: Usage = Usage()
    response_id: str | None = None
    conversation_id: str | None = None
    stream: bool = False
    error: str | None = None
    """The provider's own error type, where it answered with one."""
    unclaimed: tuple[Leaf, ...] = ()
    """Strings of the request that no message, instruction or tool definition holds: metadata,
    names, fields that the format does not know. They are inspected like user text."""
    unclaimed_output: tuple[Leaf, ...] = ()
    """The same of the answer, prose only."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``start:end`` (code points) of the decoded string at ``place``."""

    place: str
    start: int
    end: int
    replacement: str


type Attributes = dict[str, Any]
"""OpenTelemetry attributes: JSON-able values under dotted names."""

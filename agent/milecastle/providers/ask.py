"""A request while it is read: what the dialects fill in, and how it becomes an Exchange."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from milecastle.model import (
    Exchange,
    Json,
    Leaf,
    Message,
    Part,
    Role,
    ToolDefinition,
)
from milecastle.providers import leaves, parts
from milecastle.providers.format import Format
from milecastle.providers.typed import first, mapping, word

PARAMETERS: dict[str, str] = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_tokens_to_sample": "max_tokens",
    "maxOutputTokens": "max_tokens",
    "maxTokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "maximum_tokens": "max_tokens",
    "max_gen_len": "max_tokens",
    "maxTokenCount": "max_tokens",
    "num_predict": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "topP": "top_p",
    "p": "top_p",
    "top_k": "top_k",
    "topK": "top_k",
    "k": "top_k",
    "seed": "seed",
    "random_seed": "seed",
    "stop": "stop_sequences",
    "stop_sequences": "stop_sequences",
    "stopSequences": "stop_sequences",
    "n": "choice.count",
    "candidateCount": "choice.count",
    "frequency_penalty": "frequency_penalty",
    "frequencyPenalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "presencePenalty": "presence_penalty",
    "encoding_format": "encoding_formats",
}
"""A provider's name -> the short name under ``gen_ai.request.``."""

MODELS = ("model", "model_id", "modelId", "model_name", "modelName")
RESULT = "tool_call_response"
_NAMES = frozenset(PARAMETERS)


@dataclass(slots=True)
class Ask:
    """A request as its dialect understands it; filled in, then frozen into an Exchange."""

    format: Format
    document: Json
    """The whole body as JSON; None where it is none."""
    raw: bytes = b""
    model: str | None = None
    stream: bool = False
    conversation: str | None = None
    operation: str = ""
    system: list[Part] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    tools: list[ToolDefinition] = field(default_factory=list)
    parameters: dict[str, Json] = field(default_factory=dict)
    found: list[Leaf] = field(default_factory=list)
    """Strings that the dialect found beside the messages, in bodies that are not one document."""
    claimed: set[str] = field(default_factory=set)
    """Places that hold nothing to inspect, beyond those of parts."""

    @property
    def body(self) -> dict[str, Json]:
        """The body where it is an object, else an empty one."""
        return mapping(self.document)

    def say(self, speaker: Role, said: Iterable[Part]) -> None:
        """Add a message, unless it has no parts."""
        told = tuple(said)
        if told:
            if told[0].kind == RESULT and all(part.kind == RESULT for part in told):
                speaker = "tool"
            self.messages.append(Message(speaker, told))

    def offer(self, tool: Json, place: str, function: Json = None, kind: str = "") -> None:
        """Add a tool definition; ``function`` is where it is described, if not the tool itself."""
        if isinstance(tool, dict):
            self.tools.append(parts.definition(tool, place, function, kind))

    def take_parameters(self, source: Json, place: str = "") -> None:
        """Take the request parameters that ``source`` sets."""
        values = mapping(source)
        for name in _NAMES & values.keys():
            value = values[name]
            if value is None:
                continue
            known = PARAMETERS[name]
            if known == "stop_sequences" and isinstance(value, str):
                value = [value]
            if known == "encoding_formats" and isinstance(value, str):
                value = [value]
            self.parameters[known] = value

    def freeze(self) -> Exchange:
        """Return the Exchange; strings that nobody claimed are gathered into ``unclaimed``."""
        claimed = self.claimed
        for part in self.system:
            _claim(part, claimed)
        for message in self.messages:
            for part in message.parts:
                _claim(part, claimed)
        claimed.update(tool.place for tool in self.tools)
        claimed.discard("")
        return Exchange(
            format=self.format.name,
            operation=self.operation or self.format.operation,
            provider=self.format.provider,
            request_model=self.model or word(first(self.body, *MODELS)) or self.format.model,
            system_instructions=tuple(self.system),
            input_messages=tuple(self.messages),
            tool_definitions=tuple(self.tools),
            parameters=self.parameters,
            conversation_id=self.conversation or self.format.conversation,
            stream=self.stream or self.format.streams or self.body.get("stream") is True,
            unclaimed=(
                *self.found,
                *self._asked_in_path(),
                *leaves.unclaimed(self.document, claimed),
            ),
        )

    def _asked_in_path(self) -> list[Leaf]:
        """Return the prose of the query; it can be read, not rewritten."""
        return [
            Leaf(f"!?{name[:40]}", text)
            for name, text in self.format.query
            if leaves.is_prose(text)
        ]


def _claim(part: Part, claimed: set[str]) -> None:
    claimed.add(part.place.removesuffix("^"))
    if part.leaves:
        claimed.update([leaf.place for leaf in part.leaves])

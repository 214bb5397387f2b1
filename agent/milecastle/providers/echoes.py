"""What repeats an answer token by token: ``logprobs``, which no redaction of the text reaches.

Where a text of a document is edited, its echoes are emptied: nobody can say which of the tokens
held what was taken out, so all of them go.
"""

from __future__ import annotations

from collections.abc import Iterator

from milecastle.model import Json

KEYS = frozenset({"logprobs", "logprobsResult"})
"""OpenAI, Ollama, Cohere and those that follow them; Gemini's."""
MEMBERS = frozenset(
    {"token", "tokens", "content", "refusal", "chosenCandidates", "topCandidates", "text_offset"}
)
"""Keys that tell an echo from a tool's parameter that happens to have the name."""

type Tokens = tuple[str, ...]


def echoes(raw: bytes, value: Json) -> dict[Tokens, bytes]:
    """Return where the echoes of a document stand, and the JSON that takes the place of each."""
    if b"logprobs" not in raw:
        return {}
    return dict(_found(value, ()))


def _found(value: Json, here: Tokens) -> Iterator[tuple[Tokens, bytes]]:
    if isinstance(value, dict):
        for key, below in value.items():
            if key in KEYS and _repeats(below):
                yield (*here, key), b"[]" if isinstance(below, list) else b"null"
            else:
                yield from _found(below, (*here, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _found(below, (*here, str(index)))


def _repeats(value: Json) -> bool:
    if isinstance(value, list):
        return any(isinstance(each, dict) and not MEMBERS.isdisjoint(each) for each in value)
    return isinstance(value, dict) and any(isinstance(value.get(key), list) for key in MEMBERS)

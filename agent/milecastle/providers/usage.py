"""Token usage under every name that a provider gives it: one table.

Anthropic and Bedrock count cached input beside ``input_tokens``, OpenAI and Gemini inside of it;
the figures are kept as each provider bills them.
"""

from __future__ import annotations

from dataclasses import replace

from milecastle.model import Json, Usage
from milecastle.providers.typed import count, mapping

NAMES: dict[str, str] = {
    # OpenAI and compatible hosts, Mistral, Voyage
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "prompt_tokens_details/cached_tokens": "cache_read_tokens",
    "prompt_tokens_details/cache_creation_tokens": "cache_creation_tokens",
    "prompt_tokens_details/cache_write_tokens": "cache_creation_tokens",
    "completion_tokens_details/reasoning_tokens": "reasoning_tokens",
    "prompt_cache_hit_tokens": "cache_read_tokens",  # DeepSeek
    "reasoning_tokens": "reasoning_tokens",
    # OpenAI Responses, Anthropic, Cohere
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "input_tokens_details/cached_tokens": "cache_read_tokens",
    "output_tokens_details/reasoning_tokens": "reasoning_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_creation_tokens",
    "tokens/input_tokens": "input_tokens",
    "tokens/output_tokens": "output_tokens",
    "billed_units/input_tokens": "input_tokens",
    "billed_units/output_tokens": "output_tokens",
    # Gemini
    "promptTokenCount": "input_tokens",
    "candidatesTokenCount": "output_tokens",
    "responseTokenCount": "output_tokens",  # Live
    "cachedContentTokenCount": "cache_read_tokens",
    "thoughtsTokenCount": "reasoning_tokens",
    # Bedrock Converse and families
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_tokens",
    "cacheReadInputTokenCount": "cache_read_tokens",
    "cacheWriteInputTokens": "cache_creation_tokens",
    "cacheWriteInputTokenCount": "cache_creation_tokens",
    "inputTokenCount": "input_tokens",
    "outputTokenCount": "output_tokens",
    "inputTextTokenCount": "input_tokens",
    "tokenCount": "output_tokens",
    "prompt_token_count": "input_tokens",
    "generation_token_count": "output_tokens",
    # Ollama, watsonx, Aleph Alpha, Replicate, others
    "prompt_eval_count": "input_tokens",
    "eval_count": "output_tokens",
    "input_token_count": "input_tokens",
    "generated_token_count": "output_tokens",
    "num_tokens_prompt_total": "input_tokens",
    "num_tokens_generated": "output_tokens",
    "input_token_length": "input_tokens",
    "total_input_tokens": "input_tokens",
    "total_output_tokens": "output_tokens",
    "total_cached_tokens": "cache_read_tokens",  # Gemini Interactions
    "total_thought_tokens": "reasoning_tokens",
    "total_tokens": "input_tokens",  # embeddings and rankings say no more
}
"""Path in the provider's usage object -> field of Usage. Of two names for one field the first
that has a figure wins, so what a provider measured stands before what it billed."""

_PATHS = {name: tuple(name.split("/")) for name in NAMES}


def read(source: Json, before: Usage | None = None) -> Usage:
    """Return what ``source`` says; where it is silent or says 0, what was known before."""
    found: dict[str, int] = {}
    values = mapping(source)
    for name, path in _PATHS.items():
        if path[0] not in values or NAMES[name] in found:
            continue
        value: Json = values
        for key in path:
            value = mapping(value).get(key)
        number = count(value)
        if number is not None and not (number == 0 and getattr(before, NAMES[name], None)):
            found[NAMES[name]] = number
    return replace(before or Usage(), **found)


def sum_of(one: Usage, other: Usage) -> Usage:
    """Return what two turns used together."""
    total = Usage()
    for name in set(NAMES.values()):
        figures = [each for each in (getattr(one, name), getattr(other, name)) if each is not None]
        if figures:
            total = replace(total, **{name: sum(figures)})
    return total

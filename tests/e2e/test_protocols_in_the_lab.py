"""Every protocol that aimock speaks over HTTP, through the agent: read right, and redacted.

Requests are curl's, so that the wire is exactly what stands here, over HTTP/1.1 and HTTP/2, asked
whole and as a stream. The words, the model and the tokens are those of tests/lab/fixtures.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from tests.e2e.scenarios import ANTHROPIC, OPENAI, REDACTED_RULE, curl, planted
from tests.lab import Agent, Lab

type Body = dict[str, Any]

ASKED = "hello from the lab"
ANSWERED = "Hello! The lab hears you."
SECRET = planted(REDACTED_RULE)
MARK = f"[REDACTED:{REDACTED_RULE}]"

PLACE = "{text}"
"""Where a body holds what the person says."""
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com/model/{}/"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.0-flash:"
VERTEX = (
    "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1"
    "/publishers/google/models/gemini-2.0-flash:"
)
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
SAID = [{"role": "user", "content": PLACE}]
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": PLACE}]}]}


@dataclass(frozen=True, slots=True)
class Call:
    """One way to ask one provider. ``streamed`` holds what a stream asks in another way."""

    name: str
    provider: str
    model: str
    url: str
    body: Body
    operation: str = "chat"
    streamed: str | Body | None = None
    """Another URL, or fields that the body has beside; None where there is no stream."""

    def ask(self, text: str, stream: bool) -> tuple[str, str]:
        """Return the URL and the body of the request."""
        url = self.streamed if stream and isinstance(self.streamed, str) else self.url
        more = self.streamed if stream and isinstance(self.streamed, dict) else {}
        spoken = json.dumps({**self.body, **more})
        return url, spoken.replace(PLACE, text)


def openai_like(name: str, provider: str, model: str, url: str) -> Call:
    more = {"stream": True, "stream_options": {"include_usage": True}}
    return Call(name, provider, model, url, {"model": model, "messages": SAID}, streamed=more)


CHATS = (
    openai_like("openai chat", "openai", "gpt-4o-mini", OPENAI),
    Call(
        "openai responses",
        "openai",
        "gpt-4o-mini",
        "https://api.openai.com/v1/responses",
        {"model": "gpt-4o-mini", "input": PLACE},
        streamed={"stream": True},
    ),
    openai_like(
        "azure",
        "azure.ai.openai",
        "gpt-4o-mini",
        "https://lab.openai.azure.com/openai/deployments/gpt-4o-mini/chat/completions"
        "?api-version=2024-10-21",
    ),
    openai_like(
        "openrouter",
        "openrouter",
        "openai/gpt-4o-mini",
        "https://openrouter.ai/api/v1/chat/completions",
    ),
    openai_like(
        "mistral", "mistral_ai", "mistral-small", "https://api.mistral.ai/v1/chat/completions"
    ),
    Call(
        "anthropic",
        "anthropic",
        "claude-haiku-4-5",
        ANTHROPIC,
        {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": SAID},
        streamed={"stream": True},
    ),
    Call(
        "gemini",
        "gcp.gemini",
        "gemini-2.0-flash",
        GEMINI + "generateContent",
        CONTENTS,
        "generate_content",
        streamed=GEMINI + "streamGenerateContent?alt=sse",
    ),
    Call(
        "vertex",
        "gcp.vertex_ai",
        "gemini-2.0-flash",
        VERTEX + "generateContent",
        CONTENTS,
        "generate_content",
        streamed=VERTEX + "streamGenerateContent?alt=sse",
    ),
    Call(
        "bedrock converse",
        "aws.bedrock",
        HAIKU,
        BEDROCK.format(HAIKU) + "converse",
        {"messages": [{"role": "user", "content": [{"text": PLACE}]}]},
        streamed=BEDROCK.format(HAIKU) + "converse-stream",
    ),
    Call(
        "bedrock invoke",
        "aws.bedrock",
        HAIKU,
        BEDROCK.format(HAIKU) + "invoke",
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": SAID},
        streamed=BEDROCK.format(HAIKU) + "invoke-with-response-stream",
    ),
    Call(
        "cohere",
        "cohere",
        "command-r-plus",
        "https://api.cohere.com/v2/chat",
        {"model": "command-r-plus", "messages": SAID, "stream": False},
        streamed={"stream": True},
    ),
    Call(
        "ollama chat",
        "ollama",
        "llama3.2",
        "https://ollama.com/api/chat",
        {"model": "llama3.2", "messages": SAID, "stream": False},
        streamed={"stream": True},
    ),
    Call(
        "ollama generate",
        "ollama",
        "llama3.2",
        "https://ollama.com/api/generate",
        {"model": "llama3.2", "prompt": PLACE, "stream": False},
        "text_completion",
        streamed={"stream": True},
    ),
)
EMBEDDINGS = (
    Call(
        "openai embeddings",
        "openai",
        "text-embedding-3-small",
        "https://api.openai.com/v1/embeddings",
        {"model": "text-embedding-3-small", "input": [PLACE]},
        "embeddings",
    ),
    Call(
        "gemini embeddings",
        "gcp.gemini",
        "text-embedding-004",
        "https://generativelanguage.googleapis.com/v1beta/models/text-embedding-004:embedContent",
        {"content": {"parts": [{"text": PLACE}]}},
        "embeddings",
    ),
    Call(
        "cohere embeddings",
        "cohere",
        "embed-v4.0",
        "https://api.cohere.com/v2/embed",
        {
            "model": "embed-v4.0",
            "texts": [PLACE],
            "input_type": "search_document",
            "embedding_types": ["float"],
        },
        "embeddings",
    ),
    Call(
        "ollama embeddings",
        "ollama",
        "nomic-embed-text",
        "https://ollama.com/api/embed",
        {"model": "nomic-embed-text", "input": PLACE},
        "embeddings",
    ),
)
NO_TOKENS = {"ollama chat", "ollama generate"}
"""Formats in which aimock tells its own counts, not the fixture's."""


def named(value: object) -> str:
    return value.name if isinstance(value, Call) else str(value)


def ask(agent: Agent, call: Call, text: str, stream: bool, version: str) -> dict[str, Any]:
    """Send one request and return the exchange that was recorded of it."""
    url, body = call.ask(text, stream)
    argv = [*curl(url, body, f"--http{version}", "-v"), "-o", "/dev/null"]
    child = agent.lab.popen(argv, env=agent.trust_env(), cgroup=agent.cgroup)
    out, err = child.communicate(timeout=30)
    assert out.endswith("200"), (out, err[-600:])
    assert "issuer: CN=milecastle" in err
    assert f"< HTTP/{version} 200" in err
    (exchange,) = agent.exchanges_of(child.pid)
    return exchange


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(p["content"] for m in messages for p in m["parts"] if p["type"] == "text")


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("call", CHATS, ids=named)
def test_a_chat_is_read_whole(monitor: Agent, call: Call, stream: bool, version: str):
    exchange = ask(monitor, call, ASKED, stream, version)
    assert exchange["gen_ai.operation.name"] == call.operation
    assert exchange["gen_ai.provider.name"] == call.provider
    assert exchange["gen_ai.request.model"] == call.model
    assert text_of(exchange["gen_ai.input.messages"]) == ASKED
    assert text_of(exchange["gen_ai.output.messages"]) == ANSWERED
    if call.name not in NO_TOKENS:
        assert exchange["gen_ai.usage.input_tokens"] == 11
        assert exchange["gen_ai.usage.output_tokens"] == 7


@pytest.mark.parametrize("call", EMBEDDINGS, ids=named)
def test_an_embedding_is_read(monitor: Agent, call: Call):
    exchange = ask(monitor, call, ASKED, False, "2")
    assert exchange["gen_ai.operation.name"] == call.operation
    assert exchange["gen_ai.provider.name"] == call.provider
    assert exchange["gen_ai.request.model"] == call.model
    assert text_of(exchange["gen_ai.input.messages"]) == ASKED


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("call", CHATS + EMBEDDINGS, ids=named)
def test_a_secret_is_taken_out_of_every_format(lab: Lab, enforce: Agent, call: Call, stream: bool):
    if stream and call.streamed is None:
        pytest.skip("there is no stream of this")
    exchange = ask(enforce, call, f"{ASKED}: my key is {SECRET}, why?", stream, "2")
    (seen,) = lab.requests(at_least=1)
    assert seen["body"] == call.ask(f"{ASKED}: my key is {MARK}, why?", stream)[1]
    (entry,) = lab.journal()
    assert MARK in json.dumps(entry)
    assert SECRET not in json.dumps(entry)
    assert exchange["verdict"]["action"] == "redact"
    assert SECRET not in json.dumps(exchange)
    if call.operation != "embeddings":
        assert text_of(exchange["gen_ai.output.messages"]) == ANSWERED

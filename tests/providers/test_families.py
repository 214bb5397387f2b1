"""Every model family of Bedrock, and hosts with a shape of their own, asked whole and streamed.

Bodies are those of the families' user guides; each answers ``Hi you`` to ``hello you``.
"""

from __future__ import annotations

import base64
import json

import pytest
from tests.providers.test_formats import JSON, ask, said, sse, streamed, texts

from milecastle import providers
from milecastle.model import ResponseHead
from milecastle.providers import eventstream

BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
FRAMES = "application/vnd.amazon.eventstream"
TURN = [{"role": "user", "content": "hello you"}]
CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": TURN}
HI = {"role": "assistant", "content": "Hi you"}
COUNT = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 4}}


def choice(**more):
    return {"choices": [{"index": 0, **more}]}


def grown(text):
    return choice(delta={"content": text})


PAIR = [grown("Hi "), grown("you")]
FAMILIES = {
    "cohere.command-r-v1:0": (
        {"message": "hello you", "chat_history": [{"role": "USER", "message": "before this"}]},
        {"text": "Hi you", "generation_id": "g", "finish_reason": "COMPLETE"},
        [
            {"event_type": "text-generation", "text": "Hi "},
            {"event_type": "text-generation", "text": "you"},
            {"event_type": "stream-end", "response": {"text": "Hi you"}},
        ],
    ),
    "cohere.command-text-v14": (
        {"prompt": "hello you"},
        {"generations": [{"text": "Hi you"}], "prompt": "hello you"},
        [{"text": "Hi "}, {"text": "you", "is_finished": True}],
    ),
    "us.deepseek.r1-v1:0": (
        {"prompt": "hello you", "max_tokens": 9},
        choice(text="Hi you", stop_reason="stop"),
        [choice(text="Hi "), choice(text="you", stop_reason="stop")],
    ),
    "openai.gpt-oss-120b-1:0": ({"messages": TURN}, choice(message=HI), PAIR),
    "qwen.qwen3-32b-v1:0": ({"messages": TURN}, choice(message=HI), PAIR),
    "mistral.mistral-large-2402-v1:0": (
        {"messages": TURN},
        choice(message=HI, stop_reason="stop"),
        [choice(message={"content": each}) for each in ("Hi ", "you")],
    ),
    "mistral.mistral-7b-instruct-v0:2": (
        {"prompt": "hello you"},
        {"outputs": [{"text": "Hi you", "stop_reason": "stop"}]},
        [{"outputs": [{"text": "Hi "}]}, {"outputs": [{"text": "you", "stop_reason": "stop"}]}],
    ),
    "meta.llama3-70b-instruct-v1:0": (
        {"prompt": "hello you"},
        {"generation": "Hi you", "prompt_token_count": 3, "generation_token_count": 4},
        [{"generation": "Hi "}, {"generation": "you", "stop_reason": "stop"}],
    ),
    "ai21.jamba-1-5-large-v1:0": ({"messages": TURN}, choice(message=HI), [grown("Hi you")]),
    "ai21.j2-ultra-v1": (
        {"prompt": "hello you"},
        {"prompt": {"text": "hello you"}, "completions": [{"data": {"text": "Hi you"}}]},
        [],
    ),
    "amazon.titan-text-express-v1": (
        {"inputText": "hello you"},
        {"inputTextTokenCount": 3, "results": [{"outputText": "Hi you", "tokenCount": 4}]},
        [{"outputText": "Hi "}, {"outputText": "you", "completionReason": "FINISH"}],
    ),
    "us.amazon.nova-lite-v1:0": (
        {"messages": [{"role": "user", "content": [{"text": "hello you"}]}]},
        {"output": {"message": {"content": [{"text": "Hi you"}]}}, "stopReason": "end_turn"},
        [
            {"contentBlockDelta": {"delta": {"text": "Hi "}, "contentBlockIndex": 0}},
            {"contentBlockDelta": {"delta": {"text": "you"}, "contentBlockIndex": 0}},
        ],
    ),
    "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fx": (
        CLAUDE,
        {"type": "message", "content": [{"type": "text", "text": "Hi you"}], "stop_sequence": None},
        [
            {"type": "content_block_delta", "index": 0,
             "delta": {"type": "text_delta", "text": each}}
            for each in ("Hi ", "you")
        ],
    ),
    "anthropic.claude-v2": (
        {"prompt": "hello you", "max_tokens_to_sample": 9},
        {"completion": "Hi you", "stop_reason": "stop_sequence"},
        [{"completion": "Hi "}, {"completion": "you", "stop_reason": "stop_sequence"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", FAMILIES)
def test_a_family_of_bedrock_is_read(model):
    asked, whole, chunks = FAMILIES[model]
    _, exchange = ask(BEDROCK, f"/model/{model}/invoke", asked)
    assert "hello you" in [part.text for m in exchange.input_messages for part in m.parts]
    told = providers.parse_response(exchange, ResponseHead(200, JSON), json.dumps(whole).encode())
    assert said(told) == [("text", "Hi you")]
    if not chunks:
        return
    raw = b""
    for each in (*chunks[:-1], {**chunks[-1], **COUNT}):
        packed = base64.b64encode(json.dumps(each).encode()).decode()
        raw += eventstream.event("chunk", json.dumps({"bytes": packed}).encode())
    _, exchange = ask(BEDROCK, f"/model/{model}/invoke-with-response-stream", asked)
    told, _ = streamed(exchange, FRAMES, raw)
    assert said(told) == [("text", "Hi you")]
    assert (told.usage.input_tokens, told.usage.output_tokens) == (3, 4)


HOSTS = [
    ("api.cloudflare.com", "/client/v4/accounts/a/ai/run/@cf/meta/llama-3-8b", {"messages": TURN},
     {"result": {"response": "Hi you"}}, [{"response": "Hi "}, {"response": "you"}]),
    ("dbc.cloud.databricks.com", "/serving-endpoints/llama/invocations", {"messages": TURN},
     choice(message=HI), PAIR),
    ("us-central1-aiplatform.googleapis.com",
     "/v1/projects/p/locations/us-central1/endpoints/123:generateContent",
     {"contents": [{"role": "user", "parts": [{"text": "hello you"}]}]},
     {"candidates": [{"content": {"parts": [{"text": "Hi you"}]}}]}, []),
]  # fmt: skip


@pytest.mark.parametrize(("host", "path", "asked", "whole", "chunks"), HOSTS)
def test_a_host_with_a_shape_of_its_own_is_read(host, path, asked, whole, chunks):
    wire, exchange = ask(host, path, asked)
    assert wire.name != "unknown"
    assert "hello you" in texts(exchange)
    told = providers.parse_response(exchange, ResponseHead(200, JSON), json.dumps(whole).encode())
    assert said(told) == [("text", "Hi you")]
    if chunks:
        assert said(streamed(exchange, "text/event-stream", sse(*chunks))[0]) == [
            ("text", "Hi you")
        ]


def test_a_message_that_every_chunk_repeats_is_inspected_and_told_once():
    _, asked = ask("api.perplexity.ai", "/chat/completions", {"messages": TURN, "stream": True})
    chunks = [
        choice(delta={"content": each}, message={"role": "assistant", "content": so_far})
        for each, so_far in (("Hi ", "Hi "), ("you there", "Hi you there"))
    ]
    exchange, deltas = streamed(asked, "text/event-stream", sse(*chunks))
    assert said(exchange) == [("text", "Hi you there")]
    assert [each.text for each in deltas if each.whole] == ["Hi ", "Hi you there"]
    assert not exchange.unclaimed_output

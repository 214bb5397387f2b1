"""Refusals and cut streams as the other providers' own SDKs understand them.

Each SDK talks to a provider on loopback that answers with bytes of ours.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import cohere
import ollama
import pytest
from botocore.config import Config
from google import genai
from mistralai.client import Mistral

from milecastle import providers
from milecastle.model import RequestHead, ResponseHead
from milecastle.providers import eventstream

REASON = "Withheld: rule no-keys."
TURN = [{"role": "user", "content": "hi"}]
LINES = "application/x-ndjson"
SSE = "text/event-stream"
FRAMES = "application/vnd.amazon.eventstream"


class Provider:
    """A loopback provider: notes what it was asked, answers what it was given."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 500, {}, b"{}"
        self.head, self.asked = None, b""
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.head = RequestHead("POST", "provider", self.path, headers)
                outer.asked = self.rfile.read(int(headers.get("content-length", 0)))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def recognised(self, call):
        """Let the SDK send its request; return the format and the Exchange."""
        with contextlib.suppress(Exception):
            call()
        wire = providers.recognise(self.head, self.asked)
        return wire, providers.parse_request(wire, self.head, self.asked)

    def refuse(self, call):
        wire, _ = self.recognised(call)
        self.status, self.headers, self.body = providers.error_body(
            wire, status=403, code="milecastle_blocked", message=REASON
        )
        with pytest.raises(Exception) as raised:
            call()
        assert REASON in str(raised.value)
        return raised.type.__name__

    def cut(self, call, kind, *events):
        wire, asked = self.recognised(call)
        stream = providers.open_stream(asked, ResponseHead(200, {"content-type": kind}))
        raw = b"".join(events)
        stream.feed(raw)
        self.status, self.headers = 200, {"content-type": kind}
        self.body = raw + providers.closing_events(wire, stream, REASON)
        return call()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def provider():
    made = Provider()
    yield made
    made.close()


def sse(*events):
    return [f"data: {json.dumps(each)}\n\n".encode() for each in events]


def test_google(provider):
    options = genai.types.HttpOptions(base_url=provider.url)
    client = genai.Client(api_key="x", http_options=options)
    asked = {"model": "gemini-2.0-flash", "contents": "hi"}
    assert provider.refuse(lambda: client.models.generate_content(**asked)) == "ClientError"
    parts = [{"content": {"role": "model", "parts": [{"text": each}]}} for each in ("Hel", "lo")]
    chunks = provider.cut(
        lambda: list(client.models.generate_content_stream(**asked)),
        SSE,
        *sse(*({"candidates": [each]} for each in parts)),
    )
    assert "".join(chunk.text or "" for chunk in chunks) == "Hello" + REASON
    assert chunks[-1].candidates[0].finish_reason == "SAFETY"


def test_cohere(provider):
    client = cohere.ClientV2(api_key="x", base_url=provider.url)
    assert provider.refuse(lambda: client.chat(model="m", messages=TURN)) == "ForbiddenError"
    message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    where = {"index": 0}
    text = {"message": {"content": {"type": "text", "text": ""}}}
    events = provider.cut(
        lambda: list(client.chat_stream(model="m", messages=TURN)),
        SSE,
        *sse(
            {"type": "message-start", "id": "1", "delta": {"message": message}},
            {"type": "content-start", **where, "delta": text},
            {"type": "content-delta", **where, "delta": {"message": {"content": {"text": "Hi"}}}},
        ),
    )
    told = [each.delta.message.content.text for each in events if each.type == "content-delta"]
    assert told == ["Hi", REASON]
    assert events[-1].type == "message-end"


def test_cohere_v1(provider):
    client = cohere.Client(api_key="x", base_url=provider.url)
    assert provider.refuse(lambda: client.chat(model="m", message="hi")) == "ForbiddenError"
    events = provider.cut(
        lambda: list(client.chat_stream(model="m", message="hi")),
        "application/stream+json",
        b'{"is_finished":false,"event_type":"text-generation","text":"Hi"}\n',
    )
    assert [each.event_type for each in events] == ["text-generation"] * 2 + ["stream-end"]


@pytest.mark.parametrize("kind", ["chat", "generate"])
def test_ollama(provider, kind):
    client = ollama.Client(host=provider.url)
    asked = {"messages": TURN} if kind == "chat" else {"prompt": "hi"}
    call = getattr(client, kind)
    assert provider.refuse(lambda: call(model="m", **asked)) == "ResponseError"
    said = (
        {"message": {"role": "assistant", "content": "Hi"}}
        if kind == "chat"
        else {"response": "Hi"}
    )
    line = {"model": "m", "created_at": "2026-01-01T00:00:00Z", **said, "done": False}
    lines = provider.cut(
        lambda: list(call(model="m", **asked, stream=True)),
        LINES,
        json.dumps(line).encode() + b"\n",
    )
    told = [each.message.content if kind == "chat" else each.response for each in lines]
    assert (told, lines[-1].done) == (["Hi", REASON, ""], True)


def test_mistral(provider):
    client = Mistral(api_key="x", server_url=provider.url)
    assert provider.refuse(lambda: client.chat.complete(model="m", messages=TURN)) == "SDKError"
    choice = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    told = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = provider.cut(
        lambda: list(client.chat.stream(model="m", messages=TURN)),
        SSE,
        *sse({**told, "choices": [choice]}),
    )
    assert [each.data.choices[0].delta.content for each in events[:2]] == ["Hi", REASON]
    assert events[-1].data.choices[0].finish_reason == "content_filter"


@pytest.fixture
def bedrock(provider):
    config = Config(retries={"max_attempts": 1})
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=provider.url,
        aws_access_key_id="x",
        aws_secret_access_key="y",
        config=config,
    )


def test_bedrock_converse(provider, bedrock):
    asked = {
        "modelId": "amazon.nova-lite-v1:0",
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
    }
    assert provider.refuse(lambda: bedrock.converse(**asked)) == "AccessDeniedException"
    events = provider.cut(
        lambda: list(bedrock.converse_stream(**asked)["stream"]),
        FRAMES,
        eventstream.event("messageStart", b'{"role":"assistant"}'),
        eventstream.event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"Hi"}}'),
    )
    told = [e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e]
    assert told == ["Hi", REASON]
    assert {"messageStop": {"stopReason": "content_filtered"}} in events


FAMILIES = {
    "anthropic.claude-3-haiku-20240307-v1:0": (
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": TURN},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    ),
    "amazon.nova-lite-v1:0": (
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        {"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}},
    ),
    "amazon.titan-text-express-v1": ({"inputText": "hi"}, {"outputText": "Hi"}),
    "meta.llama3-8b-instruct-v1:0": ({"prompt": "hi"}, {"generation": "Hi"}),
}


@pytest.mark.parametrize("model", FAMILIES)
def test_bedrock_invoke(provider, bedrock, model):
    body, said = FAMILIES[model]
    asked = {"modelId": model, "body": json.dumps(body), "contentType": "application/json"}
    assert provider.refuse(lambda: bedrock.invoke_model(**asked)) == "AccessDeniedException"
    chunk = {"bytes": base64.b64encode(json.dumps(said).encode()).decode()}
    events = provider.cut(
        lambda: list(bedrock.invoke_model_with_response_stream(**asked)["body"]),
        FRAMES,
        eventstream.event("chunk", json.dumps(chunk).encode()),
    )
    told = b"".join(each["chunk"]["bytes"] for each in events)
    assert b"Hi" in told and REASON.encode() in told

"""Redacted requests and answers, whole and streamed, as the providers' own SDKs see them.

Each SDK talks to a provider on loopback through the same inspection as live traffic, under a
policy that redacts. What it sends holds a key, and so does what it is answered, in a stream cut
in the middle of the key.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anthropic
import boto3
import cohere
import ollama
import openai
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from google import genai
from mistralai.client import Mistral
from tests.inspection.conftest import RULES

from milecastle import catalogue, policy, shipped
from milecastle.detect import Engine
from milecastle.inspection import Context, Inspector
from milecastle.model import RequestHead, ResponseHead
from milecastle.providers import eventstream

KEY = "labkey_q7w8e9r0t1y2"
MARK = "[REDACTED:lab-key]"
ASKED = f"é my key is {KEY}, why?"
SAID = ("Hel", "lo ", KEY[:10], KEY[10:], " bye")
WHOLE, CLEAN = "".join(SAID), f"Hello {MARK} bye"
TURN = [{"role": "user", "content": ASKED}]
SSE, LINES = "text/event-stream", "application/x-ndjson"
FRAMES = "application/vnd.amazon.eventstream"
POLICY = """
version: 1
mode: enforce
on_failure: {default: closed}
rules:
  - id: no-secrets
    when: {finding: {category: secret}}
    action: redact
    reason: keys stay at home
"""
NODE = Path(__file__).parents[1] / "lab" / "clients" / "sdk.mjs"


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    names, _ = catalogue.load(shipped.texts("config", "catalogue"))
    rules, problems = policy.check(POLICY, "policy.yaml")
    assert rules, problems
    return Inspector(names, Engine.load([("lab.yaml", RULES)], key=b"k" * 32), rules)


@dataclass
class Speech:
    """How a provider answers: the host that it stands for, one body, or a stream's pieces."""

    host: str
    whole: dict
    stream: Sequence[bytes]
    kind: str = SSE


class Provider:
    """A provider on loopback with an inspection before it."""

    def __init__(self, inspector: Inspector) -> None:
        self.speech = Speech("", {}, ())
        self.streams = False
        self.forwarded = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                kind, answer = outer.answered(inspector, self.path, headers, body)
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answered(self, inspector, path, headers, body) -> tuple[str, bytes]:
        head = RequestHead("POST", self.speech.host, path, headers)
        inspection = inspector.begin(head, Context("01EXCHANGE", 1.0), body)
        self.forwarded = inspection.request(body).body
        kind = self.speech.kind if self.streams else "application/json"
        if inspection.respond(ResponseHead(200, {"content-type": kind})) == "buffer":
            return kind, inspection.response(json.dumps(self.speech.whole).encode()).body
        pieces = [inspection.feed(piece).data for piece in self.speech.stream]
        return kind, b"".join(pieces) + inspection.finish().data

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def provider(inspector: Inspector) -> Iterator[Provider]:
    made = Provider(inspector)
    yield made
    made.close()


def data(*events: dict) -> list[bytes]:
    return [f"data: {json.dumps(each)}\n\n".encode() for each in events]


def named(*events: dict) -> list[bytes]:
    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events]


def lines(*events: dict) -> list[bytes]:
    return [json.dumps(each).encode() + b"\n" for each in events]


# --- what the providers say ----------------------------------------------------------------------


def chat_speech(host: str) -> Speech:
    told = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m"}
    used = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    message = {"role": "assistant", "content": WHOLE}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    chunks = [
        {**told, "object": "chat.completion.chunk", "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": each}, "finish_reason": None}
        ]}
        for each in SAID
    ]  # fmt: skip
    last = {**told, "object": "chat.completion.chunk", "choices": [
        {"index": 0, "delta": {}, "finish_reason": "stop"}
    ]}  # fmt: skip
    end = [b"data: [DONE]\n\n"]
    whole = {**told, "choices": [choice], "usage": used}
    return Speech(host, whole, [*data(*chunks, last), *end])


def responses_speech() -> Speech:
    text = {"type": "output_text", "text": WHOLE, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [text]}  # fmt: skip
    told = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "tools": [],
            "parallel_tool_calls": True, "tool_choice": "auto"}  # fmt: skip
    whole = {**told, "status": "completed", "output": [item]}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": {**told, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0,
         "item": {**item, "content": [], "status": "in_progress"}},
        {"type": "response.content_part.added", **at, "part": {**text, "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": each, "logprobs": []}
          for each in SAID),
        {"type": "response.output_text.done", **at, "text": WHOLE, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]  # fmt: skip
    numbered = [{**each, "sequence_number": number} for number, each in enumerate(events)]
    return Speech("api.openai.com", whole, named(*numbered))


def claude_events() -> list[dict]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
               "stop_reason": None, "stop_sequence": None,
               "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0,
           "delta": {"type": "text_delta", "text": each}} for each in SAID),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
         "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]  # fmt: skip


def claude_speech() -> Speech:
    events = claude_events()
    whole = {**events[0]["message"], "content": [{"type": "text", "text": WHOLE}],
             "stop_reason": "end_turn"}  # fmt: skip
    return Speech("api.anthropic.com", whole, named(*events))


def gemini_speech() -> Speech:
    def candidate(text: str) -> dict:
        return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}

    host = "generativelanguage.googleapis.com"
    return Speech(host, candidate(WHOLE), data(*map(candidate, SAID)))


def cohere_speech() -> Speech:
    message = {"role": "assistant", "content": [{"type": "text", "text": WHOLE}]}
    at = {"index": 0}
    events = [
        {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-start", **at,
         "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        *({"type": "content-delta", **at, "delta": {"message": {"content": {"text": each}}}}
          for each in SAID),
        {"type": "content-end", **at},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    ]  # fmt: skip
    whole = {"id": "1", "finish_reason": "COMPLETE", "message": message}
    return Speech("api.cohere.com", whole, data(*events))


def ollama_speech(said: Callable[[str], dict]) -> Speech:
    told = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    growing = [{**told, **said(each), "done": False} for each in SAID]
    last = {**told, **said(""), "done": True, "done_reason": "stop"}
    whole = {**told, **said(WHOLE), "done": True, "done_reason": "stop"}
    return Speech("localhost", whole, lines(*growing, last), LINES)


def converse_speech() -> Speech:
    content = [{"text": WHOLE}]
    whole = {"output": {"message": {"role": "assistant", "content": content}},
             "stopReason": "end_turn", "metrics": {"latencyMs": 1},
             "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}  # fmt: skip
    events = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": each}})
          for each in SAID),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
    ]  # fmt: skip
    frames = [eventstream.event(kind, json.dumps(body).encode()) for kind, body in events]
    return Speech("bedrock-runtime.us-east-1.amazonaws.com", whole, frames, FRAMES)


def invoke_speech() -> Speech:
    def frame(event: dict) -> bytes:
        packed = base64.b64encode(json.dumps(event).encode()).decode()
        return eventstream.event("chunk", json.dumps({"bytes": packed}).encode())

    frames = [frame(each) for each in claude_events()]
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    return Speech(host, claude_speech().whole, frames, FRAMES)


# --- what the SDKs make of it --------------------------------------------------------------------


def of_openai(url: str, stream: bool) -> str:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
    told = client.chat.completions.create(model="m", messages=TURN, stream=stream)
    if stream:
        return "".join(each.choices[0].delta.content or "" for each in told)
    return told.choices[0].message.content


def of_responses(url: str, stream: bool) -> str:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
    if not stream:
        return client.responses.create(model="m", input=ASKED).output_text
    with client.responses.stream(model="m", input=ASKED) as told:
        grown = "".join(each.delta for each in told if each.type == "response.output_text.delta")
        assert told.get_final_response().output_text == grown
        return grown


def of_anthropic(url: str, stream: bool) -> str:
    client = anthropic.Anthropic(base_url=url, api_key="x", max_retries=0)
    asked = {"model": "m", "max_tokens": 9, "messages": TURN}
    if not stream:
        return client.messages.create(**asked).content[0].text
    with client.messages.stream(**asked) as told:
        return told.get_final_text()


def of_google(url: str, stream: bool) -> str:
    options = genai.types.HttpOptions(base_url=url)
    client = genai.Client(api_key="x", http_options=options)  # closes with its last reference
    asked = {"model": "gemini-2.0-flash", "contents": ASKED}
    if stream:
        return "".join(each.text or "" for each in client.models.generate_content_stream(**asked))
    return client.models.generate_content(**asked).text


def of_mistral(url: str, stream: bool) -> str:
    chat = Mistral(api_key="x", server_url=url).chat
    if stream:
        told = chat.stream(model="m", messages=TURN)
        return "".join(each.data.choices[0].delta.content or "" for each in told)
    return chat.complete(model="m", messages=TURN).choices[0].message.content


def of_cohere(url: str, stream: bool) -> str:
    client = cohere.ClientV2(api_key="x", base_url=url)
    if stream:
        told = client.chat_stream(model="m", messages=TURN)
        return "".join(
            each.delta.message.content.text for each in told if each.type == "content-delta"
        )
    return client.chat(model="m", messages=TURN).message.content[0].text


def of_ollama_chat(url: str, stream: bool) -> str:
    told = ollama.Client(host=url).chat(model="m", messages=TURN, stream=stream)
    return "".join(each.message.content for each in (told if stream else [told]))


def of_ollama_generate(url: str, stream: bool) -> str:
    told = ollama.Client(host=url).generate(model="m", prompt=ASKED, stream=stream)
    return "".join(each.response for each in (told if stream else [told]))


def bedrock(url: str):
    config = Config(retries={"max_attempts": 1}, signature_version=UNSIGNED)
    return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config)


def of_converse(url: str, stream: bool) -> str:
    turn = [{"role": "user", "content": [{"text": ASKED}]}]
    asked = {"modelId": "amazon.nova-lite-v1:0", "messages": turn}
    if stream:
        told = bedrock(url).converse_stream(**asked)["stream"]
        deltas = (each["contentBlockDelta"] for each in told if "contentBlockDelta" in each)
        return "".join(each["delta"]["text"] for each in deltas)
    return bedrock(url).converse(**asked)["output"]["message"]["content"][0]["text"]


def of_invoke(url: str, stream: bool) -> str:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": TURN}
    asked = {"modelId": "anthropic.claude-3-haiku-20240307-v1:0", "body": json.dumps(body)}
    if stream:
        told = bedrock(url).invoke_model_with_response_stream(**asked)["body"]
        events = [json.loads(each["chunk"]["bytes"]) for each in told]
        return "".join(each.get("delta", {}).get("text", "") for each in events)
    return json.load(bedrock(url).invoke_model(**asked)["body"])["content"][0]["text"]


CALLS = {
    "openai chat": (of_openai, chat_speech("api.openai.com")),
    "openai responses": (of_responses, responses_speech()),
    "anthropic": (of_anthropic, claude_speech()),
    "google": (of_google, gemini_speech()),
    "mistral": (of_mistral, chat_speech("api.mistral.ai")),
    "cohere": (of_cohere, cohere_speech()),
    "ollama chat": (
        of_ollama_chat,
        ollama_speech(lambda text: {"message": {"role": "assistant", "content": text}}),
    ),
    "ollama generate": (of_ollama_generate, ollama_speech(lambda text: {"response": text})),
    "bedrock converse": (of_converse, converse_speech()),
    "bedrock invoke": (of_invoke, invoke_speech()),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CALLS)
def test_an_sdk_takes_what_was_redacted(provider: Provider, name: str, stream: bool):
    call, provider.speech = CALLS[name]
    provider.streams = stream
    assert call(provider.url, stream) == CLEAN
    check(provider.forwarded)


def check(forwarded: bytes) -> None:
    """Assert that the request left without the key, and otherwise whole."""
    assert KEY.encode() not in forwarded
    texts = json.dumps(json.loads(forwarded), ensure_ascii=False)
    assert f"é my key is {MARK}, why?" in texts


IN_NODE = {
    ("openai", "chat"): CALLS["openai chat"][1],
    ("openai", "responses"): CALLS["openai responses"][1],
    ("anthropic", "chat"): CALLS["anthropic"][1],
}


@pytest.mark.skipif(
    shutil.which("node") is None or not (NODE.parents[1] / "node_modules").is_dir(),
    reason="Node or its packages are not there: scripts/setup test installs them",
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("name", "api"), IN_NODE)
def test_an_sdk_of_node_takes_what_was_redacted(
    provider: Provider, name: str, api: str, stream: bool
):
    provider.speech, provider.streams = IN_NODE[name, api], stream
    urls = {"OPENAI_BASE_URL": f"{provider.url}/v1", "ANTHROPIC_BASE_URL": provider.url}
    argv = ["node", str(NODE), name, ASKED, "--api", api, *(["--stream"] if stream else [])]
    done = subprocess.run(
        argv, env={**os.environ, **urls}, capture_output=True, text=True, timeout=60, check=False
    )
    told = json.loads(done.stdout)
    assert told["error"] is None, (told, done.stderr)
    assert told["text"] == CLEAN
    check(provider.forwarded)

"""What aimock speaks beside chat, through the agent: forms and sounds, agents and tools, sockets.

The words are those of tests/lab/fixtures.json. WebSockets are a client of their own, with the
messages that stand here.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.scenarios import CLIENTS, REDACTED_RULE, curl, planted
from tests.lab import Agent, Lab

ASKED = "hello from the lab"
ANSWERED = "Hello! The lab hears you."
SECRET = planted(REDACTED_RULE)
MARK = f"[REDACTED:{REDACTED_RULE}]"
OPENAI = "https://api.openai.com/v1/"
GOOGLE = "generativelanguage.googleapis.com"
LINE = json.dumps({"custom_id": "a", "body": {"messages": [{"role": "user", "content": ASKED}]}})


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and what is to be known of it."""

    url: str
    body: dict[str, Any] | tuple[str, ...]
    """JSON, or the fields of a form as curl takes them."""
    operation: str
    shape: str
    answer: str = ANSWERED


def rpc(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


SAID = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": ASKED}]}
CALLS = {
    "rerank": Call(
        "https://api.cohere.com/v2/rerank",
        {"model": "rerank-v3.5", "query": ASKED, "documents": ["a wall", "a fort"]},
        "rerank", "rerank", "",
    ),
    "moderation": Call(OPENAI + "moderations", {"input": ASKED}, "moderation",
                       "openai-moderations", ""),
    "image": Call(OPENAI + "images/generations", {"model": "gpt-image-1", "prompt": ASKED},
                  "image_generation", "openai-images"),
    "speech": Call(OPENAI + "audio/speech", {"model": "tts-1", "input": ASKED, "voice": "alloy"},
                   "speech", "openai-audio", ""),
    "transcription": Call(
        OPENAI + "audio/transcriptions",
        ("model=whisper-1", f"prompt={ASKED}", "file=@-;filename=a.wav"),
        "speech", "openai-audio",
    ),
    "file": Call(OPENAI + "files", ("purpose=batch", f"file={LINE};filename=b.jsonl"),
                 "upload", "openai-files", ""),
    "batch": Call(
        OPENAI + "batches",
        {"input_file_id": "file-1", "endpoint": "/v1/chat/completions",
         "completion_window": "24h", "metadata": {"note": ASKED}},
        "batch", "openai-batches", "",
    ),
    "interactions": Call(
        f"https://{GOOGLE}/v1beta/interactions",
        {"model": "gemini-2.5-flash", "input": ASKED, "stream": True},
        "generate_content", "gemini-interactions",
    ),
    "mcp": Call("https://openrouter.ai/mcp", rpc("tools/call", name="look_up",
                arguments={"query": ASKED}), "execute_tool", "mcp"),
    "a2a": Call("https://openrouter.ai/a2a", rpc("SendMessage", message=SAID),
                "invoke_agent", "mcp"),
}  # fmt: skip


def ask(agent: Agent, call: Call, text: str, version: str) -> dict[str, Any]:
    """Send one request and return the exchange that was recorded of it."""
    options = [f"--http{version}", "-o", "/dev/null"]
    owner = None
    if call.url.endswith("/mcp"):
        session, owner = mcp_session(agent)
        options += ["-H", f"mcp-session-id: {session}"]
    if isinstance(call.body, dict):
        argv = curl(call.url, json.dumps(call.body).replace(ASKED, text), *options)
    else:
        fields = [each.replace(ASKED, text) for each in call.body]
        argv = curl(call.url, None, *options, *(word for each in fields for word in ("-F", each)))
    child = agent.lab.popen(argv, env=agent.trust_env(), cgroup=agent.cgroup)
    out, err = child.communicate(timeout=30)
    assert out.endswith("200"), (out, err[-600:])
    if owner is None:
        (exchange,) = agent.exchanges_of(child.pid)
        return exchange
    # what is said in one MCP session is one session here, whose ever process it was
    return agent.exchanges_of(owner, count=3)[-1]


def mcp_session(agent: Agent) -> tuple[str, int]:
    """Begin an MCP session; return its id, and the process that began it."""
    about = {"protocolVersion": "2025-06-18", "capabilities": {}}
    begin = rpc("initialize", **about, clientInfo={"name": "lab", "version": "1"})
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    session, first = "", 0
    for body in (begin, ready):
        options = ["-i", *(["-H", f"mcp-session-id: {session}"] if session else [])]
        argv = curl("https://openrouter.ai/mcp", json.dumps(body), *options)
        child = agent.lab.popen(argv, env=agent.trust_env(), cgroup=agent.cgroup)
        out, _ = child.communicate(timeout=30)
        first = first or child.pid
        named = (line.partition(": ") for line in out.splitlines())
        session = session or next(v for k, _, v in named if k.lower() == "mcp-session-id").strip()
    return session, first


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("name", CALLS)
def test_it_is_read(monitor: Agent, name: str, version: str):
    call = CALLS[name]
    exchange = ask(monitor, call, ASKED, version)
    assert exchange["gen_ai.operation.name"] == call.operation
    assert exchange["shape"] == call.shape
    assert exchange["strange"] == ""
    asked = [exchange["gen_ai.input.messages"], exchange.get("milecastle.unclaimed")]
    assert ASKED in json.dumps(asked)
    assert call.answer in json.dumps(exchange["gen_ai.output.messages"])


@pytest.mark.parametrize("name", CALLS)
def test_a_secret_is_taken_out_of_it(lab: Lab, enforce: Agent, name: str):
    exchange = ask(enforce, CALLS[name], f"{ASKED} {SECRET}", "2")
    assert exchange["verdict"]["action"] == "redact"
    assert SECRET not in json.dumps(exchange)
    seen = lab.requests(at_least=1)
    assert SECRET not in json.dumps(seen)
    assert any(MARK in each["body"] for each in seen)


# --- WebSockets ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Talk:
    """One WebSocket: what is sent, and what ends each answer."""

    url: str
    steps: tuple[dict[str, Any], ...]
    shape: str


def turn(text: str, **more: Any) -> dict[str, Any]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return {"type": "response.create", "model": "gpt-4o-mini", "input": [item], **more}


ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": ASKED}]}
TALKS = {
    "responses": Talk(
        "wss://api.openai.com/v1/responses",
        (turn(ASKED), {"until": "response.completed"}),
        "openai-responses-socket",
    ),
    "realtime": Talk(
        "wss://api.openai.com/v1/realtime?model=gpt-realtime",
        (
            {"until": "session.created"},
            {"type": "conversation.item.create", "item": ITEM},
            {"type": "response.create"},
            {"until": "response.done"},
        ),
        "openai-realtime",
    ),
    "live": Talk(
        f"wss://{GOOGLE}/ws/google.ai.generativelanguage.v1beta.GenerativeService"
        ".BidiGenerateContent?key=x",
        (
            {"setup": {"model": "models/gemini-2.0-flash-live"}},
            {"until": "setupComplete"},
            {
                "clientContent": {
                    "turns": [{"role": "user", "parts": [{"text": ASKED}]}],
                    "turnComplete": True,
                }
            },
            {"until": "turnComplete"},
        ),
        "gemini-live",
    ),
}


def talk(
    agent: Agent, url: str, steps: Any, text: str = ASKED, count: int = 1
) -> tuple[list[str], Any]:
    """Hold a conversation; return what was heard and the exchanges that were recorded of it."""
    script = json.dumps(steps).replace(ASKED, text)
    argv = [sys.executable, str(Path(CLIENTS) / "talk.py"), url, script]
    child = agent.lab.popen(argv, env=agent.trust_env(), cgroup=agent.cgroup)
    out, err = child.communicate(timeout=40)
    assert child.returncode == 0, err[-800:]
    return json.loads(out), agent.exchanges_of(child.pid, count=count)


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(p["content"] for m in messages for p in m["parts"] if p["type"] == "text")


@pytest.mark.parametrize("name", TALKS)
def test_a_socket_is_read(monitor: Agent, name: str):
    spoken = TALKS[name]
    _, exchanges = talk(monitor, spoken.url, spoken.steps)
    told = [each for each in exchanges if each.get("gen_ai.input.messages")]
    assert {each["shape"] for each in told} == {spoken.shape}
    assert text_of([m for each in told for m in each["gen_ai.input.messages"]]) == ASKED
    assert text_of([m for each in told for m in each["gen_ai.output.messages"]]) == ANSWERED


@pytest.mark.parametrize("name", TALKS)
def test_a_secret_is_taken_out_of_a_socket(lab: Lab, enforce: Agent, name: str):
    spoken = TALKS[name]
    _, exchanges = talk(enforce, spoken.url, spoken.steps, f"{ASKED} {SECRET}")
    assert SECRET not in json.dumps(exchanges)
    assert "redact" in {each["verdict"]["action"] for each in exchanges}
    journal = json.dumps(lab.journal())
    assert SECRET not in journal
    assert MARK in journal


def test_turns_of_responses_over_a_socket_are_one_session(monitor: Agent):
    steps = (
        turn(ASKED),
        {"until": "response.completed"},
        turn("and again?", previous_response_id="$ID"),
        {"until": "response.completed"},
    )
    _, exchanges = talk(monitor, TALKS["responses"].url, steps, count=2)
    assert [text_of(each["gen_ai.input.messages"])[-10:] for each in exchanges] == [
        ASKED[-10:], "and again?",
    ]  # fmt: skip
    assert len({each["session"] for each in exchanges}) == 1

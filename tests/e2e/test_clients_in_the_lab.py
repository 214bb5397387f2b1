"""Clients as people use them: they get what the provider says, as it comes.

A call counts as intercepted when the client trusts nobody but the system and milecastle: the
lab's own authority is not among them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.e2e.scenarios import ANTHROPIC, OPENAI, chat, curl, messages, sdk
from tests.lab import Agent, Lab

V6 = {"NODE_OPTIONS": "--dns-result-order=ipv6first"}
V4 = {"NODE_OPTIONS": "--dns-result-order=ipv4first"}

PYTHON = [
    ("openai", "--family", "4"),
    ("openai", "--family", "6", "--http2"),
    ("openai", "--api", "responses", "--style", "asyncio", "--http2"),
    ("openai", "--api", "responses", "--stream"),
    ("anthropic", "--family", "6", "--style", "asyncio"),
    ("anthropic", "--family", "4", "--http2", "--stream"),
    ("anthropic",),
]
NODE = [
    ("openai", V4),
    ("openai", V6, "--api", "responses", "--stream"),
    ("openai", V6, "--stream"),
    ("anthropic", V6),
    ("anthropic", V4, "--stream"),
]


def told(agent: Agent, argv: list[str], env: dict[str, str] | None = None) -> dict[str, Any]:
    done = agent.run_client(argv, env=env)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def recorded(agent: Agent, pid: int) -> dict[str, Any]:
    (exchange,) = agent.exchanges_of(pid)
    return exchange


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(p["content"] for m in messages for p in m["parts"] if p["type"] == "text")


@pytest.mark.parametrize("arguments", PYTHON, ids=" ".join)
def test_the_python_sdks(monitor: Agent, arguments: tuple[str, ...]):
    provider, *options = arguments
    answer = told(monitor, sdk("python", provider, "hello from the lab", *options))
    assert answer["error"] is None
    assert answer["text"] == "Hello! The lab hears you."
    exchange = recorded(monitor, answer["pid"])
    assert exchange["gen_ai.provider.name"] == provider
    assert text_of(exchange["gen_ai.input.messages"]) == "hello from the lab"
    assert text_of(exchange["gen_ai.output.messages"]) == answer["text"]


@pytest.mark.parametrize(
    "arguments", NODE, ids=lambda a: " ".join(x for x in (a[0], a[1]["NODE_OPTIONS"][-9:], *a[2:]))
)
def test_the_node_sdks(monitor: Agent, arguments: tuple[Any, ...]):
    provider, env, *options = arguments
    answer = told(monitor, sdk("node", provider, "hello from the lab", *options), env)
    assert answer["error"] is None
    assert answer["text"] == "Hello! The lab hears you."
    exchange = recorded(monitor, answer["pid"])
    assert text_of(exchange["gen_ai.input.messages"]) == "hello from the lab"
    assert text_of(exchange["gen_ai.output.messages"]) == answer["text"]


@pytest.mark.parametrize("family", ["-4", "-6"])
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_curl(lab: Lab, monitor: Agent, family: str, version: str):
    argv = curl(OPENAI, chat("hello from the lab"), family, f"--http{version}", "-v")
    done = monitor.run_client(argv)
    assert done.stdout.endswith("\n200")
    assert "The lab hears you" in done.stdout
    # the application sees the peer that it asked for, and our certificate
    peer = {"-4": "198.51.100.3", "-6": "2001:db8:51::3"}[family]
    assert f"({peer}) port 443" in done.stderr
    assert "issuer: CN=milecastle" in done.stderr
    assert f"HTTP/{version} 200" in done.stderr
    (seen,) = lab.requests(at_least=1)
    assert seen["sni"] == "api.openai.com"
    assert seen["address"] == peer


@pytest.mark.parametrize("language", ["python", "node"])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_an_answer_streams_on_as_it_comes(monitor: Agent, language: str, provider: str):
    answer = told(monitor, sdk(language, provider, "tell me slowly", "--stream"))
    assert answer["text"].split()[-1] == "twenty"
    arrivals = answer["arrivals"]
    # twenty words, 40 ms apart: held back, they would come at once
    assert len(arrivals) >= 10
    assert arrivals[-1] - arrivals[0] > 0.5
    exchange = recorded(monitor, answer["pid"])
    assert text_of(exchange["gen_ai.output.messages"]) == answer["text"]


def test_what_holds_nothing_reaches_the_provider_byte_for_byte(lab: Lab, monitor: Agent):
    odd = '{ "model":"gpt-4o-mini",\t"x": 1.50e3, "messages" : [{"content":"caf\\u00e9 ☕ \\/",'
    odd += ' "role":"user"} ],"x":2 }'
    done = monitor.run_client(curl(OPENAI, odd))
    assert done.stdout.endswith("\n200")
    (seen,) = lab.requests(at_least=1)
    assert seen["body"] == odd


def test_a_prompt_of_three_megabytes_passes(lab: Lab, monitor: Agent, tmp_path):
    file = tmp_path / "prompt.json"
    file.write_text(chat("it was a dark and stormy night; " * 100_000))
    argv = curl(OPENAI, None, "-H", "content-type: application/json", "-d", f"@{file}")
    done = monitor.run_client(argv)
    assert done.stdout.endswith("\n200"), done


def test_a_tool_call_is_seen_as_one(monitor: Agent):
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
    body = chat("what is the weather", tools=tools)
    child = monitor.lab.popen(curl(OPENAI, body), env=monitor.trust_env(), cgroup=monitor.cgroup)
    assert "Hexham" in child.communicate(timeout=20)[0]
    exchange = recorded(monitor, child.pid)
    (message,) = exchange["gen_ai.output.messages"]
    (part,) = [p for p in message["parts"] if p["type"] == "tool_call"]
    assert part["name"] == "get_weather"
    assert "Hexham" in json.dumps(part["arguments"])


@pytest.mark.parametrize("url", ["https://www.example.test/", "https://static.example.test/"])
def test_a_site_that_is_no_ai_service_keeps_its_certificate(lab: Lab, monitor: Agent, url: str):
    """The first has the address of an AI service, so it goes through the worker, untouched."""
    host = url.split("/")[2]
    done = monitor.run_client([*curl(url, None, "-v"), "--cacert", str(lab.ca_pem)])
    assert done.stdout == "an ordinary site\n\n200"
    assert f"subject: CN={host}" in done.stderr
    assert "issuer: CN=Milecastle lab CA" in done.stderr
    assert host not in json.dumps(monitor.sessions())


def test_a_provider_with_a_bad_certificate_is_not_vouched_for(lab: Lab, monitor: Agent):
    """The worker must not turn what nobody trusts into what its clients do."""
    # www.example.test's certificate on api.openai.com's address: a name that does not fit
    argv = curl("https://api.cohere.com/v1/chat", chat("hello"), "--connect-to")
    argv += ["api.cohere.com:443:www.example.test:443"]
    done = monitor.run_client(argv)
    assert not done.stdout.endswith("\n200")
    assert not lab.journal()


def test_an_error_of_the_provider_arrives_as_it_is(lab: Lab, monitor: Agent):
    lab.control("POST", "error", {"status": 429, "body": {"message": "slow down", "type": "x"}})
    done = monitor.run_client(curl(OPENAI, chat("hello")))
    assert done.stdout.endswith("\n429")
    assert "slow down" in done.stdout


def test_anthropic_with_curl_is_read_too(monitor: Agent):
    child = monitor.lab.popen(
        curl(ANTHROPIC, messages("hello from the lab", system="be brief")),
        env=monitor.trust_env(),
        cgroup=monitor.cgroup,
    )
    assert child.communicate(timeout=20)[0].endswith("\n200")
    exchange = recorded(monitor, child.pid)
    assert exchange["gen_ai.system_instructions"][0]["content"] == "be brief"
    assert exchange["gen_ai.usage.output_tokens"] == 7

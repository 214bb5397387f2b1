"""Model servers on this host: seen on both sides, and inspected where the settings say so."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import pytest
from tests.e2e.scenarios import CLIENTS, ENFORCE, REDACTED_RULE, curl, planted
from tests.lab import Agent, Lab
from tests.lab.network import RESOLVER, address4
from tests.lab.patience import until

SWEEP = 5.0
"""Seconds until a new server is known, and some more."""


def ask(prompt: str, **more: Any) -> str:
    said = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "llama3.2:1b", "messages": said, **more})


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Return Ollama's own port where that is free, and one that says nothing."""
    with socket.socket() as any_:
        any_.bind(("127.0.0.1", 0))
        return 11434, any_.getsockname()[1]


@pytest.fixture(scope="module")
def server(lab: Lab, ports):
    """Return the processes that serve the two ports."""
    argv = [sys.executable, "-I", str(CLIENTS / "ollama.py"), "127.0.0.1"]
    home = lab.tree / "models"
    home.mkdir()
    served = [lab.popen([*argv, str(port)], cgroup=home, stdin=-3) for port in ports]
    assert until(lambda: all(answers(port) for port in ports), 5)
    yield served
    for process in served:
        process.kill()
        process.wait()


def answers(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((address, port)) == 0


@pytest.fixture(scope="module")
def watching(lab: Lab, server):
    with Agent.up(lab, name="watching") as agent:
        yield agent


@pytest.fixture(scope="module")
def reading(lab: Lab, server, ports):
    settings = {"intercept": {"loopback": list(ports)}}
    with Agent.up(lab, name="reading", policy=ENFORCE, **settings) as agent:
        yield agent


def call(agent: Agent, url: str, body: str) -> tuple[int, str]:
    child = agent.lab.popen(curl(url, body), cgroup=agent.cgroup, stdin=-3)
    output, _ = child.communicate(timeout=30)
    assert output.endswith("200"), output
    return child.pid, output


def connection(agent: Agent, pid: int) -> dict[str, Any] | None:
    rows = agent.objects("connections", "-n", "1000")
    return next((row for row in rows if row["process"]["pid"] == pid), None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_call_to_a_local_model_is_seen_on_both_sides(watching, server, ports, host):
    seen: dict[str, Any] = {}

    def look() -> bool:
        pid, output = call(
            watching, f"http://{host}:{ports[0]}/api/chat", ask("hello", stream=False)
        )
        assert "you said: hello" in output
        until(lambda: connection(watching, pid) is not None, 0.7)
        seen.update(connection(watching, pid) or {})
        return bool(seen)

    assert until(look, SWEEP)
    assert (seen["service"], seen["outcome"], seen["calls"]) == ("ollama", "direct", 0)
    assert seen["process"]["exe"].endswith("/curl")
    assert seen["server"]["pid"] == server[0].pid
    assert seen["server"]["script"].endswith("/ollama.py")
    assert seen["reason"] == "a server on this host, whose port is not intercepted"


def test_the_inventory_has_it_with_its_server(watching, ports):
    assert {"port": ports[0], "service": "ollama"} in watching.status()["model_servers"]
    (row,) = [row for row in watching.objects("inventory") if row["service"] == "ollama"]
    assert row["process"]["exe"].endswith("/curl")
    assert row["server"]["script"].endswith("/ollama.py")
    (state,) = [row for row in watching.objects("coverage") if row["service"] == "ollama"]
    assert state["state"] == "metadata only"


def test_a_call_into_a_container_is_seen_on_both_sides(lab: Lab, watching, ports):
    """The lab's namespace stands for a container's; its server is found there."""
    address = address4(RESOLVER)
    argv = [sys.executable, "-I", str(CLIENTS / "ollama.py"), address, str(ports[0])]
    inside = ["nsenter", f"--net=/run/netns/{lab.name}", *argv]
    container = lab.popen(inside, cgroup=watching.cgroup, stdin=-3)
    seen: dict[str, Any] = {}

    def look() -> bool:
        pid, _ = call(watching, f"http://{address}:{ports[0]}/api/chat", ask("hello"))
        until(lambda: connection(watching, pid) is not None, 0.7)
        seen.update(connection(watching, pid) or {})
        return bool(seen)

    try:
        assert until(lambda: answers(ports[0], address), 5)
        assert until(look, SWEEP * 2)
    finally:
        container.kill()
        container.wait()
    assert (seen["service"], seen["destination"]["address"]) == ("ollama", address)
    assert seen["server"]["pid"] == container.pid
    assert seen["process"]["exe"].endswith("/curl")


def test_another_port_is_nobodys(watching, ports):
    pid, _ = call(watching, f"http://127.0.0.1:{ports[1]}/api/chat", ask("hello"))
    until(lambda: connection(watching, pid) is not None, 1)
    assert connection(watching, pid) is None


@pytest.mark.parametrize("stream", [True, False])
def test_an_intercepted_port_is_inspected_like_any_service(reading, server, ports, stream):
    url, key = f"http://localhost:{ports[0]}/api/chat", planted(REDACTED_RULE)
    pid, output = call(reading, url, ask(f"use {key} please", stream=stream))
    assert key not in output
    assert "REDACTED" in output
    (exchange,) = reading.exchanges_of(pid)
    assert (exchange["service"], exchange["gen_ai.request.model"]) == ("ollama", "llama3.2:1b")
    assert exchange["verdict"]["applied"] == "redact"
    assert exchange["gen_ai.usage.output_tokens"] == 7
    assert until(lambda: (connection(reading, pid) or {}).get("calls") == 1, 3)
    row = connection(reading, pid)
    assert (row["service"], row["outcome"]) == ("ollama", "redirected")
    assert until(lambda: reading.objects("inventory")[0]["calls"] > 0, 3)


def test_what_listens_on_an_intercepted_port_is_known_by_what_is_said(reading, ports):
    url, key = f"http://127.0.0.1:{ports[1]}/v1/chat/completions", planted(REDACTED_RULE)
    pid, output = call(reading, url, ask(f"use {key} please", stream=False))
    assert key not in output
    (exchange,) = reading.exchanges_of(pid)
    assert exchange["service"] == "local-ai"


def test_a_local_model_is_refused_by_hand(watching, ports):
    assert watching.cli("refuse", "ollama", "--for", "1h").returncode == 0
    try:
        child = watching.lab.popen(
            curl(f"http://127.0.0.1:{ports[0]}/api/tags"), cgroup=watching.cgroup, stdin=-3
        )
        child.communicate(timeout=30)
        assert child.returncode == 7
    finally:
        watching.cli("permit", "ollama")

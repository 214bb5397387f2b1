"""Things break: what the policy promises for that is kept, and the network lives on."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from tests.e2e.scenarios import (
    CLOSED,
    ENFORCE,
    OPENAI,
    REDACTED_RULE,
    chat,
    curl,
    load,
    planted,
    sdk,
)
from tests.lab import Agent, Lab
from tests.lab.agent import COMMANDS
from tests.lab.patience import until
from tests.lab.traces import attached

HOST = "api.openai.com"
SECRET = planted(REDACTED_RULE)
LAB_CA = "Milecastle lab CA"

type Call = dict[str, Any]


@pytest.fixture
def opened(lab: Lab) -> Iterator[Agent]:
    with Agent.up(lab, name="open", policy=ENFORCE) as agent:
        yield agent


@pytest.fixture
def closed(lab: Lab) -> Iterator[Agent]:
    with Agent.up(lab, name="closed", policy=CLOSED) as agent:
        yield agent


@contextmanager
def under_load(agent: Agent, seconds: float, prompt: str = "hello") -> Iterator[list[Call]]:
    """Call once and again while the body runs; the list is filled when it is over."""
    calls: list[Call] = []
    client = agent.lab.popen(load(HOST, seconds, prompt), env=agent.any_env(), cgroup=agent.cgroup)
    time.sleep(1.0)
    yield calls
    out, err = client.communicate(timeout=seconds + 20)
    calls += [json.loads(line) for line in out.splitlines()]
    assert calls, err


def begun_in(calls: list[Call], start: float, end: float = float("inf")) -> list[Call]:
    return [call for call in calls if start <= call["begun"] < end]


def succeeded(calls: list[Call]) -> bool:
    return bool(calls) and all(call["status"] == 200 for call in calls)


def issuers(calls: list[Call]) -> set[str | None]:
    return {call["issuer"] for call in calls}


def works(agent: Agent, ca: str | None = None) -> bool:
    """Whether a call is intercepted: its client trusts milecastle alone."""
    argv = curl(OPENAI, chat("still there?"), "--cacert", ca or str(agent.ca_path()))
    return agent.lab.run_client(argv, cgroup=agent.cgroup).stdout.endswith("\n200")


# --- the worker ----------------------------------------------------------------------------------


def test_open_calls_succeed_again_within_two_seconds_of_a_workers_death(opened: Agent):
    (worker,) = opened.pids["workers"]
    with under_load(opened, 6.0) as calls:
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
    assert succeeded(begun_in(calls, 0, killed - 0.2))
    assert succeeded(begun_in(calls, killed + 2)), begun_in(calls, killed)
    assert LAB_CA not in issuers(begun_in(calls, killed + 4)), "it is intercepted again"
    assert opened.pids["workers"] not in ([], [worker])


def test_closed_no_call_gets_round_a_worker_that_died(lab: Lab, closed: Agent):
    (worker,) = closed.pids["workers"]
    with under_load(closed, 6.0, f"the key {SECRET}") as calls:
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
    assert LAB_CA not in issuers(calls)
    assert SECRET not in json.dumps(lab.requests(at_least=1)) + json.dumps(lab.journal())
    assert succeeded(begun_in(calls, killed + 3)), begun_in(calls, killed)


def test_open_calls_go_direct_past_a_worker_that_hangs(opened: Agent):
    (worker,) = opened.pids["workers"]
    with under_load(opened, 7.0) as calls:
        os.kill(worker, signal.SIGSTOP)
        stopped = time.monotonic()
    os.kill(worker, signal.SIGCONT) if worker in opened.pids["workers"] else None
    # one that began before the heartbeat went stale waits for its own time-out
    late = begun_in(calls, stopped + 2)
    assert succeeded(late), late
    assert until(lambda: works(opened), 5)


def test_closed_calls_are_refused_while_the_worker_hangs(lab: Lab, closed: Agent):
    (worker,) = closed.pids["workers"]
    with under_load(closed, 7.0, f"the key {SECRET}") as calls:
        os.kill(worker, signal.SIGSTOP)
    os.kill(worker, signal.SIGCONT) if worker in closed.pids["workers"] else None
    assert LAB_CA not in issuers(calls)
    assert SECRET not in json.dumps(lab.requests(at_least=1)) + json.dumps(lab.journal())
    assert until(lambda: works(closed), 5)


def test_no_protected_byte_leaves_whatever_a_worker_was_doing_when_it_died(
    lab: Lab, closed: Agent, tmp_path: Path
):
    """It dies while one request comes in, while one answer streams, and between two calls."""
    prompt = tmp_path / "prompt.json"
    prompt.write_text(chat(f"{SECRET} and so on, " * 40_000))
    slow_upload = ["--limit-rate", "100k", "-d", f"@{prompt}"]
    clients = [
        curl(OPENAI, None, "-H", "content-type: application/json", *slow_upload),
        sdk("python", "openai", f"tell me slowly about {SECRET}", "--stream"),
        curl(OPENAI, chat(f"with {SECRET}"), "--retry", "3", "--retry-all-errors"),
    ]
    (worker,) = closed.pids["workers"]
    children = [lab.popen(argv, env=closed.trust_env(), cgroup=closed.cgroup) for argv in clients]
    assert until(lambda: "slowly" in json.dumps(lab.journal()), 30)
    os.kill(worker, signal.SIGKILL)
    said = [child.communicate(timeout=30) for child in children]
    assert not said[0][0].endswith("\n200"), "its upload broke off"
    assert said[2][0].endswith("\n200")
    seen = json.dumps(lab.requests(at_least=1)) + json.dumps(lab.journal())
    assert SECRET not in seen
    assert until(lambda: works(closed), 5)


# --- the daemon --------------------------------------------------------------------------------


def test_calls_go_direct_within_a_second_of_the_daemons_death_and_nothing_is_left(lab: Lab):
    with Agent.up(lab, name="killed", policy=CLOSED) as agent:
        with under_load(agent, 4.0) as calls:
            traces = agent.kill()
            killed = time.monotonic()
            assert until(lambda: not traces.remains(), 2.0), traces.remains()
            assert attached(agent.cgroup) == {}
        assert traces.programs
        assert traces.listeners
        after = begun_in(calls, killed + 1)
        assert succeeded(after), after
        assert issuers(after) == {LAB_CA}

        agent.start_again()
        assert works(agent)


def test_a_daemon_removes_the_cgroups_of_one_that_was_killed(lab: Lab):
    with Agent.up(lab, name="killed", policy=ENFORCE) as agent:
        agent.kill()
        agent.start_again()
        agent.stop()
        assert agent.cgroups() == frozenset()


def test_ctrl_c_under_load_leaves_nothing_and_calls_go_on(opened: Agent):
    with under_load(opened, 5.0) as calls:
        opened.stop()
        stopped = time.monotonic()
    after = begun_in(calls, stopped)
    assert succeeded(after), after
    assert issuers(after) == {LAB_CA}


QUIC = """
import socket
for family, address in ((socket.AF_INET, "198.51.100.3"), (socket.AF_INET6, "2001:db8:51::3")):
    def unconnected(s): s.sendto(b"x", (address, 443))
    def connected(s): s.connect((address, 443)), s.send(b"x")
    for say in (unconnected, connected):
        try:
            say(socket.socket(family, socket.SOCK_DGRAM))
        except PermissionError:
            print("refused")
    socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", (address, 8443))
"""


def test_quic_to_an_ai_service_is_refused_so_that_clients_fall_back(opened: Agent):
    assert works(opened)
    done = opened.run_client(["python3", "-c", QUIC])
    assert done.stdout.split() == ["refused"] * 4, done.stderr


# --- hostile peers -------------------------------------------------------------------------------


def framed(value: Any) -> bytes:
    payload = msgpack.packb(value)
    return len(payload).to_bytes(4, "big") + payload


def nested(depth: int) -> bytes:
    payload = b"\x91" * depth + b"\x00"
    return len(payload).to_bytes(4, "big") + payload


NOISE = random.Random(2)
GARBAGE = {
    "noise": NOISE.randbytes(65536),
    "a length of 4 GB": b"\xff\xff\xff\xff" + b"x" * 1000,
    "a length of nothing": b"\x00\x00\x00\x00",
    "half a frame": framed([1, "status", {}])[:-1],
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown request": framed([1, "shutdown", {}]),
    "a request too many fields": framed([1, "status", {"x": 1}]),
    "fields of the wrong type": framed([1, "sessions", {"limit": "all"}]),
    "a daemon's own word": framed([0, "policy", {"text": "", "file": ""}]),
    "a record before hello": framed([0, "record", {"record": {}}]),
    "a foreign hello": framed([1, "hello", {"version": 1}]),
    "a depth of 100,000": nested(100_000),
    "a map of maps": framed([1, "status", {"a": {"b": [{}] * 1000}}]),
    "no frame of ours": framed({"id": 1}),
}


def throw(path: str, data: bytes) -> bytes:
    """Send bytes to a socket and return what comes back until it is closed or silent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(0.5)
        peer.connect(path)
        answer = b""
        try:
            peer.sendall(data)
            while len(answer) < 1 << 20 and (more := peer.recv(65536)):
                answer += more
        except OSError:
            pass
        return answer


@pytest.mark.parametrize("name", ["worker.sock", "control.sock"])
def test_garbage_on_a_socket_harms_nobody(opened: Agent, name: str):
    path, ca = str(opened.run_dir / name), str(opened.ca_path())
    before = opened.pids
    for data in GARBAGE.values():
        throw(path, data)
    idle = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    try:
        for peer in idle:
            peer.settimeout(0.2)
            try:
                peer.connect(path)
                peer.sendall(b"\x00\x00")
            except OSError:
                break
        assert works(opened, ca)
        if name == "worker.sock":
            assert opened.status()["ready"]
    finally:
        for peer in idle:
            peer.close()
    assert until(lambda: opened.status()["ready"], 2)
    assert opened.pids == before


def test_a_client_that_asks_and_never_reads_stops_nobody(opened: Agent):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(opened.run_dir / "control.sock"))
        deaf.setblocking(False)
        asked = framed([1, "sessions", {"limit": 1000}]) * 1000
        try:
            while asked:
                asked = asked[deaf.send(asked) :]
        except OSError:
            pass
        begun = time.monotonic()
        assert opened.status()["ready"]
        assert works(opened)
        assert time.monotonic() - begun < 3


# --- operators ------------------------------------------------------------------------------------


def test_a_configuration_with_mistakes_is_refused_with_every_one_of_them(tmp_path):
    file = tmp_path / "milecastle.yaml"
    file.write_text("cgroups: auto\nworkers: many\ncapture: everything\n")
    done = subprocess.run(
        [str(COMMANDS / "milecastled"), "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    for line, hint in ((1, "cgroup"), (2, "a whole number"), (3, "redacted")):
        assert f"milecastle.yaml:{line}" in done.stderr
        assert hint in done.stderr


def test_without_a_daemon_the_command_line_says_so(tmp_path):
    done = subprocess.run(
        [str(COMMANDS / "milecastle"), "--run-dir", str(tmp_path), "status"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 3
    assert "daemon" in done.stderr

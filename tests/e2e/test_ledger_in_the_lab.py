"""What was seen and what was not: connections, inventory, coverage; and services refused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from typing import Any

import pytest
from tests.e2e.scenarios import ANTHROPIC, OPENAI, chat, curl, messages
from tests.lab import Agent, Lab
from tests.lab.lab import public_folder
from tests.lab.network import address4, interface_with
from tests.lab.patience import until

HOST = 1
PROTOBUF = ("-H", "content-type: application/x-protobuf", "--data-binary", "\n\x03abc")
BLOCKED = """\
version: 1
mode: enforce
on_failure: open
services: {default: sanctioned}
rules:
  - id: no-anthropic
    reason: This service is not for us.
    when: {service: anthropic}
    action: block
  - id: not-by-this-program
    when: {service: mistral, process: {exe: "*/forbidden-curl"}}
    action: refuse
"""
COULD_NOT_CONNECT = 7
"""curl's exit code."""


def run(agent: Agent, argv: list[str], trusting: bool = True, **how: Any) -> tuple[int, int, str]:
    """Return pid, exit code and output of a client."""
    env = agent.any_env() if trusting else agent.lab.trust_env()
    child = agent.lab.popen(argv, env=env, cgroup=agent.cgroup, stdin=-3, **how)
    output, _ = child.communicate(timeout=30)
    return child.pid, child.returncode, output


def connections(agent: Agent, pid: int, count: int = 1) -> list[dict[str, Any]]:
    """Return the connections of a process, once there are so many."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        rows = agent.objects("connections", "-n", "1000")
        found[:] = [row for row in rows if row["process"]["pid"] == pid]
        return len(found) >= count

    until(look, 5)
    return found


def states(agent: Agent, service: str) -> dict[str, str | None]:
    rows = [row for row in agent.objects("coverage") if row["service"] == service]
    return {row["reason"] or "": row["state"] for row in rows}


def test_a_call_is_a_connection_with_its_name_and_owner(monitor: Agent):
    pid, _, output = run(monitor, curl(OPENAI, chat("hello")), user="nobody")
    assert output.endswith("200")
    until(lambda: connections(monitor, pid)[0]["calls"] == 1, 5)
    (row,) = connections(monitor, pid)
    assert (row["service"], row["name"]) == ("openai", "api.openai.com")
    assert (row["outcome"], row["grade"], row["reason"]) == ("redirected", "exact", None)
    assert row["user"] == "nobody"
    assert row["process"]["ancestry"][-1]["pid"] == 1
    assert row["destination"]["port"] == 443


def test_a_neighbour_on_the_same_address_passes_through_and_is_no_service(monitor: Agent):
    pid, _, output = run(monitor, curl("https://www.example.test/"))
    assert "an ordinary site" in output
    (row,) = connections(monitor, pid)
    assert (row["service"], row["name"]) == (None, "www.example.test")
    assert (row["outcome"], row["calls"]) == ("passed through", 0)

    def counted() -> list[int]:
        rows = monitor.objects("coverage")
        return [row["count"] for row in rows if row["process"] and row["service"] is None]

    assert until(lambda: counted() == [1], 5)
    assert None not in [row["service"] for row in monitor.objects("inventory")]


def test_a_client_that_refuses_the_ca_is_seen_and_the_reason_known(monitor: Agent):
    pid, code, _ = run(monitor, curl(OPENAI, chat("hello")), trusting=False)
    assert code == 60  # curl: the peer's certificate cannot be authenticated
    assert connections(monitor, pid)[0]["name"] == "api.openai.com"
    until(lambda: "the client refused the CA" in states(monitor, "openai"), 5)
    assert states(monitor, "openai")["the client refused the CA"] == "metadata only"


def test_a_socket_bound_to_a_device_goes_direct_and_is_metadata_only(lab: Lab, monitor: Agent):
    device = interface_with(address4(HOST))
    pid, _, output = run(monitor, curl(OPENAI, chat("x"), "-4", "--interface", str(device)))
    assert output.endswith("200")
    (row,) = connections(monitor, pid)
    assert (row["outcome"], row["calls"]) == ("direct", 0)
    assert row["reason"] == "its socket is bound to a network device"
    assert states(monitor, "openai")[row["reason"]] == "metadata only"


def test_a_request_of_unknown_shape_is_told_apart_from_a_call(monitor: Agent):
    run(monitor, curl("https://api.mistral.ai/v1/unheard-of", None, *PROTOBUF))
    until(lambda: "a request of unknown shape" in states(monitor, "mistral"), 5)
    assert states(monitor, "mistral") == {"a request of unknown shape": "metadata only"}


def test_the_inventory_has_the_program_its_account_and_never_the_key(monitor: Agent):
    key = "sk-proj-" + "h4Xq9" * 8
    fields = ("-H", f"Authorization: Bearer {key}", "-A", "codex_cli_rs/0.21.0 (Linux)")
    run(monitor, curl(ANTHROPIC, messages("hello"), *fields))

    def used() -> dict[str, Any] | None:
        rows = (row for row in monitor.objects("inventory") if row["service"] == "anthropic")
        return next((row for row in rows if row["accounts"]), None)

    assert until(lambda: used() is not None, 5)
    row = used()
    assert row["process"]["exe"].endswith("/curl")
    assert row["process"]["client"] == "codex"
    assert row["process"]["client_evidence"].startswith("user agent codex_cli_rs/")
    assert row["accounts"][0]["kind"] == "project_key"
    assert row["sanctioned"] is False
    everything = [monitor.objects(what) for what in ("connections", "inventory", "sessions")]
    assert key not in json.dumps(everything)
    assert "[MASKED]" in json.dumps(everything)


def test_a_locked_database_never_lets_the_lease_lapse(monitor: Agent):
    lapses = monitor.status()["kernel"]["heartbeat"]
    databases = (
        sqlite3.connect(path, isolation_level=None) for path in monitor.folder.glob("state/*.db")
    )
    with contextlib.ExitStack() as locked:
        for database in databases:
            locked.callback(database.close)
            database.execute("BEGIN IMMEDIATE")
        until_ = time.monotonic() + 3
        while time.monotonic() < until_:
            assert run(monitor, curl(OPENAI, chat("x")))[2].endswith("200")
            assert monitor.cli("coverage").returncode == 0
        status = monitor.status()
        assert any("does not answer" in sentence for sentence in status["degraded"])
        assert status["kernel"]["heartbeat"] == lapses
        assert status["ready"]
    until(lambda: not monitor.status()["degraded"], 10)
    status = monitor.status()
    assert (status["store"]["lost"], status["ledger"]["lost"], status["degraded"]) == (0, 0, [])


def test_a_renewed_ca_is_served_at_once_without_a_restart(monitor: Agent):
    run(monitor, curl(OPENAI, chat("x")))
    old, pids = monitor.ca_path().read_text(), monitor.pids
    assert monitor.cli("ca", "rotate", "--yes").returncode == 0
    assert monitor.ca_path().read_text() != old

    def inspected() -> bool:
        pid, _, output = run(monitor, curl(OPENAI, chat("x")))
        assert output.endswith("200")
        return bool(monitor.exchanges_of(pid, wait=2))

    assert until(inspected, 10)  # on a busy machine a heartbeat may be late: then one goes direct
    assert monitor.pids == pids


# --- beyond the catalogue ---------------------------------------------------------------------


STRANGER = "direct.example.test"
"""A host of no catalogue, with a model behind it."""


@pytest.fixture(scope="module")
def beyond(lab: Lab):
    with Agent.up(lab, name="beyond", intercept={"hosts": ["*.example.test"]}) as agent:
        yield agent


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize(
    ("path", "status"), [("/v1/chat/completions", "200"), ("/house/ask?by=me", "404")]
)
def test_a_call_to_an_unknown_service_is_known_by_its_shape(
    beyond: Agent, scheme: str, path: str, status: str
):
    pid, _, output = run(beyond, curl(f"{scheme}://{STRANGER}{path}", chat("hello")))
    assert output.endswith(status)
    (exchange,) = beyond.exchanges_of(pid)
    assert (exchange["service"], exchange["host"]) == ("unknown-ai", STRANGER)
    assert exchange["gen_ai.request.model"] == "gpt-4o-mini"
    until(lambda: connections(beyond, pid)[0]["calls"] == 1, 5)
    (row,) = [row for row in beyond.objects("inventory") if row["host"] == STRANGER]
    assert (row["service"], row["sanctioned"]) == ("unknown-ai", False)


def test_what_is_no_call_passes_through_an_unknown_service_unrecorded(lab: Lab, beyond: Agent):
    body = json.dumps({"messages": ["no roles"], "order": 17})
    pid, _, _ = run(beyond, curl(f"https://{STRANGER}/orders", body))
    (row,) = connections(beyond, pid)
    assert (row["service"], row["outcome"], row["calls"]) == ("unknown-ai", "redirected", 0)
    assert beyond.exchanges_of(pid, wait=0.5) == []
    (sent,) = [entry for entry in lab.requests() if entry["uri"] == "/orders"]
    assert json.loads(sent["body"]) == json.loads(body)


# --- refused in the kernel -----------------------------------------------------------------------


def test_a_service_is_refused_by_hand_until_it_is_permitted(monitor: Agent):
    assert monitor.cli("refuse", "openai", "--for", "1h").returncode == 0
    try:
        pid, code, _ = run(monitor, curl(OPENAI, chat("x")))
        assert code == COULD_NOT_CONNECT
        assert {row["outcome"] for row in connections(monitor, pid)} == {"refused"}
        assert run(monitor, curl(ANTHROPIC, messages("x")))[1] == 0
    finally:
        assert monitor.cli("permit", "openai").returncode == 0
    assert run(monitor, curl(OPENAI, chat("x")))[2].endswith("200")


def test_a_refusal_ends_by_itself(monitor: Agent):
    monitor.cli("refuse", "openai", "--for", "2s")
    assert run(monitor, curl(OPENAI, chat("x")))[1] == COULD_NOT_CONNECT
    assert until(lambda: run(monitor, curl(OPENAI, chat("x")))[1] == 0, 5)


def test_a_service_is_refused_to_one_user_and_to_one_program(monitor: Agent):
    call = curl(OPENAI, chat("x"))
    monitor.cli("refuse", "openai", "--user", "nobody")
    assert run(monitor, call, user="nobody")[1] == COULD_NOT_CONNECT
    assert run(monitor, call)[2].endswith("200")
    monitor.cli("permit", "openai")
    monitor.cli("refuse", "openai", "--exe", "*/curl", "--user", "root")
    assert run(monitor, call)[1] == COULD_NOT_CONNECT
    assert run(monitor, call, user="nobody")[2].endswith("200")
    monitor.cli("permit", "openai", "--exe", "*/curl", "--user", "root")
    assert run(monitor, call)[2].endswith("200")


@pytest.fixture(scope="module")
def blocking(lab: Lab):
    with Agent.up(lab, name="blocking", policy=BLOCKED) as agent:
        yield agent


def test_a_service_that_the_policy_blocks_is_refused_with_the_reason(lab: Lab, blocking: Agent):
    _, _, output = run(blocking, curl(ANTHROPIC, messages("x")))
    assert output.endswith("403")
    assert "This service is not for us." in output
    _, _, output = run(blocking, curl("https://api.anthropic.com/unheard-of", None, *PROTOBUF))
    assert output.endswith("403")
    assert lab.journal() == []
    row, _ = blocking.objects("refuse")
    assert (row["service"], row["rule"], row["where"]) == ("anthropic", "no-anthropic", "request")


def test_a_program_that_the_policy_forbids_a_service_is_refused_from_its_first_exec(
    lab: Lab, blocking: Agent
):
    for _ in range(3):  # never seen before, each time
        with public_folder("programs") as folder:
            forbidden = shutil.copy(str(shutil.which("curl")), folder / "forbidden-curl")
            call = curl("https://api.mistral.ai/v1/chat/completions", chat("x"))
            pid, code, _ = run(blocking, [str(forbidden), *call[1:]])
            assert code == COULD_NOT_CONNECT
            (row, *_) = connections(blocking, pid)
            assert (row["outcome"], row["process"]["exe"]) == ("refused", str(forbidden))
            assert run(blocking, call)[1] == 0
            forbidden.unlink()


def test_it_is_refused_also_while_no_worker_runs(lab: Lab, blocking: Agent):
    (worker,) = blocking.pids["workers"]
    os.kill(worker, signal.SIGSTOP)
    try:
        time.sleep(1.3)  # longer than a heartbeat counts
        assert run(blocking, curl(ANTHROPIC, messages("x")))[1] == COULD_NOT_CONNECT
        assert run(blocking, curl(OPENAI, chat("x")))[2].endswith("200")  # direct
    finally:
        os.kill(worker, signal.SIGCONT)
    assert "no worker was alive" in states(blocking, "openai")
    assert [entry for entry in lab.journal() if "anthropic" in json.dumps(entry)[:200]] == []


# --- nobody there --------------------------------------------------------------------------------


HOLDING = """
import os, socket, sys
connection = socket.create_connection(("api.openai.com", 443))
if not os.fork():
    sys.stdin.read()  # the child has inherited the socket
    os._exit(0)
print(flush=True)
sys.stdin.read()
"""


def holding(agent: Agent) -> subprocess.Popen[str]:
    """A process that connects and keeps the connection, together with a child of its own."""
    command = [sys.executable, "-I", "-c", HOLDING]
    child = agent.lab.popen(command, cgroup=agent.cgroup, stdin=subprocess.PIPE)
    child.stdout.readline()
    return child


def test_a_connection_that_a_child_inherited_has_both_owners(monitor: Agent):
    with holding(monitor) as child:
        assert until(lambda: bool(connections(monitor, child.pid)[0]["owners"]), 15)
        (row,) = connections(monitor, child.pid)
        child.stdin.close()
    assert row["grade"] == "exact"
    assert row["owners"][0]["pid"] == child.pid
    assert len(row["owners"]) == 2


def test_a_gap_is_a_row_with_its_times_and_refusals_outlive_it(lab: Lab):
    with Agent.up(lab, name="gap") as agent:
        agent.cli("refuse", "mistral")
        until(lambda: bool(agent.objects("refuse")), 5)
        agent.kill()
        died = time.time()
        assert run(agent, curl(OPENAI, chat("nobody sees this")), trusting=False)[1] == 0
        old = holding(agent)
        agent.start_again()
        back = time.time()
        gap = agent.objects("coverage")[0]
        assert (gap["state"], gap["process"]) == ("blind", None)
        assert gap["reason"] == "the agent ended unexpectedly"
        assert gap["from"] <= died <= gap["to"] <= back
        assert run(agent, curl("https://api.mistral.ai/"))[1] == COULD_NOT_CONNECT
        assert [row["service"] for row in agent.objects("refuse")] == ["mistral"]

        # a connection of that time is there with all who hold it, once its address is known again
        assert run(agent, curl(OPENAI, chat("x")))[1] == 0
        (row,) = connections(agent, old.pid)
        with old:
            old.stdin.close()
        assert (row["grade"], row["outcome"], row["service"]) == ("tuple", "direct", "openai")
        assert row["reason"] == "it is older than the agent"
        assert len(row["owners"]) == 2

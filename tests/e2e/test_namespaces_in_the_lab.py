"""Clients in a network namespace of their own, as containers and pods are: here the lab's own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from tests.e2e.scenarios import ENFORCE
from tests.lab import Agent, Lab
from tests.lab.patience import until

OPENAI = "https://api.openai.com/v1/chat/completions"
KEY = "AKIA" + "Z7QK4MNW2XPLVBTR"


def chat(text: str) -> str:
    return json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]})


@pytest.fixture
def pod(lab: Lab) -> Iterator[Agent]:
    """An agent that has found the namespace, in which a first process sleeps."""
    with Agent.up(lab, name="pod", policy=ENFORCE) as agent:
        resident = lab.popen(inside(lab, "sleep", "60"), cgroup=agent.cgroup)
        try:
            assert until(lambda: agent.status()["namespaces"]["served"] == 1, 10)
            yield agent
        finally:
            resident.kill()
            resident.wait()


def inside(lab: Lab, *argv: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{lab.name}", *argv]


def call(lab: Lab, agent: Agent, text: str, *options: str) -> None:
    """Send one call from inside the namespace."""
    curl = ["curl", "-sS", "--max-time", "15", *options, "-d", chat(text), OPENAI]
    done = lab.run_client(
        inside(lab, *curl, "-H", "content-type: application/json"),
        env=agent.trust_env(),
        cgroup=agent.cgroup,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_call_from_another_namespace_is_intercepted_with_the_right_process(
    lab: Lab, pod: Agent, family: str
):
    call(lab, pod, f"my key is {KEY}", family)
    (session,) = pod.sessions()
    assert session["process"]["comm"] == "curl"
    assert session["grade"] == "exact"
    journal = json.dumps(lab.journal())
    assert KEY not in journal
    assert "[REDACTED:" in journal


def test_the_call_leaves_from_the_client_s_namespace(lab: Lab, pod: Agent):
    call(lab, pod, "hello")
    (request,) = lab.requests(at_least=1)
    # from the root namespace it would come from the veth's other end, .1
    assert request["client"] == request["address"]


def test_a_namespace_that_empties_is_given_up(lab: Lab, pod: Agent):
    call(lab, pod, "hello")
    for process in (pod.cgroup / "cgroup.procs").read_text().split():
        os.kill(int(process), signal.SIGKILL)
    assert until(lambda: pod.status()["namespaces"]["served"] == 0, 10)

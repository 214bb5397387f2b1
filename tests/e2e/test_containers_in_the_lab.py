"""Containers and pods: each in a network namespace of its own, known by what its cgroup says."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.e2e.scenarios import CLOSED, OPENAI, REDACTED_RULE, chat, planted
from tests.lab import Agent, Lab, cgroups, network, podman
from tests.lab.patience import until
from tests.lab.spawn import within as spawned
from tests.pods.cluster import EXAMPLES, NODE, Example, Running, running

from milecastle.host import cgroup2_root

ADDRESS = network.address6(3)
"""Of api.openai.com in the lab."""
POLICY = CLOSED.replace(
    "rules:",
    """rules:
  - id: not-from-the-shop
    when: {direction: request, process: {namespace: shop, pod_labels: team=ml-*}}
    action: block
    reason: The shop has a model of its own.""",
)
SECRET = planted(REDACTED_RULE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("cluster")) as served:
        yield served


@pytest.fixture(scope="module")
def node(lab: Lab, cluster: Running) -> Iterator[Agent]:
    """An agent that asks an API server for pods, and leaves one cgroup's namespaces alone."""
    with Agent.up(
        lab,
        name="node",
        policy=POLICY,
        namespaces={"exclude": [{"cgroup": "*/left-alone"}]},
        kubernetes={
            "source": "api",
            "node": NODE,
            "server": cluster.server,
            "token": str(cluster.token),
            "ca": str(cluster.ca),
        },
    ) as agent:
        assert until(lambda: agent.status()["kubernetes"]["pods"] == len(EXAMPLES), 10), agent.log()
        # the namespaces below have no resolver: their addresses are learnt by others' look-ups
        looked = lab.run_client(["getent", "ahostsv6", "api.openai.com"], cgroup=agent.cgroup)
        assert ADDRESS in looked.stdout
        yield agent
        for cgroup in agent.cgroups():
            if not cgroup.name.startswith("milecastle-"):
                cgroups.remove(cgroup)


def call(text: str) -> list[str]:
    resolve = ["--resolve", f"api.openai.com:443:[{ADDRESS}]"]
    options = ["-sS", "--max-time", "15", *resolve, "-H", "content-type: application/json"]
    return ["curl", *options, "-d", chat(text), OPENAI]


def within(agent: Agent, path: str) -> Path:
    """Make a cgroup below the watched one."""
    folder = agent.cgroup / path.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def call_of(node: Agent, pod: Example, text: str) -> subprocess.CompletedProcess[str]:
    cgroup = within(node, pod.path("main"))
    return node.lab.run_client(call(text), env=node.trust_env(), cgroup=cgroup)


def test_a_pod_is_known_by_its_namespace_name_and_labels(lab: Lab, node: Agent):
    pod = EXAMPLES[2]
    done = call_of(node, pod, f"my key is {SECRET}")
    assert done.returncode == 0, done.stderr + node.log()
    process = node.sessions()[0]["process"]
    assert process["container"] == pod.containers["main"]
    assert process["runtime"] == pod.runtime
    assert process["pod"] == {
        "uid": process["pod"]["uid"],
        "qos": "guaranteed",
        "namespace": pod.namespace,
        "name": pod.name,
        "labels": pod.labels,
        "container": "main",
    }
    (connection,) = (
        each for each in node.objects("connections") if each["process"]["pid"] == process["pid"]
    )
    assert connection["process"]["pod"]["name"] == pod.name
    shown = node.cli("show", node.sessions()[0]["id"]).stdout
    assert f"{pod.namespace}/{pod.name} (main)" in shown
    assert SECRET not in json.dumps(lab.journal())


def test_a_policy_goes_by_the_pod_s_namespace_and_labels(lab: Lab, node: Agent):
    (pod,) = (each for each in EXAMPLES[:8] if each.namespace == "shop" and each.number == 5)
    assert pod.labels["team"].startswith("ml-")
    refused = call_of(node, pod, "hello")
    assert "The shop has a model of its own." in refused.stdout
    assert lab.journal() == []


def test_while_the_api_server_fails_the_last_list_counts_and_status_says_so(
    lab: Lab, node: Agent, cluster: Running
):
    cluster.cluster.status = 503
    cluster.cluster.events.put(None)  # the watch ends, and no other can begin
    assert until(lambda: "503" in str(node.status()["kubernetes"]["fault"]), 10)
    assert any("known by their uid alone" in one for one in node.status()["degraded"])
    done = call_of(node, EXAMPLES[6], "hello")
    assert done.returncode == 0, done.stderr + node.log()
    assert node.sessions()[0]["process"]["pod"]["name"] == EXAMPLES[6].name
    cluster.cluster.status = 200
    assert until(lambda: node.status()["kubernetes"]["fault"] is None, 20)


@pytest.mark.skipif(bool(podman.absent()), reason=podman.absent())
def test_two_namespaces_and_a_container_are_intercepted_and_a_third_is_left_alone(
    lab: Lab, node: Agent
):
    served = node.status()["namespaces"]["served"]
    with ExitStack() as stack:
        one, two, three, alone = (
            stack.enter_context(network.spoke(lab.name, f"{lab.name}-{name}", 0xA0 + number))
            for number, name in enumerate(("one", "two", "three", "alone"))
        )
        name = f"{lab.name}-container"
        parent = "/" + str(node.cgroup.relative_to(cgroup2_root() or "/"))
        options = ["--network", f"ns:{three}", "--hostname", "inside"]
        number = stack.enter_context(podman.container(name, parent, options, ["sleep", "60"]))
        homes = {one: node.cgroup, two: node.cgroup, alone: within(node, "left-alone")}
        for netns, cgroup in homes.items():
            argv = spawned(cgroup, ["sleep", "60"], namespaces={"net": str(netns)})
            resident = subprocess.Popen(argv)
            stack.callback(resident.wait)
            stack.callback(resident.kill)

        def ready() -> bool:
            told = node.status()["namespaces"]
            return (told["served"] - served, told["excluded"]) == (3, 1)

        assert until(ready, 10), node.status()["namespaces"]
        env = node.any_env()
        said = {netns.name: f"{netns.name} has {SECRET}" for netns in (*homes, three)}
        commands = [
            spawned(cgroup, call(said[netns.name]), namespaces={"net": str(netns)})
            for netns, cgroup in homes.items()
        ]
        for command in (*commands, podman.inside(name, call(said[three.name]), env)):
            done = subprocess.run(
                command,
                env={**os.environ, **env},
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr + node.log()

        asked = {request["client"]: json.dumps(request) for request in lab.requests(at_least=4)}
        assert set(asked) == {network.address6(0xA0 + number) for number in range(4)}, (
            "each call left from its own namespace"
        )
        journal = json.dumps(lab.journal())
        assert SECRET in journal, "the one that was left alone went as it was"
        assert journal.count(SECRET) == 1
        assert journal.count("[REDACTED:") == 3
        sessions = node.sessions()[:3]
        assert [session["process"]["comm"] for session in sessions] == ["curl"] * 3
        assert {session["grade"] for session in sessions} == {"exact"}
        containers = [each["process"] for each in sessions if each["process"]["container"]]
        assert [(each["container"], each["runtime"]) for each in containers] == [(number, "podman")]
        (left,) = (
            each
            for each in node.objects("connections")
            if each["process"]["cgroup"].endswith("/left-alone")
        )
        assert left["outcome"] == "direct"
        assert left["reason"] == "the settings leave its network namespace alone"
    gone = lambda: node.status()["namespaces"]  # noqa: E731 - asked until it holds
    assert until(lambda: (gone()["served"], gone()["excluded"]) == (served, 0), 10), gone()

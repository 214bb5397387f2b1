"""Where connections go, on the real kernel."""

from __future__ import annotations

import subprocess
import time

import pytest

from milecastle.kernel import Outcome, Reason
from milecastle.kernel.layout import Counter

from .conftest import SERVICE
from .lab import NEAR4, OTHER4, SERVICE4, SERVICE6, entering, sub_cgroup

pytestmark = pytest.mark.root

ADDRESSES = [SERVICE4, SERVICE6, f"::ffff:{SERVICE4}"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("port", [443, 80])
def test_a_connection_to_a_watched_address_reaches_the_checkpoint(gate, address, port):
    gate.watch()
    [result] = gate.run({"do": "tcp", "to": address, "port": port})
    assert result["said"] == "checkpoint"
    [flow] = gate.flows()
    assert (flow.outcome, flow.reason) == (Outcome.REDIRECTED, Reason.POLICY)
    assert (flow.address, flow.port) == (address.removeprefix("::ffff:"), port)
    assert (flow.service, flow.cookie, flow.pid) == (SERVICE, result["cookie"], result["pid"])


def test_a_flow_says_who_connected_and_from_where(gate, netns):
    gate.watch()
    before = time.monotonic_ns()
    with sub_cgroup(gate.cgroup) as below:
        [result] = gate.lab.run(below, {"do": "tcp", "to": SERVICE4}, user="65534")
        inode = below.stat().st_ino
    [flow] = gate.flows()
    assert (flow.pid, flow.tid, flow.uid, flow.comm) == (
        result["pid"],
        result["pid"],
        65534,
        "python3",
    )
    assert (flow.cgroup, flow.netns) == (inode, netns)
    assert before < flow.opened_ns < time.monotonic_ns()


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_checkpoint_finds_the_flow_by_its_peer(gate, netns, address):
    gate.watch()
    found = []
    gate.checkpoint.on_accept = lambda host, port: found.append(gate.kernel.flow(host, port, netns))
    [result] = gate.run({"do": "tcp", "to": address})
    assert found[0].cookie == result["cookie"]
    assert gate.kernel.flow("127.0.0.1", result["local"][1], netns + 1) is None


def test_two_sources_with_one_port_are_told_apart(gate, netns):
    gate.watch()
    [result] = gate.run({"do": "tcp", "to": SERVICE4, "source": NEAR4})
    host, port = gate.checkpoint.peers[-1]
    assert host == NEAR4
    assert gate.kernel.flow(NEAR4, port, netns).cookie == result["cookie"]
    assert gate.kernel.flow("127.0.0.1", port, netns) is None


def test_a_client_that_closes_at_once_is_still_found(gate, netns):
    gate.watch()
    [result] = gate.run({"do": "tcp", "to": SERVICE4, "hasty": True})
    time.sleep(0.1)
    assert gate.kernel.flow("127.0.0.1", result["local"][1], netns).cookie == result["cookie"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_application_sees_the_peer_that_it_asked_for(gate, address):
    gate.watch()
    [result] = gate.run({"do": "tcp", "to": address})
    assert result["said"] == "checkpoint"
    assert result["peer"] == [address, 443]


@pytest.mark.parametrize(
    "operation",
    [
        {"do": "tcp", "to": OTHER4},
        {"do": "tcp", "to": SERVICE4, "port": 8443},
        {"do": "udp", "to": OTHER4, "connected": True},
        {"do": "udp", "to": SERVICE4, "port": 4433},
    ],
)
def test_what_is_not_watched_goes_its_way_and_leaves_no_trace(gate, operation):
    gate.watch()
    before = gate.kernel.counters()
    [result] = gate.run(operation)
    assert result["said"] in ("service", "pong")
    assert gate.flows() == []
    assert gate.kernel.counters() == before


def test_loopback_is_never_touched(gate):
    gate.watch()
    local = type(gate.checkpoint)("local")
    port = local.listen(gate.lab.near, "127.0.0.1", 0).getsockname()[1]
    [result] = gate.run({"do": "tcp", "to": "127.0.0.1", "port": port})
    assert (result["said"], result["peer"]) == ("local", ["127.0.0.1", port])
    assert gate.flows() == []
    local.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_nobody_comes_to_the_checkpoint_by_themselves(gate, address):
    """Such a connection would be attributed to an earlier one that had the same port."""
    gate.watch()
    port = gate.ports[":" in address and "." not in address]
    [result] = gate.run({"do": "tcp", "to": address, "port": port})
    assert result["error"] == "EPERM"
    with sub_cgroup(gate.cgroup) as worker:
        gate.kernel.exempt(worker.stat().st_ino)
        [result] = gate.lab.run(worker, {"do": "tcp", "to": address, "port": port})
    assert result["said"] == "checkpoint"


def test_the_checkpoint_s_port_is_free_for_others_where_the_checkpoint_is_not(gate):
    gate.watch()
    other = type(gate.checkpoint)("other")
    other.listen(gate.lab.far, "127.0.0.1", gate.ports[0])
    operation = {"do": "tcp", "to": "127.0.0.1", "port": gate.ports[0]}
    assert gate.run(operation, netns=gate.lab.far)[0]["said"] == "other"
    other.close()


PRESSURE = """
import socket
for _ in range(200_000):
    s = socket.socket()
    try:
        s.connect(("198.51.100.6", 443))
    except PermissionError:
        pass
    s.close()
"""


def test_a_full_map_loses_flows_but_never_mistakes_them(gate, netns):
    gate.watch()
    results = gate.run(*[{"do": "tcp", "to": SERVICE4}] * 50)
    gate.kernel.set_service(9, False, False, True)
    gate.kernel.learn(OTHER4, 9, 60)
    before = gate.counted(Counter.REFUSED)
    subprocess.run(
        entering(gate.cgroup, gate.lab.near, ["/usr/bin/python3", "-I", "-S", "-c", PRESSURE]),
        check=True,
    )
    assert gate.counted(Counter.REFUSED) == before + 200_000
    for result in results:
        flow = gate.kernel.flow("127.0.0.1", result["local"][1], netns)
        assert flow is None or flow.cookie == result["cookie"]
    [result] = gate.run({"do": "tcp", "to": SERVICE4})
    assert gate.kernel.flow("127.0.0.1", result["local"][1], netns).cookie == result["cookie"]


def test_a_service_that_the_policy_leaves_alone_is_recorded_and_goes_direct(gate):
    gate.watch(redirect=False)
    [result] = gate.run({"do": "tcp", "to": SERVICE4})
    assert result["said"] == "service"
    [flow] = gate.flows()
    assert (flow.outcome, flow.reason) == (Outcome.DIRECT, Reason.POLICY)


@pytest.mark.parametrize("redirect", [True, False])
def test_a_refused_service_is_refused_even_while_no_worker_runs(gate, redirect):
    gate.watch(redirect=redirect, refuse=True)
    gate.kernel.beat(0)
    results = gate.run(*({"do": "tcp", "to": address} for address in ADDRESSES))
    assert [result["error"] for result in results] == ["EPERM"] * 3
    assert {(flow.outcome, flow.reason) for flow in gate.flows()} == {
        (Outcome.REFUSED, Reason.POLICY)
    }


@pytest.mark.parametrize("closed", [False, True])
def test_an_excluded_namespace_goes_direct_whatever_happens_else(gate, netns, closed):
    gate.watch(closed=closed)
    before = gate.counted(Counter.EXCLUDED)
    gate.kernel.exclude(netns)
    operations = [{"do": "tcp", "to": address} for address in ADDRESSES]
    operations += [{"do": "udp", "to": SERVICE4, "connected": how} for how in (False, True)]
    try:
        results = gate.run(*operations)
    finally:
        gate.kernel.include(netns)
    assert [result["said"] for result in results] == ["service"] * 3 + ["pong"] * 2
    assert {(flow.outcome, flow.reason) for flow in gate.flows()} == {
        (Outcome.DIRECT, Reason.EXCLUDED)
    }
    assert gate.counted(Counter.EXCLUDED) > before
    [result] = gate.run({"do": "tcp", "to": SERVICE4})
    assert result["said"] == "checkpoint", "included again"


def test_an_excluded_namespace_is_still_refused_what_the_policy_refuses(gate, netns):
    gate.watch(refuse=True)
    gate.kernel.exclude(netns)
    try:
        [result] = gate.run({"do": "tcp", "to": SERVICE4})
    finally:
        gate.kernel.include(netns)
    assert result["error"] == "EPERM"


def stale(gate):
    gate.kernel.beat(time.monotonic_ns() - 1_100_000_000)


def never(gate):
    gate.kernel.beat(0)


def unheard(gate):
    gate.checkpoint.close()


def nowhere(gate):
    gate.kernel.set_checkpoint(0, 0)


@pytest.mark.parametrize(
    ("trouble", "reason", "counter"),
    [
        (stale, Reason.HEARTBEAT, Counter.HEARTBEAT),
        (never, Reason.HEARTBEAT, Counter.HEARTBEAT),
        (unheard, Reason.NO_LISTENER, Counter.NO_LISTENER),
        (nowhere, Reason.NO_LISTENER, Counter.NO_LISTENER),
    ],
)
@pytest.mark.parametrize("closed", [False, True])
def test_trouble_leads_to_what_the_policy_says_about_failure(
    gate, trouble, reason, counter, closed
):
    gate.watch(closed=closed)
    trouble(gate)
    before = gate.counted(counter)
    results = gate.run(*({"do": "tcp", "to": address} for address in ADDRESSES))
    if closed:
        assert [result.get("error") for result in results] == ["EPERM"] * 3
    else:
        assert [result.get("said") for result in results] == ["service"] * 3
    outcome = Outcome.REFUSED if closed else Outcome.DIRECT
    assert [(flow.outcome, flow.reason) for flow in gate.flows()] == [(outcome, reason)] * 3
    assert gate.counted(counter) == before + 3


@pytest.mark.parametrize("closed", [False, True])
def test_a_socket_bound_to_a_device_follows_on_failure(gate, closed):
    gate.watch(closed=closed)
    results = gate.run(
        {"do": "tcp", "to": SERVICE4, "device": "near0"},
        {"do": "tcp", "to": SERVICE6, "device": "near0"},
    )
    expected = {"error": "EPERM"} if closed else {"said": "service"}
    assert all(result.items() >= expected.items() for result in results)
    assert {flow.reason for flow in gate.flows()} == {Reason.BOUND_DEVICE}


def test_a_listener_that_nobody_vouched_for_gets_nothing(gate):
    gate.watch()
    impostor = type(gate.checkpoint)("impostor")
    port = impostor.listen(gate.lab.near, "127.0.0.1", 0).getsockname()[1]
    gate.kernel.set_checkpoint(port, 0)
    [result] = gate.run({"do": "tcp", "to": SERVICE4})
    impostor.close()
    assert result["said"] == "service"
    assert gate.flows()[0].reason == Reason.NO_LISTENER


def test_an_exempt_cgroup_goes_direct_and_its_likeness_does_not(gate):
    gate.watch()
    operation = {"do": "tcp", "to": SERVICE4}
    with sub_cgroup(gate.cgroup) as worker, sub_cgroup(gate.cgroup) as other:
        gate.kernel.exempt(worker.stat().st_ino)
        assert gate.lab.run(worker, operation, user="65534")[0]["said"] == "service"
        assert gate.flows() == []
        assert gate.lab.run(other, operation, user="65534")[0]["said"] == "checkpoint"
        with sub_cgroup(worker) as below:
            assert gate.lab.run(below, operation, user="65534")[0]["said"] == "checkpoint"


def test_an_address_whose_time_is_over_is_not_watched_any_more(gate):
    gate.watch()
    gate.kernel.forget(SERVICE4)
    [result] = gate.run({"do": "tcp", "to": SERVICE4})
    assert result["said"] == "service"
    assert gate.flows() == []


def test_other_cgroups_never_meet_the_hooks(gate):
    gate.watch(refuse=True)
    with sub_cgroup() as outside:
        [result] = gate.lab.run(outside, {"do": "tcp", "to": SERVICE4})
    assert result["said"] == "service"


def test_another_namespace_without_a_checkpoint_goes_direct(gate):
    gate.watch()
    [result] = gate.run({"do": "tcp", "to": SERVICE4}, netns=gate.lab.far)
    assert result["said"] == "service"
    [flow] = gate.flows()
    assert flow.reason == Reason.NO_LISTENER

"""QUIC is refused where it sends, never where getaddrinfo() probes."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from milecastle.kernel import Outcome, Reason
from milecastle.kernel.layout import Counter

from .lab import SERVICE4, SERVICE6, entering, sub_cgroup

pytestmark = pytest.mark.root

ADDRESSES = [SERVICE4, SERVICE6, f"::ffff:{SERVICE4}"]


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_datagram_to_a_service_that_can_be_intercepted_is_refused(gate, address, connected):
    gate.watch()
    before = gate.counted(Counter.QUIC_REFUSED)
    [result] = gate.run({"do": "udp", "to": address, "connected": connected})
    assert result["error"] == "EPERM"
    assert gate.counted(Counter.QUIC_REFUSED) == before + 1
    [flow] = gate.flows()
    assert (flow.outcome, flow.reason, flow.protocol) == (Outcome.REFUSED, Reason.QUIC, 17)
    assert (flow.comm, flow.address) == ("python3", address.removeprefix("::ffff:"))


@pytest.mark.parametrize("connected", [False, True])
def test_without_a_worker_a_datagram_follows_on_failure(gate, connected):
    operation = {"do": "udp", "to": SERVICE4, "connected": connected}
    gate.watch()
    gate.kernel.beat(0)
    assert gate.run(operation)[0]["said"] == "pong"
    assert [flow.outcome for flow in gate.flows()] == [Outcome.DIRECT]
    gate.watch(closed=True)
    gate.kernel.beat(0)
    assert gate.run(operation)[0]["error"] == "EPERM"
    assert [flow.reason for flow in gate.flows()] == [Reason.HEARTBEAT]


def test_a_connected_datagram_socket_that_sends_nothing_is_let_be(gate):
    gate.watch(refuse=True)
    [result] = gate.run({"do": "udp", "to": SERVICE4, "connected": True, "silent": True})
    assert result["connected"] == [SERVICE4, 443]
    assert gate.flows() == []


def test_the_worker_may_send_what_it_likes(gate):
    gate.watch()
    with sub_cgroup(gate.cgroup) as worker:
        gate.kernel.exempt(worker.stat().st_ino)
        results = gate.lab.run(
            worker,
            {"do": "udp", "to": SERVICE4},
            {"do": "udp", "to": SERVICE4, "connected": True},
        )
    assert [result["said"] for result in results] == ["pong", "pong"]


SORTED = """
import json, socket, sys
found = socket.getaddrinfo("service.test", 443, type=socket.SOCK_STREAM)
print(json.dumps([entry[4][0] for entry in found]))
"""


def test_getaddrinfo_sorts_addresses_as_without_hooks(gate, tmp_path):
    """On a host without an IPv6 route, IPv4 comes first; refused probes would turn that round."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"2001:db8:52::9 service.test\n{SERVICE4} service.test\n")

    def order(cgroup):
        script = f"mount --bind {hosts} /etc/hosts && exec /usr/bin/python3 -I -S -c '{SORTED}'"
        command = ["unshare", "--mount", "sh", "-c", script]
        done = subprocess.run(
            entering(cgroup, gate.lab.near, command), capture_output=True, text=True, check=True
        )
        return done.stdout

    gate.watch(addresses=(SERVICE4, "2001:db8:52::9"))
    with sub_cgroup() as outside:
        expected = order(outside)
    assert SERVICE4 in expected.split(",")[0]
    assert order(gate.cgroup) == expected
    assert gate.flows() == []


def test_a_socket_from_before_is_refused_when_the_worker_comes_back(gate):
    """What is decided is what can be done now, at each datagram."""
    gate.watch()
    gate.kernel.beat(0)
    script = f"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.connect(("{SERVICE4}", 443))
for line in sys.stdin:
    try:
        s.send(b"ping"); print(s.recv(9).decode(), flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""
    command = entering(gate.cgroup, gate.lab.near, [sys.executable, "-I", "-S", "-c", script])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, **pipes) as client:

        def send():
            client.stdin.write("\n")
            return client.stdout.readline().strip()

        assert send() == "pong"
        gate.kernel.beat(time.monotonic_ns())
        assert send() == "1"
        client.stdin.close()
    assert [flow.outcome for flow in gate.flows()] == [Outcome.DIRECT, Outcome.REFUSED]

"""What the daemon tells the kernel, and what it refuses to tell."""

from __future__ import annotations

import select
import socket
import subprocess
import time
from pathlib import Path

import pytest

from milecastle.kernel import kernel
from milecastle.kernel.layout import SERVICES, Counter

from .conftest import SERVICE
from .lab import SERVICE4, SERVICE6, entering

pytestmark = pytest.mark.root


def test_addresses_are_learnt_and_forgotten(gate):
    gate.kernel.learn(SERVICE4, SERVICE, 60)
    gate.kernel.learn(f"::ffff:{SERVICE4}", SERVICE, 60)
    gate.kernel.learn(SERVICE6, 9, 60)
    assert gate.kernel.addresses() == {SERVICE4: SERVICE, SERVICE6: 9}
    gate.kernel.forget(SERVICE4)
    gate.kernel.forget(SERVICE4)
    assert gate.kernel.addresses() == {SERVICE6: 9}


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.2", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "x"],
)
def test_an_address_that_can_be_no_service_is_refused(gate, address):
    with pytest.raises(ValueError):
        gate.kernel.learn(address, SERVICE, 60)
    assert gate.kernel.addresses() == {}


@pytest.mark.parametrize("number", [0, -1, SERVICES])
def test_a_number_that_can_be_no_service_is_refused(gate, number):
    with pytest.raises(ValueError, match="service numbers"):
        gate.kernel.set_service(number, True, False, False)
    with pytest.raises(ValueError, match="service numbers"):
        gate.kernel.learn(SERVICE4, number, 60)


def test_times_to_live_have_bounds():
    assert kernel.clamped(0) == 60
    assert kernel.clamped(300) == 300
    assert kernel.clamped(1e12) == 86_400


def test_only_sockets_are_vouched_for(gate):
    with Path("/dev/null").open() as file, pytest.raises(OSError):
        gate.kernel.vouch(file.fileno())
    with socket.socket() as sock:
        gate.kernel.vouch(sock.fileno())


def test_the_descriptor_is_readable_while_there_are_events(gate):
    def readable():
        return bool(select.select([gate.kernel.fileno()], [], [], 0)[0])

    assert not readable()
    gate.watch()
    gate.run({"do": "tcp", "to": SERVICE4})
    assert readable()
    assert len(gate.flows()) == 1
    assert not readable()


def test_one_call_takes_no_more_events_than_the_loop_can_bear(gate, monkeypatch):
    monkeypatch.setattr(kernel, "MOST_EVENTS", 3)
    gate.watch()
    gate.run(*[{"do": "tcp", "to": SERVICE4}] * 5)
    assert [len(gate.flows()) for _ in range(3)] == [3, 2, 0]


def test_a_record_that_makes_no_sense_is_counted(gate, monkeypatch):
    def senseless(_):
        raise ValueError

    monkeypatch.setitem(kernel.READERS, "flow_ring", senseless)
    before = gate.kernel.counters()["record_unreadable"]
    gate.watch()
    gate.run({"do": "tcp", "to": SERVICE4})
    assert list(gate.kernel.events()) == []
    assert gate.kernel.counters()["record_unreadable"] == before + 1


def test_every_flow_is_reported_or_counted_as_lost(gate):
    gate.watch(redirect=False)
    lost = gate.counted(Counter.FLOW_UNREPORTED)
    direct = gate.counted(Counter.DIRECT)
    script = (
        "import socket\n"
        "for _ in range(14000):\n"
        "    s = socket.socket(); s.setblocking(False)\n"
        f"    s.connect_ex(('{SERVICE4}', 443)); s.close()\n"
    )
    subprocess.run(
        entering(gate.cgroup, gate.lab.near, ["/usr/bin/python3", "-I", "-S", "-c", script]),
        check=True,
    )
    seen = 0
    deadline = time.monotonic() + 5
    while (events := gate.flows()) and time.monotonic() < deadline:
        seen += len(events)
    lost = gate.counted(Counter.FLOW_UNREPORTED) - lost
    assert seen + lost == gate.counted(Counter.DIRECT) - direct == 14000
    assert lost > 0

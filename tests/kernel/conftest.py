"""Fixtures for tests on the real kernel: everything happens in a sub-cgroup and own namespaces."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from milecastle.kernel import Flow, Kernel, libbpf
from milecastle.kernel.layout import Counter, Place, packed

from . import lab as places

SERVICE = 7
"""The number of the service that the tests watch."""


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            if (
                item.get_closest_marker("root")
                and Path(item.fspath).parent == Path(__file__).parent
            ):
                item.add_marker(pytest.mark.skip(reason="needs root: loads BPF programs"))


@dataclass
class Gate:
    """Hooks on a sub-cgroup, a lab, and a checkpoint in its near namespace."""

    kernel: Kernel
    cgroup: Path
    lab: places.Lab
    checkpoint: places.Greeter
    ports: tuple[int, int]

    def watch(self, *, redirect=True, closed=False, refuse=False, addresses=None) -> None:
        """Watch the lab's service addresses, with a worker that is alive."""
        self.kernel.set_service(SERVICE, redirect, closed, refuse)
        for address in addresses or (places.SERVICE4, places.SERVICE6):
            self.kernel.learn(address, SERVICE, 3600)
        self.kernel.beat(time.monotonic_ns() + 60_000_000_000)  # fresh until a test says otherwise

    def run(self, *operations, **where):
        return self.lab.run(self.cgroup, *operations, **where)

    def flows(self, at_least: int = 0) -> list[Flow]:
        """The flows that were reported; waits where data may still be on its way out."""
        found: list[Flow] = []
        end = time.monotonic() + 2
        while time.monotonic() < end:
            found += [event for event in self.kernel.events() if isinstance(event, Flow)]
            if len(found) >= at_least:
                break
            time.sleep(0.005)
        return found

    def expiry(self, address: str) -> float:
        """Return for how many seconds an address is still known."""
        raw = libbpf.lookup(self.kernel._maps["addresses"], packed(address), 16)
        return (Place.from_buffer_copy(raw).expires_ns - time.monotonic_ns()) / 1e9

    def counted(self, counter: Counter) -> int:
        return self.kernel.counters()[counter.name.lower()]


@pytest.fixture(scope="session")
def lab() -> Iterator[places.Lab]:
    with places.laboratory() as found:
        yield found


@pytest.fixture(scope="session")
def cgroup() -> Iterator[Path]:
    with places.sub_cgroup() as path:
        yield path


@pytest.fixture(scope="session")
def attached(cgroup) -> Iterator[Kernel]:
    kernel = Kernel.open(cgroup)
    yield kernel
    kernel.close()


@pytest.fixture
def gate(attached, cgroup, lab) -> Iterator[Gate]:
    """Hooks in their first state: nothing watched, no heartbeat, a checkpoint that listens."""
    kernel = attached
    checkpoint = places.Greeter("checkpoint")
    listeners = [checkpoint.listen(lab.near, address, 0) for address in ("127.0.0.1", "::1")]
    for listener in listeners:
        kernel.vouch(listener.fileno())
    ports = tuple(listener.getsockname()[1] for listener in listeners)
    kernel.set_checkpoint(*ports)
    for address in kernel.addresses():
        kernel.forget(address)
    kernel.set_service(SERVICE, False, False, False)
    kernel.cut_late(False)
    kernel.beat(0)
    while list(kernel.events()):
        pass
    yield Gate(kernel, cgroup, lab, checkpoint, ports)
    checkpoint.close()


@pytest.fixture
def netns(lab) -> int:
    """The cookie of the clients' namespace."""
    return places.netns_cookie(lab.near)

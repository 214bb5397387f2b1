"""The kernel room without a kernel: the same methods over dictionaries, and connect() to try them.

For the tests of whoever uses Kernel. It decides as bpf/decide.c does; what it does not have is
packets on a wire, so a test hands it what the kernel would have seen.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from milecastle.kernel.checked import (
    Door,
    checked_port,
    checked_service,
    clamped,
    local_servers,
    reachable,
)
from milecastle.kernel.flows import TCP, UDP, Flow, Packet
from milecastle.kernel.kernel import MOST_EVENTS, MOST_RESTRICTIONS
from milecastle.kernel.layout import (
    HEARTBEAT_NS,
    Counter,
    Flag,
    Outcome,
    Reason,
    packed,
    unpacked,
)
from milecastle.kernel.lives import Life
from milecastle.kernel.restrictions import Restriction
from milecastle.kernel.trie import Named, trie

PORTS = {TCP: (443, 80), UDP: (443,)}
OBSTACLES = {
    Reason.BOUND_DEVICE: Counter.BOUND_DEVICE,
    Reason.HEARTBEAT: Counter.HEARTBEAT,
    Reason.NO_LISTENER: Counter.NO_LISTENER,
    Reason.EXCLUDED: Counter.EXCLUDED,
}
OUTCOMES = {
    Outcome.REDIRECTED: Counter.REDIRECTED,
    Outcome.DIRECT: Counter.DIRECT,
    Outcome.REFUSED: Counter.REFUSED,
}


def decide(flags: int, obstacle: Reason, protocol: int = TCP) -> tuple[Outcome, Reason]:
    """Return what becomes of a connection to a service, by the rules of bpf/decide.c."""
    if flags & Flag.REFUSE:
        return Outcome.REFUSED, Reason.POLICY
    if not flags & Flag.REDIRECT:
        return Outcome.DIRECT, Reason.POLICY
    if obstacle:
        kept_out = flags & Flag.CLOSED and obstacle is not Reason.EXCLUDED
        return Outcome.REFUSED if kept_out else Outcome.DIRECT, obstacle
    if protocol == UDP:
        return Outcome.REFUSED, Reason.QUIC
    return Outcome.REDIRECTED, Reason.POLICY


class FakeKernel:
    """Kernel's methods on a model. ``clock`` is CLOCK_MONOTONIC in nanoseconds."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._ports = (0, 0)
        self._vouched: set[int] = set()
        self._exempt: set[int] = set()
        self.excluded: set[int] = set()
        self._beat = 0
        self._services: dict[int, int] = {}
        self.restrictions: tuple[Restriction, ...] = ()
        self._addresses: dict[str, tuple[int, int]] = {}
        self._flows: dict[tuple[str, int, int], Flow] = {}
        self._events: deque[Flow | Packet] = deque()
        self._tally: Tally[Counter] = Tally()
        self._cookies = itertools.count(1)
        self._sources = itertools.count(32768)
        self._readable = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.closed = False
        self.names: dict[bytes, int] = {}
        self.locals: dict[Door, tuple[int, bool]] = {}
        self.destroyed: list[Flow] = []
        self.lived: list[Life] = []
        self.strict = False
        self.lost = 0
        self.lacks: tuple[str, ...] = ()

    @classmethod
    def open(
        cls, cgroup: Path, *, python: str = "/usr/bin/python3", processes: bool = False
    ) -> Self:
        """Attach to nothing."""
        return cls()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._readable)

    def set_checkpoint(self, port4: int, port6: int) -> None:
        self._ports = (checked_port(port4), checked_port(port6))

    def vouch(self, listener: int) -> None:
        self._vouched.add(listener)

    def exempt(self, cgroup_id: int) -> None:
        self._exempt.add(cgroup_id)

    def exclude(self, netns: int) -> None:
        self.excluded.add(netns)

    def include(self, netns: int) -> None:
        self.excluded.discard(netns)

    def beat(self, now_ns: int | None = None) -> None:
        self._beat = self._clock() if now_ns is None else now_ns

    def set_service(self, number: int, redirect: bool, closed: bool, refuse: bool) -> None:
        flags = Flag.REDIRECT * redirect | Flag.CLOSED * closed | Flag.REFUSE * refuse
        self._services[checked_service(number)] = flags

    def cut_late(self, on: bool) -> None:
        self.strict = on

    def restrict(self, restrictions: Collection[Restriction]) -> None:
        if len(restrictions) > MOST_RESTRICTIONS:
            raise ValueError(f"{len(restrictions)} restrictions")
        self.restrictions = tuple(restrictions)

    def learn(self, address: str, number: int, ttl_s: float) -> None:
        expires = self._clock() + int(clamped(ttl_s) * 1e9)
        self._addresses[unpacked(reachable(address))] = (checked_service(number), expires)

    def set_names(self, names: Iterable[Named]) -> None:
        self.names = trie(names)

    def set_locals(self, servers: Mapping[Door, tuple[int, bool]]) -> None:
        local_servers(servers)
        self.locals = dict(servers)

    def forget(self, address: str) -> None:
        self._addresses.pop(unpacked(packed(address)), None)

    def service_at(self, address: str) -> int:
        return self.addresses().get(unpacked(packed(address)), 0)

    def addresses(self) -> dict[str, int]:
        now = self._clock()
        return {address: n for address, (n, expires) in self._addresses.items() if expires >= now}

    def flow(self, address: str, port: int, netns: int) -> Flow | None:
        return self._flows.get((unpacked(packed(address)), port, netns))

    def fileno(self) -> int:
        return self._readable

    def events(self) -> Iterator[Flow | Packet]:
        taken = [self._events.popleft() for _ in range(min(len(self._events), MOST_EVENTS))]
        if not self._events:
            self._drain()
        yield from taken

    def lives(self) -> list[Life]:
        lives, self.lived = self.lived, []
        return lives

    def lives_lost(self) -> int:
        return self.lost

    def destroy(self, flow: Flow) -> bool:
        self.destroyed.append(flow)
        return True

    def counters(self) -> dict[str, int]:
        return {counter.name.lower(): self._tally[counter] for counter in Counter} | {
            "record_unreadable": 0,
            "socket_undestroyed": 0,
            "life_forgotten": 0,
        }

    # --- what a kernel has of its own: applications and a network ---------------------------

    def connect(
        self,
        address: str,
        port: int = 443,
        *,
        protocol: int = TCP,
        pid: int = 1000,
        uid: int = 1000,
        comm: str = "client",
        cgroup: int = 1,
        netns: int = 1,
        device: bool = False,
        listens: bool = True,
        program: tuple[int, int] | None = None,
        above: Collection[int] = (),
    ) -> tuple[Outcome, tuple[str, int] | None]:
        """Play a connect call; return its outcome and, where redirected, the source that is seen.

        ``listens`` says whether a listener that was vouched for is in the namespace, ``device``
        whether the socket is bound to one; ``program`` is device and inode of the executable,
        ``above`` are the cgroups above its own.
        """
        to = unpacked(packed(address))
        service = self.addresses().get(to)
        if service is None or port not in PORTS[protocol]:
            return Outcome.DIRECT, None
        if cgroup in self._exempt:
            self._tally[Counter.EXEMPT] += 1
            return Outcome.DIRECT, None
        flags = self._services.get(service, 0)
        for one in self.restrictions:
            groups = {None, cgroup, *(above if one.below else ())}
            fits = one.uid in (None, uid) and one.program in (None, program)
            if one.service == service and fits and one.cgroup in groups:
                flags |= one.value & (Flag.REFUSE | Flag.CLOSED)
        obstacle = self._obstacle(":" in to, device, listens, netns) if flags else Reason.NONE
        outcome, reason = decide(flags, obstacle, protocol)
        refused_datagram = protocol == UDP and outcome is Outcome.REFUSED
        self._tally[Counter.QUIC_REFUSED if refused_datagram else OUTCOMES[outcome]] += 1
        flow = Flow(
            cookie=next(self._cookies),
            netns=netns,
            cgroup=cgroup,
            opened_ns=self._clock(),
            address=to,
            port=port,
            pid=pid,
            tid=pid,
            uid=uid,
            gid=uid,
            comm=comm,
            service=service,
            outcome=outcome,
            reason=reason,
            protocol=protocol,
        )
        self.see(flow)
        if outcome is not Outcome.REDIRECTED:
            return outcome, None
        source = ("::1" if ":" in to else "127.0.0.1", next(self._sources))
        self._flows[(*source, netns)] = flow
        return outcome, source

    def see(self, event: Flow | Packet) -> None:
        """Put an event where events() finds it, as the ring buffer would."""
        self._events.append(event)
        os.eventfd_write(self._readable, 1)

    def _obstacle(self, v6: bool, device: bool, listens: bool, netns: int) -> Reason:
        if netns in self.excluded:
            reason = Reason.EXCLUDED
        elif device:
            reason = Reason.BOUND_DEVICE
        elif not self._beat or self._clock() - self._beat > HEARTBEAT_NS:
            reason = Reason.HEARTBEAT
        elif not (listens and self._vouched and self._ports[v6]):
            reason = Reason.NO_LISTENER
        else:
            return Reason.NONE
        self._tally[OBSTACLES[reason]] += 1
        return reason

    def _drain(self) -> None:
        try:
            os.eventfd_read(self._readable)
        except BlockingIOError:
            return

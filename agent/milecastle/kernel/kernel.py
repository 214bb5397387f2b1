"""The kernel's side of milecastle, as the daemon sees it: what to do, who connects, what was lost.

Every method is one or a few map operations (a microsecond each); only open() takes time, about a
second. No parsing of anything that came from the network happens here.
"""

from __future__ import annotations

import ctypes
import select
import struct
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from pathlib import Path

from milecastle.kernel import libbpf, sockets
from milecastle.kernel.checked import (
    Door,
    checked_port,
    checked_service,
    clamped,
    local_servers,
    ports_in_words,
    reachable,
)
from milecastle.kernel.flows import Flow, Packet
from milecastle.kernel.launch import KernelUnavailable, Loaded, load
from milecastle.kernel.layout import (
    ADDRESSES,
    MAPS,
    NAMES,
    PROCESS_MAPS,
    RESTRICTIONS,
    Address,
    Asks,
    Checkpoint,
    Counter,
    Flag,
    FlowRecord,
    PacketRecord,
    Place,
    Source,
    packed,
    unpacked,
)
from milecastle.kernel.lives import Life
from milecastle.kernel.restrictions import Restriction, table
from milecastle.kernel.trie import Named, trie

MOST_EVENTS = 512
"""Most events that one call of events() yields: the event loop has other work."""
MOST_LIVES = 16384
"""Most moments of processes that wait for lives()."""
MOST_RESTRICTIONS = RESTRICTIONS // 2
"""For a moment there are the old and the new."""


class Kernel:
    """Attached hooks. close(), or the end of this process however it comes, removes them."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._maps = loaded.maps
        check_sizes(loaded.maps)
        self.lacks = loaded.lacks
        self._pending: list[Flow | Packet] = []
        self._unreadable = 0
        self._undestroyed = 0
        self._forgotten = 0
        self._names: dict[bytes, int] = {}
        self._locals: dict[bytes, int] = {}
        self._port_words: set[int] = set()
        self._flags: dict[int, int] = {}
        self._some: frozenset[int] = frozenset()
        """Services that have restrictions."""
        self._restrictions: dict[bytes, int] = {}
        self._lives: deque[Life] = deque(maxlen=MOST_LIVES)
        self._behind = 0
        self._rings = [
            libbpf.Rings(rings, self._take)
            for names in ORDER
            if (rings := {name: loaded.maps[name] for name in names if name in loaded.maps})
        ]
        self._ready = select.epoll()
        for each in self._rings:
            self._ready.register(each.fileno(), select.EPOLLIN)

    @classmethod
    def open(
        cls, cgroup: Path, *, python: str = "/usr/bin/python3", processes: bool = False
    ) -> Kernel:
        """Attach to a cgroup2 directory and all below it, or raise KernelUnavailable.

        ``processes`` asks for lives(); where the kernel has no BTF, ``lacks`` says so.
        """
        try:
            libbpf.library()
        except OSError as error:
            hint = "apt-get install libbpf1 (libbpf0 on Ubuntu 22.04)"
            raise KernelUnavailable(str(error.strerror), hint) from None
        loaded = load(cgroup, python, processes=processes)
        try:
            kernel = cls(loaded)
            kernel._watch_below(cgroup.stat().st_ino)
            return kernel
        except OSError as error:
            loaded.close()
            raise KernelUnavailable(f"the BPF maps cannot be used: {error.strerror}") from None
        except KernelUnavailable:
            loaded.close()
            raise

    def close(self) -> None:
        self._ready.close()
        for rings in self._rings:
            rings.close()
        self._loaded.close()

    # --- what is to be done ---------------------------------------------------------------

    def set_checkpoint(self, port4: int, port6: int) -> None:
        """Say where the worker listens on 127.0.0.1 and ::1; 0 is nowhere.

        Give 0 for a family that this host has no route for: a client that is redirected believes
        the address reachable and will not try the other family.
        """
        value = Checkpoint(checked_port(port4), checked_port(port6))
        libbpf.update(self._maps["checkpoints"], bytes(4), bytes(value))

    def vouch(self, listener: int) -> None:
        """Mark a listening socket (its descriptor) as ours: only such are redirected to.

        In every namespace a process may take the checkpoint's port; the mark is what it cannot get.
        """
        key = struct.pack("=i", listener)
        libbpf.update(self._maps["vouched"], key, struct.pack("=I", 1))

    def exempt(self, cgroup_id: int) -> None:
        """Leave alone what threads in this cgroup connect; its directory's inode is its id."""
        libbpf.update(self._maps["exempt"], struct.pack("=Q", cgroup_id), struct.pack("=I", 1))

    def exclude(self, netns: int) -> None:
        """Leave a network namespace (its cookie) alone: nothing of it is redirected, or refused
        for want of a checkpoint. OSError for more than EXCLUSIONS of them.
        """
        libbpf.update(self._maps["excluded"], struct.pack("=Q", netns), struct.pack("=I", 1))

    def include(self, netns: int) -> None:
        """Treat a network namespace as any other again."""
        libbpf.delete(self._maps["excluded"], struct.pack("=Q", netns))

    def beat(self, now_ns: int | None = None) -> None:
        """Record a sign of life of a worker, CLOCK_MONOTONIC; it lasts one second. 0 ends it."""
        moment = time.monotonic_ns() if now_ns is None else now_ns
        libbpf.update(self._maps["heartbeats"], bytes(4), struct.pack("=Q", moment))

    def set_service(self, number: int, redirect: bool, closed: bool, refuse: bool) -> None:
        """Say what is to be done with connections to a service (1 .. SERVICES - 1)."""
        flags = Flag.REDIRECT * redirect | Flag.CLOSED * closed | Flag.REFUSE * refuse
        self._flags[checked_service(number)] = flags
        self._write_flags(number)

    def cut_late(self, on: bool) -> None:
        """Say whether a connection whose service only its ClientHello tells is cut, so that the
        client's next attempt is redirected; nowhere unless it can be.
        """
        libbpf.update(self._maps["strictness"], bytes(4), struct.pack("=I", on))

    def restrict(self, restrictions: Collection[Restriction]) -> None:
        """Say who may not use which service, in place of what was said before.

        At no moment is somebody free whom both the old and the new word restrict. ValueError for
        more than MOST_RESTRICTIONS of them.
        """
        wanted, before = table(restrictions), self._restrictions
        if len(wanted) > MOST_RESTRICTIONS:
            raise ValueError(
                f"{len(wanted)} restrictions; at most {MOST_RESTRICTIONS} are possible"
            )
        fd = self._maps["restrictions"]
        for key, value in wanted.items():
            if before.get(key) != value:
                libbpf.update(fd, key, struct.pack("=I", value))
        asked = struct.pack("=I", reduce(or_, (one.asks for one in restrictions), Asks(0)))
        libbpf.update(self._maps["askings"], bytes(4), asked)
        had, self._some = self._some, frozenset(one.service for one in restrictions)
        self._restrictions = wanted
        for number in had ^ self._some:
            self._write_flags(checked_service(number))
        for key in before.keys() - wanted.keys():
            libbpf.delete(fd, key)

    # --- which addresses are whose ----------------------------------------------------------

    def learn(self, address: str, number: int, ttl_s: float) -> None:
        """Note that an address belongs to a service for ``ttl_s`` (60 s to a day).

        ValueError for what can be no service: loopback, multicast, unspecified.
        """
        expires = time.monotonic_ns() + int(clamped(ttl_s) * 1e9)
        value = Place(expires, checked_service(number), 0)
        libbpf.update(self._maps["addresses"], reachable(address), bytes(value))

    def set_names(self, names: Iterable[Named]) -> None:
        """Say which names are whose: from now on DNS answers about them are read in the kernel.

        Until it is called every answer goes to user space; afterwards only what the kernel could
        not read. ValueError for what is no host name, and for more than NAMES of them.
        """
        wanted = trie(names)
        if len(wanted) > NAMES:
            raise ValueError(f"{len(wanted)} names, the kernel's table has room for {NAMES}")
        fd = self._maps["names"]
        for key, number in wanted.items():
            if self._names.get(key) != number:
                libbpf.update(fd, key, struct.pack("=I", number))
        for key in self._names.keys() - wanted.keys():
            libbpf.delete(fd, key)
        self._names = wanted
        libbpf.update(self._maps["matchings"], bytes(4), struct.pack("=I", 1))

    def set_locals(self, servers: Mapping[Door, tuple[int, bool]]) -> None:
        """Say where model servers of this host listen: service, and whether to intercept it there.

        ``None`` for an address is loopback. ValueError for more than LOCALS of them, and for
        ports 80 and 443, which are looked at by address alone.
        """
        wanted = local_servers(servers)
        fd = self._maps["locals"]
        for key, value in wanted.items():
            if self._locals.get(key) != value:
                libbpf.update(fd, key, struct.pack("=I", value))
        for key in self._locals.keys() - wanted.keys():
            libbpf.delete(fd, key)
        words = ports_in_words(port for _, port in servers)
        for word in self._port_words | words.keys():
            key = struct.pack("=I", word)
            libbpf.update(self._maps["local_ports"], key, struct.pack("=Q", words.get(word, 0)))
        self._locals, self._port_words = wanted, set(words)

    def forget(self, address: str) -> None:
        libbpf.delete(self._maps["addresses"], packed(address))

    def service_at(self, address: str) -> int:
        """Return the number of the service whose address this is now, 0 where it is nobody's."""
        raw = libbpf.lookup(self._maps["addresses"], packed(address), ctypes.sizeof(Place))
        place = Place.from_buffer_copy(raw) if raw else Place()
        return int(place.service) if place.expires_ns >= time.monotonic_ns() else 0

    def addresses(self) -> dict[str, int]:
        """Return the addresses that are known now, with their services' numbers."""
        now = time.monotonic_ns()
        found = {}
        fd = self._maps["addresses"]
        for key in libbpf.keys(fd, ctypes.sizeof(Address), ADDRESSES):
            raw = libbpf.lookup(fd, key, ctypes.sizeof(Place))
            if raw is not None and (place := Place.from_buffer_copy(raw)).expires_ns >= now:
                found[unpacked(key)] = int(place.service)
        return found

    # --- what happened ------------------------------------------------------------------------

    def flow(self, address: str, port: int, netns: int) -> Flow | None:
        """Return the redirected connection that the checkpoint sees come from this source."""
        source = Source(Address.from_buffer_copy(packed(address)), netns, port, 0)
        cookie = libbpf.lookup(self._maps["ports"], bytes(source), 8)
        if cookie is None:
            return None
        raw = libbpf.lookup(self._maps["flows"], cookie, ctypes.sizeof(FlowRecord))
        return None if raw is None else Flow.from_record(FlowRecord.from_buffer_copy(raw))

    def fileno(self) -> int:
        """Return the epoll descriptor that is readable while events() has something."""
        return self._ready.fileno()

    def events(self) -> Iterator[Flow | Packet]:
        """Yield what was reported since, at most MOST_EVENTS; what makes no sense is counted."""
        for rings in self._rings:
            rings.consume()
        events, self._pending = self._pending, []
        for event in events:
            if isinstance(event, Flow) and event.cut:
                self._end(event)
            yield event

    def lives(self) -> list[Life]:
        """Return what became of processes since, oldest first; call it right after events().

        What happened to a process before it connected is here by the time that its flow is, as
        long as `lives_lost` stays as it is.
        """
        lives = list(self._lives)
        self._lives.clear()
        return lives

    def lives_lost(self) -> int:
        """Return how often lives() has lacked something: it was lost, or comes with the next."""
        return self._sum(Counter.PROCESS_UNREPORTED) + self._forgotten + self._behind

    def destroy(self, flow: Flow) -> bool:
        """End the connection of a flow whose reason is LATE_NAME; False where it is gone already.

        OSError where that cannot be done. What the kernel has cut is ended by events() itself.
        """
        return sockets.destroy(flow)

    def counters(self) -> dict[str, int]:
        """Return every counter's sum over all CPUs, by its name in lower case, and our own."""
        return {counter.name.lower(): self._sum(counter) for counter in Counter} | {
            "record_unreadable": self._unreadable,
            "socket_undestroyed": self._undestroyed,
            "life_forgotten": self._forgotten,
        }

    def _sum(self, counter: Counter) -> int:
        key, size = struct.pack("=I", counter), libbpf.per_cpu_size(8)
        raw = libbpf.lookup(self._maps["counters"], key, size) or b""
        return sum(struct.unpack(f"={len(raw) // 8}Q", raw))

    def _write_flags(self, number: int) -> None:
        flags = self._flags.get(number, 0) | Flag.SOME * (number in self._some)
        libbpf.update(self._maps["services"], struct.pack("=I", number), struct.pack("=I", flags))

    def _end(self, flow: Flow) -> None:
        try:
            self.destroy(flow)
        except OSError:
            self._undestroyed += 1  # it stays cut: nothing more of it leaves

    def _watch_below(self, cgroup_id: int) -> None:
        if "scopes" in self._maps:
            libbpf.update(self._maps["scopes"], bytes(4), struct.pack("=Q", cgroup_id))

    def _take(self, ring: str, record: bytes) -> bool:
        try:
            event = READERS[ring](record)
        except ValueError:
            self._unreadable += 1
            return True
        if isinstance(event, Life):
            self._forgotten += len(self._lives) == MOST_LIVES
            self._lives.append(event)
            self._behind += len(self._lives) == MOST_LIVES
            return len(self._lives) < MOST_LIVES
        self._pending.append(event)
        return len(self._pending) < MOST_EVENTS


READERS: dict[str, Callable[[bytes], Flow | Packet | Life]] = {
    "process_ring": Life.from_bytes,
    "flow_ring": lambda raw: Flow.from_record(FlowRecord.from_buffer_copy(raw)),
    "packet_ring": lambda raw: Packet.from_record(PacketRecord.from_buffer_copy(raw)),
}
"""What the records of each ring buffer are."""
ORDER = (("flow_ring", "packet_ring"), ("process_ring",))
"""Lives are read after flows: so those that came before a flow are there, however fast others come,
and also where a call takes no more events.
"""


def check_sizes(maps: dict[str, int]) -> None:
    """Raise KernelUnavailable unless the maps are those that this code was written for."""
    for name, sizes in (MAPS | PROCESS_MAPS).items():
        if name not in maps:
            if name in PROCESS_MAPS:
                continue
            raise KernelUnavailable(f"the BPF programs have no map {name}")
        info = libbpf.map_info(maps[name])
        if (info.key_size, info.value_size) != sizes:
            raise KernelUnavailable(f"the BPF map {name} is of another version of milecastle")

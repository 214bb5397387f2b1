"""Model servers on this host: who listens where, as which service, and what the kernel is told.

A server is known by the program that listens (config/clients.yaml, kind local_server), or by a
port that nothing else is known to use. The kernel then reports connections to it; it redirects
them only on loopback, and only for the ports that the settings name. What these carry says by
its shape whether it is a call, where the program does not say that it is a model.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import psutil

from milecastle.catalogue import LOCAL, LOCAL_AI, Catalogue
from milecastle.daemon.namespaces import Namespace
from milecastle.host import holders, namespaces, netns_cookie, sockdiag
from milecastle.host.sockdiag import ListeningSocket
from milecastle.kernel import Flow, Kernel
from milecastle.kernel.layout import LOCALS
from milecastle.model import Process

log = logging.getLogger(__name__)

SWEEP_SECONDS = 2.0
AT_ONCE = 4
"""Namespaces beside the host's own that one sweep looks into."""
REST = 50
"""Looking for owners reads the descriptors of every process: it may take a fiftieth of the time."""
OF_MANY = frozenset({80, 443, 1337, 3000, 3001, 4000, 5000, 5001, 8000, 8080, 8443, 30000})
"""Usual ports that say nothing: all kinds of servers use them."""


@dataclass(frozen=True, slots=True)
class Server:
    """What listens at a door."""

    service: str
    process: Process | None
    """None where the socket's owner is out of sight."""


@dataclass(slots=True)
class View:
    """What was seen in one network namespace."""

    netns: int
    sockets: tuple[ListeningSocket, ...] = ()
    addresses: frozenset[str] = frozenset()
    known: dict[int, Server | None] = field(default_factory=dict)
    """By the socket's inode; None: no model server."""


class ModelServers:
    """Follow the listening sockets of the host and of its containers."""

    def __init__(
        self,
        kernel: Kernel,
        catalogue: Catalogue,
        identify: Callable[[int, int], Process | None],
        served: Callable[[], Sequence[Namespace]],
        intercepted: Collection[int],
    ) -> None:
        """``identify`` returns the process with a pid and a uid; ``intercepted`` are the ports
        of loopback that the settings name.
        """
        self._kernel = kernel
        self._catalogue = catalogue
        self._identify = identify
        self._served = served
        self._intercepted = frozenset(intercepted)
        self._views: dict[int, View] = {}
        self._turn = 0
        self._rested = 0.0
        """time.monotonic() from which on owners may be looked for again."""
        self._doors: dict[tuple[str | None, int], tuple[int, bool]] = {}
        self._ports: frozenset[int] = frozenset()
        self._tell()

    @property
    def servers(self) -> list[tuple[int, Server]]:
        """Return each server that is known, with its port."""
        found = {
            (one.port, server.service): (one.port, server)
            for view in self._views.values()
            for one in view.sockets
            if (server := view.known.get(one.inode))
        }
        return list(found.values())

    async def follow(self) -> None:
        """Sweep for ever."""
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Look into the host's own namespace and a few others, and tell the kernel what is new."""
        served = {each.netns: each for each in self._served()}
        for gone in self._views.keys() - served.keys():
            if gone != self._own():
                del self._views[gone]
        others = sorted(served)
        turn = [others[(self._turn + n) % len(others)] for n in range(min(AT_ONCE, len(others)))]
        self._turn += len(turn)
        try:
            await self._look(self._own(), None)
            for netns in turn:
                await self._look(netns, served[netns].descriptor)
        except OSError as error:
            log.debug("listening sockets cannot be listed: %s", error)
        self._tell()

    def at(self, flow: Flow) -> Server | None:
        """Return the model server that a connection goes to, None where it is none."""
        if flow.port not in self._ports:
            return None
        address = ipaddress.ip_address(flow.address)
        loopback = address.is_loopback or address.is_unspecified  # connect() takes both for it
        for view in self._views.values():
            if view.netns == flow.netns if loopback else flow.address in view.addresses:
                for one in view.sockets:
                    if one.port == flow.port and (server := view.known.get(one.inode)):
                        return server
        if loopback and flow.port in self._intercepted:
            return Server(self._by_port(flow.port) or LOCAL_AI, None)
        return None

    def _own(self) -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return netns_cookie(sock)

    async def _look(self, netns: int, descriptor: int | None) -> None:
        """Look into a namespace; who owns a socket is found out once."""
        view = self._views.setdefault(netns, View(netns))
        sockets, addresses = await asyncio.to_thread(look, descriptor)
        view.sockets, view.addresses = tuple(sockets), addresses
        present = {one.inode: one.port for one in sockets}
        new = present.keys() - view.known.keys()
        view.known = {inode: view.known[inode] for inode in present.keys() & view.known.keys()}
        began = time.monotonic()
        if not new or began < self._rested:
            return
        owners = (await asyncio.to_thread(holders, new)).holders
        self._rested = began + (time.monotonic() - began) * REST
        for inode in new:
            view.known[inode] = self._recognise(present[inode], owners.get(inode, ()))

    def _recognise(self, port: int, pids: Sequence[int]) -> Server | None:
        process = self._process(pids[0]) if pids else None
        client = process.client if process else None
        known = self._catalogue.services
        service = known.get(client) or known.get(f"{client}-proxy") if client else None
        if service is not None and service.category in LOCAL:
            return Server(service.id, process)
        usual = self._by_port(port)
        if usual is None and port in self._intercepted:
            usual = LOCAL_AI
        return Server(usual, process) if usual else None

    def _process(self, pid: int) -> Process | None:
        try:
            return self._identify(pid, psutil.Process(pid).uids().effective)
        except psutil.Error:
            return None

    def _by_port(self, port: int) -> str | None:
        """Return the service that a port speaks for: the only one, and no usual port of others."""
        services = self._catalogue.on_port(port)
        return services[0].id if len(services) == 1 and port not in OF_MANY else None

    def _tell(self) -> None:
        """Tell the kernel, if anything is new."""
        doors: dict[tuple[str | None, int], tuple[int, bool]] = {}
        for port in sorted(self._intercepted):
            doors[None, port] = (self._number(self._by_port(port) or LOCAL_AI), True)
        for view in self._views.values():
            for one in view.sockets:
                if server := view.known.get(one.inode):
                    number = self._number(server.service)
                    doors[None, one.port] = (number, one.port in self._intercepted)
                    doors |= {(at, one.port): (number, False) for at in reached_at(one, view)}
        if doors != self._doors:
            self._doors = doors
            self._ports = frozenset(port for _, port in doors)
            self._kernel.set_locals(dict(list(doors.items())[:LOCALS]))

    def _number(self, service: str) -> int:
        return self._catalogue.number(service)


def look(descriptor: int | None) -> tuple[list[ListeningSocket], frozenset[str]]:
    """Return sockets and addresses of a namespace, of the daemon's own without a descriptor."""

    def here() -> tuple[list[ListeningSocket], frozenset[str]]:
        found = [one for one in sockdiag.listening() if one.port not in (80, 443)]
        return found, namespaces.addresses() if found else frozenset()

    return here() if descriptor is None else namespaces.within(descriptor, here)


def reached_at(one: ListeningSocket, view: View) -> Collection[str]:
    """Return the addresses, but for loopback, at which a socket can be reached."""
    address = ipaddress.ip_address(one.address)
    if address.is_unspecified:
        return view.addresses
    return () if address.is_loopback else (one.address,)

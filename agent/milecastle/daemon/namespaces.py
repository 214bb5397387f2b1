"""Checkpoints in other network namespaces: containers and pods are gated like the host itself.

Each namespace that holds a process of the watched cgroups gets listening sockets of its own, on
the same ports, made inside it by the daemon and served by the same workers. A namespace is found
by a sweep and by its first connection, which follows ``on_failure``; it is given up when its last
process has ended, and nothing of it is left.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from milecastle.daemon.checkpoint import FAMILIES, Listener, listen_on
from milecastle.host import namespaces, unified_path
from milecastle.kernel import Kernel

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
MOST = 4096
"""Namespaces that are served; beyond, connections follow ``on_failure``."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One served network namespace. Its descriptors keep it alive until it is given up."""

    inode: int
    descriptor: int
    netns: int
    """Its cookie."""
    listeners: tuple[Listener, ...]


class Namespaces:
    """Follow the host's network namespaces; keep a checkpoint in each."""

    def __init__(
        self,
        kernel: Kernel,
        watched: str,
        ports: dict[int, int],
        added: Callable[[Namespace], None],
        removed: Callable[[Namespace], None],
    ) -> None:
        """``watched``: the watched cgroup's path inside the cgroup2 tree; ``ports``: family (4, 6)
        -> the checkpoint's port, the same everywhere.
        """
        self._kernel = kernel
        self._watched = watched.rstrip("/") + "/"
        self._ports = ports
        self._added = added
        self._removed = removed
        self._own = namespaces.of_process(os.getpid())
        self._served: dict[int, Namespace] = {}
        self._unfit: dict[int, str] = {}
        """Namespaces without a checkpoint, and why."""

    @property
    def served(self) -> list[Namespace]:
        return list(self._served.values())

    @property
    def unfit(self) -> dict[int, str]:
        return dict(self._unfit)

    async def follow(self) -> None:
        """Sweep for ever."""
        while True:
            self.sweep(await asyncio.to_thread(namespaces.of_processes, self._own))
            await asyncio.sleep(SWEEP_SECONDS)

    def sweep(self, present: dict[int, list[int]]) -> None:
        """Take up the namespaces in ``present`` (inode -> pids) that hold a watched process, give
        up those that hold none any more.
        """
        watched = {
            inode: pid
            for inode, pids in present.items()
            if (pid := next(filter(self._is_watched, pids), None)) is not None
        }
        for inode, pid in watched.items():
            self._take_up(inode, pid)
        for inode in self._served.keys() - watched.keys():
            self._give_up(inode)
        for inode in self._unfit.keys() - watched.keys():
            del self._unfit[inode]

    def meet(self, pid: int) -> None:
        """Take up the namespace of a process that has just connected, without a sweep."""
        inode = namespaces.of_process(pid)
        if inode is not None:
            self._take_up(inode, pid)

    def dial(self, netns: int, family: int) -> socket.socket:
        """Return a new TCP socket made in a served namespace; LookupError where it is not."""
        served = next((one for one in self._served.values() if one.netns == netns), None)
        if served is None or family not in FAMILIES:
            raise LookupError("this network namespace has no checkpoint")
        kind = FAMILIES[family][0]
        return namespaces.within(
            served.descriptor,
            lambda: socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK),
        )

    def close(self) -> None:
        """Give everything up."""
        for inode in list(self._served):
            self._give_up(inode)

    def _is_watched(self, pid: int) -> bool:
        return f"{unified_path(pid)}/".startswith(self._watched)

    def _take_up(self, inode: int, pid: int) -> None:
        if inode == self._own or inode in self._served or len(self._served) >= MOST:
            return
        try:
            descriptor = namespaces.open_namespace(pid, inode)
        except OSError:
            return  # it ended meanwhile
        try:
            listeners = namespaces.within(descriptor, self._listen)
        except OSError as error:
            os.close(descriptor)
            if self._unfit.get(inode) != str(error):
                log.warning("no checkpoint in network namespace %d: %s", inode, error)
            self._unfit[inode] = str(error)
            return
        self._unfit.pop(inode, None)
        namespace = Namespace(inode, descriptor, listeners[0].netns, listeners)
        self._served[inode] = namespace
        self._added(namespace)
        for listener in listeners:  # last: from now on connections are redirected to it
            self._kernel.vouch(listener.socket.fileno())

    def _listen(self) -> tuple[Listener, ...]:
        """Make the checkpoint; runs inside the namespace."""
        if not namespaces.loopback_is_up():
            raise OSError(0, "its loopback interface is down")
        return tuple(listen_on(family, port) for family, port in self._ports.items())

    def _give_up(self, inode: int) -> None:
        namespace = self._served.pop(inode)
        self._removed(namespace)
        for listener in namespace.listeners:
            listener.socket.close()
        os.close(namespace.descriptor)

"""Checkpoints in other network namespaces: containers and pods are gated like the host itself.

Each namespace that holds a process of the watched cgroups gets listening sockets of its own, on
the same ports, made inside it by the daemon and served by the same workers. A namespace is found
by a sweep and by its first connection, which follows ``on_failure``; it is given up when its last
process has ended, and nothing of it is left. One that the settings exclude is left alone: nothing
is made in it, and the kernel is told to let it go direct.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from milecastle.daemon.checkpoint import FAMILIES, Listener, listen_on
from milecastle.daemon.exclusions import Exclusions
from milecastle.host import cgroup_path, namespaces, netns_cookie, unified_path
from milecastle.kernel import Kernel

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
MOST = 4096
"""Namespaces that are served, and that are left alone; others follow ``on_failure``."""
PATIENCE = 5.0
"""Seconds that a namespace waits for its pod's name where an exclusion goes by that; then it is
treated like any other."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace. Its descriptors keep it alive until it is given up."""

    inode: int
    descriptor: int
    netns: int
    """Its cookie."""
    listeners: tuple[Listener, ...] = ()
    """None: it is left alone."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A namespace that a sweep came by."""

    pid: int
    """A watched process in it."""
    alone: bool | None
    """Whether the settings exclude it; None where that can't be told yet."""


class Namespaces:
    """Follow the host's network namespaces; keep a checkpoint in each."""

    def __init__(
        self,
        kernel: Kernel,
        watched: str,
        ports: dict[int, int],
        added: Callable[[Namespace], None],
        removed: Callable[[Namespace], None],
        exclusions: Exclusions | None = None,
    ) -> None:
        """``watched``: the watched cgroup's path inside the cgroup2 tree; ``ports``: family (4, 6)
        -> the checkpoint's port, the same everywhere.
        """
        self._exclusions = exclusions
        self._kernel = kernel
        self._watched = watched.rstrip("/") + "/"
        self._ports = ports
        self._added = added
        self._removed = removed
        self._own = namespaces.of_process(os.getpid())
        self._served: dict[int, Namespace] = {}
        self._alone: dict[int, Namespace] = {}
        self._undecided: dict[int, float] = {}
        """Namespaces whose pods have no name yet: since when (time.monotonic())."""
        self._unfit: dict[int, str] = {}
        """Namespaces without a checkpoint, and why."""

    @property
    def served(self) -> list[Namespace]:
        return list(self._served.values())

    @property
    def alone(self) -> list[Namespace]:
        """Those that the settings exclude."""
        return list(self._alone.values())

    @property
    def unfit(self) -> dict[int, str]:
        return dict(self._unfit)

    async def follow(self) -> None:
        """Sweep for ever; what reads many files does so in a thread."""
        while True:
            held = self._held
            self._settle(await asyncio.to_thread(self._survey), held)
            await asyncio.sleep(SWEEP_SECONDS)

    def sweep(self, present: Mapping[int, Sequence[int]]) -> None:
        """Take up the namespaces in ``present`` (inode -> pids) that hold a watched process, give
        up those that hold none any more.
        """
        self._settle(self._survey(present), self._held)

    def meet(self, pid: int) -> None:
        """Take up the namespace of a process that has just connected, without a sweep."""
        inode = namespaces.of_process(pid)
        if inode is not None and inode != self._own:
            self._place(inode, Sight(pid, self._left_alone([pid])))

    def _survey(self, present: Mapping[int, Sequence[int]] | None = None) -> dict[int, Sight]:
        """Return the namespaces with a watched process, by inode. Changes nothing."""
        found: dict[int, Sight] = {}
        if present is None:
            present = namespaces.of_processes(self._own)
        for inode, pids in present.items():
            watched = filter(self.watches, pids)
            if (first := next(watched, None)) is not None:
                rest = watched if self._exclusions else ()  # else one process is enough
                found[inode] = Sight(first, self._left_alone([first, *rest]))
        return found

    @property
    def _held(self) -> set[int]:
        return self._served.keys() | self._alone.keys()

    def _settle(self, found: Mapping[int, Sight], held: Set[int]) -> None:
        """Follow what a survey has found; ``held`` is what was there when it began.

        What `meet` has taken up since may be younger than the survey: it stays.
        """
        for inode, sight in found.items():
            self._place(inode, sight)
        for inode in held - found.keys():
            self._give_up(inode)
        for inode in self._unfit.keys() - found.keys():
            del self._unfit[inode]
        for inode in self._undecided.keys() - found.keys():
            del self._undecided[inode]

    def _place(self, inode: int, sight: Sight) -> None:
        """Serve a namespace or leave it alone, as the settings say now."""
        if sight.alone is None:
            since = self._undecided.setdefault(inode, time.monotonic())
            placed = inode in self._served or inode in self._alone
            if placed or time.monotonic() - since < PATIENCE:
                return
        else:
            self._undecided.pop(inode, None)
        if sight.alone and inode not in self._alone:
            self._give_up(inode)
            self._leave_alone(inode, sight.pid)
        elif not sight.alone and inode not in self._served:
            self._give_up(inode)
            self._take_up(inode, sight.pid)

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
        for inode in [*self._served, *self._alone]:
            self._give_up(inode)

    def watches(self, pid: int) -> bool:
        """Whether a process is in the watched cgroup or below."""
        return f"{unified_path(pid)}/".startswith(self._watched)

    def _left_alone(self, pids: Sequence[int]) -> bool | None:
        return self._exclusions.cover(map(cgroup_path, pids)) if self._exclusions else False

    def _leave_alone(self, inode: int, pid: int) -> None:
        if len(self._alone) >= MOST:
            return
        try:
            descriptor = namespaces.open_namespace(pid, inode)
        except OSError:
            return  # it ended meanwhile
        try:
            netns = namespaces.within(descriptor, cookie_here)
            self._kernel.exclude(netns)
        except OSError as error:
            os.close(descriptor)
            self._unfit[inode] = str(error)
            return
        self._unfit.pop(inode, None)
        self._alone[inode] = Namespace(inode, descriptor, netns)

    def _take_up(self, inode: int, pid: int) -> None:
        if len(self._served) >= MOST:
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
        """Undo whatever was done about a namespace."""
        if alone := self._alone.pop(inode, None):
            self._kernel.include(alone.netns)
            os.close(alone.descriptor)
        if served := self._served.pop(inode, None):
            self._removed(served)
            for listener in served.listeners:
                listener.socket.close()
            os.close(served.descriptor)


def cookie_here() -> int:
    """Return the cookie of this thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return netns_cookie(sock)

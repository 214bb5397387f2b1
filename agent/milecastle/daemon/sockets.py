"""Sockets that connect() alone does not explain: older than the hooks, or held by several.

Both are found by looking: at the kernel's list of connections, and for their holders through all
descriptors of the host. That takes tens of milliseconds of a thread on a busy host, so it is done
for connections that last, and the time between two looks is a multiple of what the last one took.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from milecastle.host import Held, ProcessTable, Search, connections, holders, within
from milecastle.kernel import Flow
from milecastle.model import Attribution, Connection, Endpoint, Grade, Owner, Process

log = logging.getLogger(__name__)

PORTS = frozenset({80, 443})
LEAST_SECONDS = 2.0
"""Between two looks; a connection that ended by then has had no time to be handed on."""
MOST_SECONDS = 60.0
SHARE = 200
"""A look takes at most one part in so many of a core."""
MOST_NEW = 4096
"""Connections that wait for a look; the oldest goes first."""
MOST_OLDER = 16_384


@dataclass(frozen=True, slots=True)
class Look:
    """What one look has found."""

    held: Mapping[int, Held]
    """By cookie."""
    search: Search

    def holders(self, cookie: int) -> tuple[int, ...]:
        """Return the pids that hold a socket."""
        held = self.held.get(cookie)
        return self.search.holders.get(held.inode, ()) if held else ()


@dataclass(frozen=True, slots=True)
class Told:
    """Whom to tell what was found."""

    shared: Callable[[int, tuple[Owner, ...]], None]
    """A connection, by its cookie, has these owners."""
    older: Callable[[Held, Attribution], None]
    """A connection to a service was there before it could be seen."""


class Sockets:
    """Looks for what the hooks could not see."""

    def __init__(
        self,
        processes: ProcessTable,
        namespaces: Callable[[], Sequence[int]],
        service_at: Callable[[str], str | None],
        counts: Callable[[Process], bool],
        told: Told,
    ) -> None:
        """``namespaces`` returns descriptors of network namespaces beside our own; ``service_at``
        tells whose an address is; ``counts`` whether a process is watched and no worker.
        """
        self._processes = processes
        self._namespaces = namespaces
        self._service_at = service_at
        self._counts = counts
        self._told = told
        self._new: OrderedDict[int, float] = OrderedDict()
        """Cookies of connections, with the monotonic time from which on they can be looked for."""
        self._older: dict[int, Held] = {}

    def opened(self, flow: Flow) -> None:
        """Take note of a connection that was seen from its beginning."""
        self._older.pop(flow.cookie, None)
        if flow.established:
            self._new[flow.cookie] = time.monotonic() + LEAST_SECONDS
            while len(self._new) > MOST_NEW:
                self._new.popitem(last=False)

    async def follow(self) -> None:
        """Look for ever. What is there at the first look is older than we are."""
        listed = await self._in_a_thread(everything)
        self._older = dict(
            [(one.cookie, one) for one in listed.values() if one.port in PORTS][:MOST_OLDER]
        )
        pause = 0.0
        while True:
            began = time.monotonic()
            await self.look()
            took = time.monotonic() - began
            pause = min(max(LEAST_SECONDS, took * SHARE), MOST_SECONDS)
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """Look once, if there is anything to look for."""
        now = time.monotonic()
        due = [cookie for cookie, since in self._new.items() if since <= now]
        older = {
            cookie: service
            for cookie, held in self._older.items()
            if (service := self._service_at(held.address))
        }
        if not due and not older:
            return
        for cookie in due:
            del self._new[cookie]
        wanted = {*due, *older}
        found = await self._in_a_thread(lambda spaces: examine(spaces, wanted))
        for cookie in due:
            self._share(cookie, found)
        for cookie, service in older.items():
            held = self._older.pop(cookie, None)
            if held is not None and cookie in found.held:
                self._explain(held, service, found)

    async def _in_a_thread[T](self, act: Callable[[Sequence[int]], T]) -> T:
        """Run it with descriptors of its own: a namespace may be given up meanwhile."""
        spaces = [os.dup(each) for each in self._namespaces()]
        try:
            return await asyncio.to_thread(act, spaces)
        finally:
            for each in spaces:
                os.close(each)

    def _share(self, cookie: int, found: Look) -> None:
        """Tell of a connection that has more than one owner."""
        pids = found.holders(cookie)
        if len(pids) > 1:
            owners = tuple(map(owner, self._present(pids)))
            if len(owners) > 1:
                self._told.shared(cookie, owners)

    def _explain(self, held: Held, service: str, found: Look) -> None:
        """Tell of a connection that is older than we are, if it is anybody's whom we watch."""
        present = self._present(found.holders(held.cookie))
        if present and not any(map(self._counts, present)):
            return
        present.sort(key=lambda process: process.started or 0.0)
        self._told.older(held, attribution(held, service, present, whole=found.search.whole))

    def _present(self, pids: Collection[int]) -> list[Process]:
        return [process for pid in pids if (process := self._processes.present(pid))]


def everything(spaces: Sequence[int]) -> dict[int, Held]:
    """Return the connections of our own network namespace and of these, by cookie."""
    found = {one.cookie: one for one in quietly(connections)}
    for space in spaces:
        found |= {one.cookie: one for one in quietly(partial(within, space, connections))}
    return found


def quietly(listed: Callable[[], Sequence[Held]]) -> Sequence[Held]:
    """Return what is listed, nothing where the kernel lists nothing."""
    try:
        return listed()
    except OSError as error:
        log.debug("connections cannot be listed: %s", error)
        return ()


def examine(spaces: Sequence[int], cookies: Collection[int]) -> Look:
    """Return which of these connections are still there, and who holds them."""
    held = {cookie: one for cookie, one in everything(spaces).items() if cookie in cookies}
    return Look(held, holders([one.inode for one in held.values()]))


def owner(process: Process) -> Owner:
    return Owner(process.pid, process.comm, process.uid, process.user, process.exe)


def attribution(
    held: Held, service: str, present: Sequence[Process], *, whole: bool
) -> Attribution:
    """Return who has a connection that nobody saw begin; ``present`` are its holders, the oldest
    first, ``whole`` whether all processes were looked at.
    """
    if present:
        process, grade = present[0], Grade.TUPLE
        count = "one process" if len(present) == 1 else f"{len(present)} processes"
        why = f"older than the agent; its socket is held by {count}"
    else:
        process, grade = Process(pid=0, comm="", uid=held.uid), Grade.UNKNOWN
        why = "older than the agent; no process holds its socket"
    if not whole:
        why += "; the search was ended before every process was seen"
    return Attribution(
        Connection(held.cookie, Endpoint(held.address, held.port), 0, 0, 0, 0),
        process,
        service,
        grade,
        why,
        tuple(map(owner, present)),
    )

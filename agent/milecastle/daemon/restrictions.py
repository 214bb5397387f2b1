"""Keeps the kernel told of who may not use which service, while programs and cgroups come and go.

What is new is looked at when the kernel reports its first exec, some tenths of a millisecond after
it. A program in one of the usual folders is known before that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from functools import partial

from milecastle.daemon.bans import Ban, restrictions
from milecastle.daemon.rules import Rules
from milecastle.host import Census, Chronicle, ExecutableHashes
from milecastle.host.census import File, Survey
from milecastle.kernel import Kernel, Life, LifeKind, Restriction
from milecastle.store.entries import EVERYBODY, Refused

log = logging.getLogger(__name__)


class Restrictions:
    """The bans in force, and what they mean on this host now."""

    def __init__(
        self,
        kernel: Kernel,
        rules: Rules,
        census: Census,
        chronicle: Chronicle,
        hashes: ExecutableHashes,
    ) -> None:
        self._kernel = kernel
        self._rules = rules
        self._census = census
        self._chronicle = chronicle
        self._bans: tuple[Ban, ...] = ()
        self._told: list[Restriction] = []
        self._hashes = hashes
        self._reading: set[File] = set()
        """Programs whose hash is being read."""
        self._looking: asyncio.Future[Survey] | None = None
        self.fault: str | None = None
        """Why the kernel is not told of all that it should be."""

    async def begin(self) -> None:
        """Look at what there is before the first ban."""
        self._census.take(await asyncio.to_thread(self._census.survey))

    def enforce(self, by_hand: Collection[Refused]) -> None:
        """Tell the kernel what the policy says and what is refused by hand, now."""
        everybody = {one.service for one in by_hand if one.caller == EVERYBODY}
        self._rules.apply(self._kernel, everybody)
        some = [one for one in by_hand if one.caller != EVERYBODY]
        for one in some:
            self._census.look_up(one.caller.user)  # the host's table may not list everybody
        before = self._bans
        self._bans = (*self._rules.bans(), *(self._rules.ban(one) for one in some))
        self._tell()
        if len(self._bans) > len(before):  # without bans nobody has looked since
            self._look(self._census.survey)

    def witness(self, lives: Iterable[Life]) -> None:
        """Take note of what was executed, by whom and where."""
        if not self._bans:
            return
        news = False
        for life in lives:
            if life.kind is LifeKind.EXIT:
                continue
            news |= self._census.met_user(life.uid) and any(one.user for one in self._bans)
            if life.cgroup not in self._census.cgroups and any(one.cgroup for one in self._bans):
                self._look(self._census.survey_cgroups)
            if life.program is not None:
                file = (life.program.device, life.program.inode)
                news |= self._executes(life.pid, file, self._chronicle.executable(life.pid))
        if news:
            self._tell()

    def _executes(self, pid: int, file: File, path: str | None) -> bool:
        """Return whether a program is one that no ban has been asked about yet."""
        if path is None:
            return False
        news = self._census.met(file, path)
        self._want_hash(pid, file)
        return news and any(one.program for one in self._bans)

    def _want_hash(self, pid: int, file: File) -> None:
        """Have a program's hash read, where a ban asks for hashes and this one is not known."""
        known = self._census.programs.get(file)
        if known is None or known.sha256 or file in self._reading:
            return
        if any(one.hashed for one in self._bans):
            self._reading.add(file)
            loop = asyncio.get_running_loop()
            reading = loop.run_in_executor(None, self._hashes.sha256, pid)
            reading.add_done_callback(partial(self._hashed, pid, file, known.path))

    def _hashed(self, pid: int, file: File, path: str, reading: asyncio.Future[str | None]) -> None:
        self._reading.discard(file)
        if reading.cancelled() or not (digest := reading.result()):
            return
        if self._chronicle.executable(pid) not in (None, path):
            return  # it has executed something else, and that may be what was read
        if self._census.met(file, path, digest):
            self._tell()

    def _look(self, survey: Callable[[], Survey]) -> None:
        """Look for what is new in a thread, one look at a time."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().run_in_executor(None, survey)
            self._looking.add_done_callback(self._looked)

    def _looked(self, looking: asyncio.Future[Survey]) -> None:
        self._looking = None
        if looking.cancelled():
            return
        self._census.take(found := looking.result())
        for pid, file, _path in found.running:
            self._want_hash(pid, file)
        self._tell()

    def _tell(self) -> None:
        """Tell the kernel, where what the bans mean has changed."""
        meant = restrictions(self._bans, self._census)
        if meant == self._told:
            return
        try:
            self._kernel.restrict(meant)
        except (ValueError, OSError) as error:
            self.fault = f"not all refusals are in force: {error}"
            log.error("%s", self.fault)
            return
        self._told, self.fault = meant, None

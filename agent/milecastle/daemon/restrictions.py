"""Keeps the kernel told of who may not use which service, while programs and cgroups come and go.

What is new is looked at when the kernel reports its first exec, some tenths of a millisecond after
it. A program in one of the usual folders is known before that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable

from milecastle.daemon.bans import Ban, restrictions
from milecastle.daemon.hashing import Hashing
from milecastle.daemon.rules import Rules
from milecastle.host import Census, Chronicle, ExecutableHashes
from milecastle.host.census import File
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
        self._hashing = Hashing(hashes, self._hashed)
        self._unhashed: dict[int, tuple[File, str]] = {}
        """By pid, programs whose hash is being read."""
        self._surveying: asyncio.Future[None] | None = None
        self.fault: str | None = None
        """Why the kernel is not told of all that it should be."""

    async def begin(self) -> None:
        """Look at what there is before the first ban."""
        await asyncio.to_thread(self._census.survey)

    def enforce(self, by_hand: Collection[Refused]) -> None:
        """Tell the kernel what the policy says and what is refused by hand, now."""
        everybody = {one.service for one in by_hand if one.caller == EVERYBODY}
        self._rules.apply(self._kernel, everybody)
        some = [one for one in by_hand if one.caller != EVERYBODY]
        for one in some:
            self._census.look_up(one.caller.user)  # the host's table may not list everybody
        self._bans = (*self._rules.bans(), *(self._rules.ban(one) for one in some))
        self._tell()

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
                self._survey_cgroups()
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
        if self._census.programs[file].sha256 is None and any(one.hashed for one in self._bans):
            self._unhashed[pid] = (file, path)
            self._hashing.want(pid, pid)
        return news and any(one.program for one in self._bans)

    def _hashed(self, pid: int, digest: str) -> None:
        file, path = self._unhashed.pop(pid)
        if self._census.met(file, path, digest):
            self._tell()

    def _survey_cgroups(self) -> None:
        """Look for new cgroups in a thread, one look at a time."""
        if self._surveying is None:
            loop = asyncio.get_running_loop()
            self._surveying = loop.run_in_executor(None, self._census.survey_cgroups)
            self._surveying.add_done_callback(self._surveyed)

    def _surveyed(self, _future: asyncio.Future[None]) -> None:
        self._surveying = None
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

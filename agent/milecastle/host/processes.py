"""Who a pid is: executable, arguments, user, ancestry, container; true for the moment of connect().

A pid is only a number. It is believed when the process behind it began before the connection
that it is asked about; else the pid was reused and the answer is "gone".
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from milecastle.host import environment
from milecastle.host.arguments import masked
from milecastle.host.cgroups import cgroup_path
from milecastle.host.containers import place
from milecastle.host.hashes import ExecutableHashes
from milecastle.host.users import group_name, user_name
from milecastle.model import Ancestor, Pod, Process

ARGV_BYTES = 16 << 10
"""Arguments beyond this many bytes are cut."""
ARGV_COUNT = 256
STAT_BYTES = 4096
ANCESTORS = 64
ENDED = frozenset("ZX")
"""States of proc(5): zombie, dead."""
PF_EXITING = 0x4
"""Of the flags in /proc/PID/stat (linux/sched.h): it has given back its memory, and with that its
executable and arguments, or is about to; it is called running still.
"""
GROUPS = 64
STATUS_BYTES = 64 << 10
UNSET_LOGINUID = (1 << 32) - 1
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that matter (proc(5))."""

    comm: str
    ppid: int
    start_ticks: int
    """Clock ticks after boot."""
    ended: bool
    """Whether nothing is left but the number: no program, no arguments."""


class ProcessTable:
    """Identify processes; remember those seen, as long as they are provably the same."""

    def __init__(self, hashes: ExecutableHashes, proc: Path = Path("/proc")) -> None:
        self._hashes = hashes
        self._proc = proc
        self._seen: OrderedDict[tuple[int, int], tuple[object, Process]] = OrderedDict()
        self._boot = psutil.boot_time() if proc == Path("/proc") else 0.0
        # start times count from boot including suspend; connections are stamped CLOCK_MONOTONIC
        self._suspended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()

    def identify(self, pid: int, uid: int, opened_ns: int) -> Process | None:
        """Return the process that had ``pid`` at ``opened_ns`` (CLOCK_MONOTONIC), None if gone.

        ``uid`` is the kernel's: the owner of /proc/PID is root for a process that may not be
        traced, whoever it belongs to.
        """
        stat = self.stat(pid)
        if stat is None or stat.ended or self._began_after(stat, opened_ns):
            return None
        exe, argv = self._exe(pid), self._argv(pid)
        identity = (exe, hash(argv), uid)  # not argv itself: nothing keeps it unmasked
        known = self._seen.get((pid, stat.start_ticks))
        if known and known[0] == identity:
            process = known[1]
        else:
            process = self._read(pid, uid, stat, exe, argv)
            self._seen[pid, stat.start_ticks] = (identity, process)
            while len(self._seen) > 8192:
                self._seen.popitem(last=False)
        last = self.stat(pid)
        if last is None or last.ended:
            return None  # it ended while it was read: what was read may be half of two processes
        if process.sha256 is None and (digest := self._hashes.known(pid)):
            process = replace(process, sha256=digest)
        return process

    def present(self, pid: int) -> Process | None:
        """Return the process that has ``pid`` now, None if there is none."""
        try:
            status = (self._proc / str(pid) / "status").read_bytes()
            uid = int(status[status.index(b"\nUid:") + 5 :].split(None, 1)[0])
        except (OSError, ValueError, IndexError):
            return None
        return self.identify(pid, uid, time.monotonic_ns())

    def stat(self, pid: int) -> Stat | None:
        """Return what /proc/PID/stat says, None where there is no such process."""
        try:
            text = self._bytes(pid, "stat", STAT_BYTES).decode(errors="replace")
            # comm may hold spaces and parentheses: it ends at the last one
            comm, rest = text[text.index("(") + 1 :].rsplit(")", 1)
            fields = rest.split()
            ended = fields[0] in ENDED or bool(int(fields[6]) & PF_EXITING)
            return Stat(comm, int(fields[1]), int(fields[19]), ended)
        except (OSError, ValueError, IndexError):
            return None

    def _began_after(self, stat: Stat, opened_ns: int) -> bool:
        began_ns = stat.start_ticks * TICK_NS - self._suspended_ns
        return began_ns > opened_ns + TICK_NS  # ticks are coarse: one is the error

    def _read(
        self, pid: int, uid: int, stat: Stat, exe: str | None, argv: tuple[str, ...]
    ) -> Process:
        group = cgroup_path(pid, self._proc)
        where = place(group)
        return Process(
            pid=pid,
            comm=stat.comm,
            uid=uid,
            exe=exe.removesuffix(" (deleted)") if exe else None,
            argv=masked(argv),
            cwd=self._link(pid, "cwd"),
            user=user_name(uid),
            groups=self._groups(pid),
            loginuid=self._loginuid(pid),
            started=self._boot + stat.start_ticks * TICK_NS / 1e9,
            ancestry=tuple(self._ancestry(stat)),
            cgroup=group,
            container=where.container,
            runtime=where.runtime,
            pod=Pod(where.pod, where.qos) if where.pod else None,
            marks=(*_marks(exe), *environment.marks(pid, self._proc)),
        )

    def _ancestry(self, stat: Stat) -> list[Ancestor]:
        chain: list[Ancestor] = []
        pid = stat.ppid
        while pid > 0 and len(chain) < ANCESTORS:
            parent = self.stat(pid)
            if parent is None:
                break
            chain.append(Ancestor(pid, parent.comm, self._exe(pid)))
            pid = parent.ppid
        return chain

    def _bytes(self, pid: int, name: str, limit: int) -> bytes:
        """Return the beginning of a process's file. By hand, for this is what connections wait
        for: pathlib takes longer than the kernel.
        """
        descriptor = os.open(f"{self._proc}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, limit)
        finally:
            os.close(descriptor)

    def _exe(self, pid: int) -> str | None:
        return self._link(pid, "exe")

    def _link(self, pid: int, name: str) -> str | None:
        try:
            target = os.readlink(f"{self._proc}/{pid}/{name}")  # noqa: PTH115 - as in _bytes
        except OSError:
            return None
        return target.encode(errors="surrogateescape").decode(errors="replace")

    def _argv(self, pid: int) -> tuple[str, ...]:
        try:
            raw = self._bytes(pid, "cmdline", ARGV_BYTES)
        except OSError:
            return ()
        words = raw.rstrip(b"\0").split(b"\0") if raw else []
        return tuple(word.decode(errors="replace") for word in words[:ARGV_COUNT])

    def _groups(self, pid: int) -> tuple[str | int, ...]:
        """Return the groups by number and name: the effective one, then the others."""
        try:
            with (self._proc / str(pid) / "status").open("rb") as file:
                lines = file.read(STATUS_BYTES).split(b"\n")
            fields = dict(line.partition(b":")[::2] for line in lines)
            effective = fields[b"Gid"].split()[1:2]
            gids = [int(each) for each in (*effective, *fields[b"Groups"].split())]
        except (OSError, ValueError, KeyError):
            return ()
        unique = dict.fromkeys(gids[:GROUPS])
        return tuple(word for gid in unique for word in (gid, group_name(gid)) if word is not None)

    def _loginuid(self, pid: int) -> int | None:
        try:
            value = int((self._proc / str(pid) / "loginuid").read_text())
        except (OSError, ValueError):
            return None
        return None if value == UNSET_LOGINUID else value


def _marks(exe: str | None) -> tuple[str, ...]:
    if exe is None:
        return ()
    if exe.startswith("/memfd:"):
        return ("memfd",)
    return ("deleted",) if exe.endswith(" (deleted)") else ()

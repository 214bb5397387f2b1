"""Processes by what the kernel told of their lives: those that are gone before /proc can be read.

Fork, exec and exit are reported in order, and before a connection that follows them. So a process
that lived for two milliseconds is known here with its program, arguments and ancestors; and for
one that has executed something else since it connected, what it was at that moment.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from milecastle.host.arguments import masked
from milecastle.host.containers import place
from milecastle.host.users import user_name
from milecastle.model import Ancestor, Pod, Process

REMEMBERED = 32768
"""Processes that are kept, living and ended; those heard of longest ago go first."""
IMAGES = 4
"""Programs that are kept of one process; it may exec again and again."""
PATHS = 4096
ANCESTORS = 64
SLACK_NS = 1_000_000
"""The two clocks are read one after the other; nobody forks and connects within a millisecond
of the end of another process with the same pid.
"""


@dataclass(frozen=True, slots=True)
class Image:
    """One program that a process executed."""

    at_ns: int
    """CLOCK_MONOTONIC, nanoseconds."""
    comm: str
    exe: str | None
    argv: tuple[str, ...]
    """Masked."""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Biography:
    """What is known of one process."""

    pid: int
    parent: int
    started_ns: int
    """CLOCK_BOOTTIME, nanoseconds."""
    uid: int
    loginuid: int | None
    cgroup: int
    """The id of its cgroup."""
    images: tuple[Image, ...]
    """Oldest first."""


class Chronicle:
    """Take down lives in the order in which they are told; recall a process at a moment."""

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path | None = None) -> None:
        """``cgroups`` is where cgroup2 is mounted."""
        self._proc = proc
        self._cgroups = cgroups
        self._lives: OrderedDict[int, Biography] = OrderedDict()
        self._paths: OrderedDict[tuple[tuple[int, int], str | None], str] = OrderedDict()
        """(device, inode) of an executable and how it was called -> its path."""
        self._missed = (0, 0)
        """Between these moments somebody may have executed something unheard of."""
        self._groups: dict[int, str] = {}
        """A cgroup's id -> its path."""
        self._boot = psutil.boot_time() if proc == Path("/proc") else 0.0
        self._suspended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()

    def __len__(self) -> int:
        return len(self._lives)

    def forked(self, child: Biography) -> None:
        """A process was made: it runs what its parent runs."""
        parent = self._lives.get(child.parent)
        images = parent.images[-1:] if parent else ()
        self._keep(replace(child, images=images))

    def executed(
        self,
        process: Biography,
        image: Image,
        file: tuple[int, int],
    ) -> None:
        """A process runs another program now; ``file`` is device and inode of its executable."""
        exe = self._path(process.pid, file, image.exe)
        known = self._lives.get(process.pid)
        same = known is not None and known.started_ns == process.started_ns
        earlier = known.images if known and same else ()
        new = replace(image, exe=exe, argv=masked(image.argv))
        self._keep(replace(process, images=(*earlier, new)[-IMAGES:]))

    def recall(self, pid: int, uid: int, opened_ns: int) -> Process | None:
        """Return the process that had this pid at ``opened_ns`` (CLOCK_MONOTONIC), if it is known.

        ``uid`` is the kernel's word of that moment; a process may have changed it since.
        """
        life = self._lives.get(pid)
        if life is None or life.started_ns - self._suspended_ns > opened_ns + SLACK_NS:
            return None
        image = next((one for one in reversed(life.images) if one.at_ns <= opened_ns), None)
        if image is None or (image.at_ns < self._missed[1] and opened_ns > self._missed[0]):
            return None  # or it has executed something since that nobody heard of
        group = self._group(life.cgroup)
        where = place(group)
        return Process(
            pid=pid,
            comm=image.comm,
            uid=uid,
            exe=image.exe,
            argv=image.argv,
            user=user_name(uid),
            loginuid=life.loginuid,
            started=self._boot + life.started_ns / 1e9,
            ancestry=self._ancestry(life, opened_ns),
            cgroup=group,
            container=where.container,
            runtime=where.runtime,
            pod=Pod(where.pod, where.qos) if where.pod else None,
            marks=image.marks,
        )

    def missed(self, since_ns: int, until_ns: int) -> None:
        """Take note that something happened between these moments that was not told."""
        begin = self._missed[0] if self._missed[1] else since_ns
        self._missed = (begin, until_ns)

    def executable(self, pid: int) -> str | None:
        """Return the path of what a process executed last, as far as it was told."""
        life = self._lives.get(pid)
        return life.images[-1].exe if life and life.images else None

    def changed_since(self, pid: int, opened_ns: int) -> bool:
        """Whether the process has executed something else since, or may have: /proc tells of that
        by now.
        """
        life = self._lives.get(pid)
        changed = life is not None and any(one.at_ns > opened_ns for one in life.images)
        return changed or opened_ns < self._missed[1]

    def _keep(self, life: Biography) -> None:
        self._lives[life.pid] = life
        self._lives.move_to_end(life.pid)
        while len(self._lives) > REMEMBERED:
            self._lives.popitem(last=False)

    def _ancestry(self, life: Biography, opened_ns: int) -> tuple[Ancestor, ...]:
        chain: list[Ancestor] = []
        pid = life.parent
        while pid > 0 and len(chain) < ANCESTORS:
            known = self._lives.get(pid)
            if known is None or not known.images:
                found = self._from_proc(pid)
                if found is None:
                    break
                ancestor, pid = found
                chain.append(ancestor)
                continue
            earlier = (one for one in reversed(known.images) if one.at_ns <= opened_ns)
            image = next(earlier, known.images[0])
            chain.append(Ancestor(pid, image.comm, image.exe))
            pid = known.parent
        return tuple(chain)

    def _from_proc(self, pid: int) -> tuple[Ancestor, int] | None:
        """Return an ancestor that began before we did, and its parent's pid."""
        try:
            status = (self._proc / str(pid) / "stat").read_bytes().decode(errors="replace")
            comm, rest = status[status.index("(") + 1 :].rsplit(")", 1)
            return Ancestor(pid, comm, self._link(pid)), int(rest.split()[1])
        except (OSError, ValueError, IndexError):
            return None

    def _path(self, pid: int, file: tuple[int, int], told: str | None) -> str | None:
        """Return the executable's path: as /proc has it, as it was found under that name before,
        as told.

        The number of a file that was deleted is soon another's, so the inode alone says nothing.
        """
        known = self._paths.get((file, told))
        for path in (self._link(pid), known, told and os.path.realpath(told)):
            if path and self._is(path, file):
                self._paths[file, told] = path
                self._paths.move_to_end((file, told))
                while len(self._paths) > PATHS:
                    self._paths.popitem(last=False)
                return path
        return known or told

    def _is(self, path: str, file: tuple[int, int]) -> bool:
        try:
            status = Path(path).stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == file

    def _link(self, pid: int) -> str | None:
        try:
            target = (self._proc / str(pid) / "exe").readlink()
        except OSError:
            return None
        return os.fspath(target).encode(errors="surrogateescape").decode(errors="replace")

    def _group(self, number: int) -> str:
        if number not in self._groups and self._cgroups is not None:
            self._groups = {
                Path(folder).stat().st_ino: "/" + os.path.relpath(folder, self._cgroups).strip(".")
                for folder, _folders, _files in os.walk(self._cgroups)
            }
        return self._groups.get(number, "")

"""What is on this host that a rule can be about: users, programs, cgroups, each with its number.

A rule speaks of names, paths and hashes; the kernel compares numbers. This holds which is which,
as far as it was seen: the tables of users, what runs, what lies in the usual folders, and whatever
executes afterwards. Bounded; what was seen longest ago goes first.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from milecastle.host.users import user_name

PROGRAMS = 16_384
USERS = 16_384
CGROUPS = 16_384
FOLDERS = tuple(map(Path, ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")))
"""Where programs lie that nobody has executed yet."""

type File = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class Executable:
    """A program's file."""

    path: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What one look has found."""

    users: list[tuple[int, str | None]] = field(default_factory=list)
    programs: list[tuple[File, str]] = field(default_factory=list)
    """That nobody need have executed."""
    running: list[tuple[int, File, str]] = field(default_factory=list)
    """The same of processes, by pid."""
    cgroups: list[tuple[int, str]] = field(default_factory=list)


class Census:
    """Who and what there is, by number."""

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path | None = None) -> None:
        """``cgroups`` is where cgroup2 is mounted."""
        self._proc = proc
        self._root = cgroups
        self.programs: OrderedDict[File, Executable] = OrderedDict()
        self.users: OrderedDict[int, str | None] = OrderedDict()
        self.cgroups: OrderedDict[int, str] = OrderedDict()
        """A cgroup's id -> its path inside the cgroup2 tree."""

    def survey(self) -> Survey:
        """Look at everything. Takes some tens of milliseconds and changes nothing here, so that a
        thread may do it; `take` notes what was found.
        """
        return Survey(
            [(entry.pw_uid, entry.pw_name) for entry in pwd.getpwall()],
            list(lying(FOLDERS)),
            list(running(self._proc)),
            self.survey_cgroups().cgroups,
        )

    def survey_cgroups(self) -> Survey:
        """Look at the cgroup2 tree alone."""
        found = Survey()
        for folder, _folders, _files in os.walk(self._root) if self._root else ():
            path = "/" + os.path.relpath(folder, self._root).strip(".")
            with contextlib.suppress(OSError):  # it is gone already
                found.cgroups.append((Path(folder).stat().st_ino, path))
        return found

    def take(self, found: Survey) -> None:
        """Note what was found."""
        for uid, name in found.users:
            keep(self.users, uid, name, USERS)
        for file, path in found.programs:
            self.met(file, path)
        for _pid, file, path in found.running:
            self.met(file, path)
        for number, path in found.cgroups:
            keep(self.cgroups, number, path, CGROUPS)

    def met(self, file: File, path: str, sha256: str | None = None) -> bool:
        """Note a program that was seen; return whether anything of that is new.

        A file's number may have been another's before, so the latest word counts.
        """
        known = self.programs.get(file)
        if known is not None and known.path == path:
            sha256 = sha256 or known.sha256
        keep(self.programs, file, Executable(path, sha256), PROGRAMS)
        return self.programs[file] != known

    def look_up(self, user: str) -> None:
        """Note a user by name or number, if there is one."""
        with contextlib.suppress(KeyError, OverflowError):
            self.met_user(int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid)

    def met_user(self, uid: int) -> bool:
        """Note a user who was seen; return whether that is news."""
        if uid in self.users:
            return False
        keep(self.users, uid, user_name(uid), USERS)
        return True


def keep[K, V](table: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Put an entry in as the latest, and the earliest out where there are too many."""
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)


def lying(folders: tuple[Path, ...]) -> Iterator[tuple[File, str]]:
    """Yield the executables in these folders, under the path that a process has of them."""
    for folder in folders:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
                yield (status.st_dev, status.st_ino), os.path.realpath(entry.path)


def running(proc: Path) -> Iterator[tuple[int, File, str]]:
    """Yield what the processes of this moment execute, with their pids."""
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            link = folder / "exe"
            try:
                status, target = link.stat(), os.fspath(link.readlink())
            except OSError:
                continue  # a thread of the kernel, or gone
            path = target.removesuffix(" (deleted)").encode(errors="surrogateescape")
            file = (status.st_dev, status.st_ino)
            yield int(folder.name), file, path.decode(errors="replace")

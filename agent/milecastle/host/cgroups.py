"""The cgroup2 tree: where it is mounted, where a process is in it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from milecastle.host.containers import place

FIRST = (1, 2)
"""The first process, and the parent of the kernel's threads; the one may be closed to us."""


def see_the_whole_tree(proc: Path = Path("/proc")) -> None:
    """See cgroup paths as the first process does, where this one is in a cgroup namespace.

    In a container with the host's pids /proc/PID/cgroup would say ``/../../other`` otherwise, and
    not where a process is. To be called before there is another thread: setns() changes one.
    """
    for pid in FIRST:
        with suppress(OSError), (proc / str(pid) / "ns" / "cgroup").open() as theirs:
            if os.fstat(theirs.fileno()).st_ino != (proc / "self/ns/cgroup").stat().st_ino:
                os.setns(theirs.fileno(), os.CLONE_NEWCGROUP)
            return


def cgroup2_root(mounts: Path = Path("/proc/self/mounts")) -> Path | None:
    """Return where cgroup2 is mounted: /sys/fs/cgroup, or .../unified on a hybrid host."""
    for line in mounts.read_text().splitlines():
        _device, point, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(point.encode().decode("unicode_escape"))
    return None


def cgroup_path(pid: int, proc: Path = Path("/proc")) -> str:
    """Return the path of a process inside the cgroup2 tree, ``/`` for the root, "" if unknown.

    On a hybrid host (cgroup v1 beside v2) container runtimes may only use the v1 trees; then the
    longest v1 path is returned, because that is the one that names the container.
    """
    lines = _lines(pid, proc)
    unified = next((line[3:] for line in lines if line.startswith("0::")), "")
    if place(unified).container:
        return unified
    legacy = (line.split(":", 2)[2] for line in lines if line.count(":") >= 2)
    return next((path for path in legacy if place(path).container), unified)


def unified_path(pid: int, proc: Path = Path("/proc")) -> str:
    """Return the path of a process inside the cgroup2 tree and no other, "" if unknown."""
    return next((line[3:] for line in _lines(pid, proc) if line.startswith("0::")), "")


def _lines(pid: int, proc: Path) -> list[str]:
    try:
        return (proc / str(pid) / "cgroup").read_text(errors="replace")[:65536].splitlines()
    except OSError:
        return []

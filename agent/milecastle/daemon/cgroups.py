"""The two cgroups that the daemon makes: where its worker is, and where its self-test runs.

The worker's own connections are exempt from interception by the id of its cgroup. Only root can
put a process in there, so a program that merely looks like a worker (user, name, arguments) is
intercepted like any other.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from milecastle.host import cgroup2_root, unified_path


class CgroupError(OSError):
    """The cgroup tree is not what milecastle needs; the message says what to do."""


def resolve(setting: str) -> Path:
    """Return the folder of the cgroup that is watched; ``auto`` is the whole host."""
    root = cgroup2_root()
    if root is None:
        raise CgroupError(
            "no cgroup2 file system is mounted; mount one with "
            "`mount -t cgroup2 none /sys/fs/cgroup` or boot with systemd"
        )
    if setting == "auto":
        return root
    path = Path(setting)
    if not (path / "cgroup.procs").exists():
        raise CgroupError(f"{path} is not a cgroup; the tree is mounted at {root}")
    return path


def inside(path: Path) -> str:
    """Return a cgroup folder's path inside the tree, as /proc/PID/cgroup writes it."""
    root = cgroup2_root()
    return "/" + str(path.relative_to(root)).strip(".") if root else "/"


def base_for_children(watched: Path) -> Path:
    """Return where new cgroups go: below our own if that is watched (systemd), else below it."""
    root = cgroup2_root()
    own = root / unified_path(os.getpid()).lstrip("/") if root else watched
    return own if own.is_relative_to(watched) else watched


@contextlib.contextmanager
def temporary(base: Path, name: str) -> Iterator[Path]:
    """Make a cgroup for the duration; it is empty again when its processes have ended.

    Those that a daemon left behind which was killed are removed: their processes died with it.
    """
    for stale in base.glob(f"milecastle-{name}-*"):
        if not Path("/proc", stale.name.rsplit("-", 1)[-1]).exists():
            with contextlib.suppress(OSError):
                stale.rmdir()
    path = base / f"milecastle-{name}-{os.getpid()}"
    path.mkdir(exist_ok=True)
    try:
        yield path
    finally:
        remove(path)


def remove(path: Path, patience: float = 2.0) -> None:
    """Remove a cgroup, giving its last processes a moment to be reaped."""
    deadline = time.monotonic() + patience
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
        else:
            return


def identity(path: Path) -> int:
    """Return the cgroup's id as bpf_get_current_cgroup_id() gives it: the folder's inode."""
    return path.stat().st_ino

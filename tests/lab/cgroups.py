"""cgroup2: find it, make a tree for one run, and end everything that is in it.

A cgroup is how the lab cleans up: whatever was started in the tree, however deep and whoever
its parent is now, dies by one write to ``cgroup.kill`` (kernel 5.14 and newer).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

END_SECONDS = 10.0
"""How long killed processes may take to be gone."""


def mounted() -> Path:
    """Return where cgroup2 is mounted: /sys/fs/cgroup, or below it on hybrid hosts."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise RuntimeError("no cgroup2 file system is mounted here; the lab needs one")


@contextmanager
def tree(name: str) -> Iterator[Path]:
    """Make a cgroup below the cgroup2 root; kill and remove all that is in it at the end."""
    path = mounted() / name
    path.mkdir()
    try:
        yield path
    finally:
        remove(path)


def remove(path: Path) -> None:
    """Kill every process in the tree and remove it, leaves first."""
    if not path.exists():
        return
    (path / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + END_SECONDS
    while "populated 1" in (path / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes in {path} outlive SIGKILL: {processes(path)}")
        time.sleep(0.01)
    for child in sorted((p for p in path.rglob("*") if p.is_dir()), reverse=True):
        child.rmdir()
    path.rmdir()


def processes(path: Path) -> list[int]:
    """Return the pids in the tree."""
    return [int(pid) for file in path.rglob("cgroup.procs") for pid in file.read_text().split()]

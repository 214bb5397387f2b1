"""Which processes hold a socket: a search through the descriptors of all processes.

A socket may have several holders: fork() leaves it to the child, SCM_RIGHTS hands it to anybody.
The search reads one link for each descriptor on the host, some microseconds each, so it is bounded
and made in a thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

DESCRIPTORS = 1_000_000
"""Most links that one search reads."""
SECONDS = 2.0
MOST_HOLDERS = 64
"""Of one socket."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a search has found."""

    holders: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """A socket's inode -> the pids of its holders, ascending."""
    whole: bool = True
    """Whether every process was looked at; else there may be more holders."""


def holders(
    inodes: Collection[int], proc: Path = Path("/proc"), seconds: float = SECONDS
) -> Search:
    """Return who holds the sockets with these inodes."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    found: dict[int, set[int]] = {}
    if not wanted:
        return Search()
    end, left = time.monotonic() + seconds, DESCRIPTORS
    pids = sorted(int(entry.name) for entry in os.scandir(proc) if entry.name.isdecimal())
    for pid in pids:
        if left <= 0 or time.monotonic() > end:
            return Search(ordered(found), whole=False)
        try:
            entries = list(os.scandir(f"{proc}/{pid}/fd"))
        except OSError:
            continue  # it has ended, or is not ours to look at
        left -= len(entries)
        for entry in entries:
            try:
                inode = wanted.get(os.readlink(entry.path))  # noqa: PTH115 - a million times
            except OSError:
                continue
            if inode is not None and len(known := found.setdefault(inode, set())) < MOST_HOLDERS:
                known.add(pid)
    return Search(ordered(found))


def ordered(found: dict[int, set[int]]) -> dict[int, tuple[int, ...]]:
    return {inode: tuple(sorted(pids)) for inode, pids in found.items()}

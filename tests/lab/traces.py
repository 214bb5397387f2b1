"""What an agent has on a host while it runs, and what of it is still there afterwards.

Taken from the agent's own processes, so that another test's programs on the same host are
nobody's leftovers: BPF programs and links by the ids in /proc/PID/fdinfo, listeners by address,
processes by pid and start time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import psutil

BPF_ID = re.compile(r"^(prog|link)_id:\s*(\d+)$", re.MULTILINE)
HOOKS = (0, 1, *range(8, 13), *range(14, 16), 19, 20, 21, 22, *range(29, 33), 34)
"""Attach types of a cgroup (enum bpf_attach_type, linux/bpf.h): skb, sock, connect, sendmsg, ..."""
MOST = 64
"""Programs that the kernel lets attach to one hook of one cgroup."""


@dataclass(frozen=True, slots=True)
class Traces:
    programs: frozenset[int] = frozenset()
    links: frozenset[int] = frozenset()
    listeners: frozenset[str] = frozenset()
    """``address:port`` in the root network namespace."""
    processes: frozenset[tuple[int, float]] = frozenset()
    """Pid and start time, of the daemon and all below it."""

    def remains(self) -> dict[str, list[object]]:
        """Return what of it is still there, by kind; empty where nothing is."""
        now = Traces(
            frozenset(identifiers(libbpf().bpf_prog_get_next_id)),
            frozenset(identifiers(libbpf().bpf_link_get_next_id)),
            frozenset(listeners()),
            frozenset(filter(None, map(born, psutil.pids()))),
        )
        both = {f.name: getattr(self, f.name) & getattr(now, f.name) for f in fields(self)}
        return {kind: sorted(found) for kind, found in both.items() if found}


def take(pid: int) -> Traces:
    """Look at a process and all its descendants."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    objects = {found for process in processes for found in bpf_objects(process.pid)}
    return Traces(
        programs=frozenset(number for kind, number in objects if kind == "prog"),
        links=frozenset(number for kind, number in objects if kind == "link"),
        listeners=frozenset(found for process in processes for found in listeners(process.pid)),
        processes=frozenset(filter(None, (born(process.pid) for process in processes))),
    )


def bpf_objects(pid: int) -> set[tuple[str, int]]:
    """Return the kind and id of the BPF programs and links that a process holds open."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):
            found |= {(kind, int(number)) for kind, number in BPF_ID.findall(path.read_text())}
    return found


def born(pid: int) -> tuple[int, float] | None:
    """Return what tells a process from a later one with its pid; None for the dead."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return pid, process.create_time()
    return None


def listeners(pid: int | None = None) -> set[str]:
    """Return the TCP listeners of this network namespace; with a pid, those that it holds."""
    return {
        f"{socket.laddr.ip}:{socket.laddr.port}"
        for socket in psutil.net_connections("tcp")
        if socket.status == psutil.CONN_LISTEN and pid in (None, socket.pid)
    }


@cache
def libbpf() -> ctypes.CDLL:
    return ctypes.CDLL("libbpf.so.1", use_errno=True)


def identifiers(successor: Callable[..., int]) -> list[int]:
    """Walk the kernel's ids of one kind of BPF object."""
    found: list[int] = []
    number = ctypes.c_uint32(0)
    while successor(number, ctypes.byref(number)) == 0:
        found.append(number.value)
    if (code := ctypes.get_errno()) != errno.ENOENT:
        raise OSError(code, "walking the kernel's BPF objects")
    return found


def attached(cgroup: Path) -> dict[int, list[int]]:
    """Return the ids of the programs attached to a cgroup, by attach type."""
    found = {}
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for hook in HOOKS:
            count = ctypes.c_uint32(MOST)
            ids = (ctypes.c_uint32 * MOST)()
            if libbpf().bpf_prog_query(fd, hook, 0, None, ids, ctypes.byref(count)) == 0:
                found[hook] = list(ids[: count.value])
    finally:
        os.close(fd)
    return {hook: ids for hook, ids in found.items() if ids}

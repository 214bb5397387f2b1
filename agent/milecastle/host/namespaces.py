"""Network namespaces: which there are, and sockets made inside one by a process outside of it.

setns() changes one thread; so each entry is made by a thread of its own that ends with it, and the
daemon's other threads never leave the host's namespace.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

SIOCGIFFLAGS = 0x8913
IFF_UP = 1


PIDS = 256
"""Most pids of one namespace that are remembered."""
MOST_ADDRESSES = 256


def of_processes(own: int | None, proc: Path = Path("/proc")) -> dict[int, list[int]]:
    """Return the network namespaces that hold processes, but for ``own``: inode -> pids."""
    found: dict[int, list[int]] = {}
    for entry in os.scandir(proc):
        if entry.name.isdigit():
            inode = of_process(int(entry.name), proc)
            if inode is not None and inode != own:
                pids = found.setdefault(inode, [])
                if len(pids) < PIDS:
                    pids.append(int(entry.name))
    return found


def of_process(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Return the inode of a process's network namespace, None where it has ended."""
    try:
        return (proc / str(pid) / "ns" / "net").stat().st_ino
    except OSError:
        return None


def open_namespace(pid: int, inode: int, proc: Path = Path("/proc")) -> int:
    """Return a descriptor of the namespace; OSError where the pid is not in it any more."""
    descriptor = os.open(proc / str(pid) / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(descriptor).st_ino != inode:
        os.close(descriptor)
        raise OSError(errno.ESTALE, "the process is in another namespace now")
    return descriptor


def within[Result](namespace: int, act: Callable[[], Result]) -> Result:
    """Return what ``act`` returns inside the namespace of this descriptor."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            os.setns(namespace, os.CLONE_NEWNET)
            results.append(act())
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            errors.append(error)

    thread = threading.Thread(target=enter, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def loopback_is_up() -> bool:
    """Whether ``lo`` is up in this thread's namespace: without it a redirect leads nowhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        try:
            answer = fcntl.ioctl(sock, SIOCGIFFLAGS, request)
        except OSError:
            return False
    flags: int = struct.unpack("16xH14x", answer)[0]
    return bool(flags & IFF_UP)


def addresses() -> frozenset[str]:
    """Return the addresses of this thread's network namespace, but for loopback."""
    found: set[str] = set()
    for interface in psutil.net_if_addrs().values():
        for one in interface:
            if one.family in (socket.AF_INET, socket.AF_INET6) and len(found) < MOST_ADDRESSES:
                address = one.address.partition("%")[0]
                if not ipaddress.ip_address(address).is_loopback:
                    found.add(address)
    return frozenset(found)

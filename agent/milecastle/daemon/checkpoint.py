"""The listening sockets that redirected connections arrive at, and where unix sockets are made.

The daemon makes and owns them, workers only accept from them: when a worker dies, new connections
wait in the backlog for the next one instead of being refused.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from milecastle.host import netns_cookie

BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening TCP socket on loopback, in one network namespace."""

    socket: socket.socket
    family: int
    """4 or 6."""
    port: int
    netns: int


def open_listeners() -> tuple[Listener, ...]:
    """Listen on loopback for IPv4 and, where the host has it, IPv6; the kernel picks the ports."""
    listeners = [_open(4, socket.AF_INET, "127.0.0.1")]
    with contextlib.suppress(OSError):  # IPv6 is switched off on this host
        listeners.append(_open(6, socket.AF_INET6, "::1"))
    return tuple(listeners)


def _open(number: int, family: socket.AddressFamily, address: str) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, 0))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return Listener(sock, number, sock.getsockname()[1], netns_cookie(sock))


def open_unix(path: Path, mode: int, gid: int) -> socket.socket:
    """Listen on a unix socket that is never reachable with any other mode or group."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o777)
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(previous)
    os.chown(path, 0, gid)
    path.chmod(mode)
    sock.listen(64)
    return sock

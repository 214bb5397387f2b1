"""The listening sockets that redirected connections arrive at, and where unix sockets are made.

The daemon makes and owns them, workers only accept from them: when a worker dies, new connections
wait in the backlog for the next one instead of being refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from milecastle.host import has_ipv6, netns_cookie
from milecastle.kernel import Kernel

BACKLOG = 4096
ROUTES_SECONDS = 2.0
FAMILIES = {4: (socket.AF_INET, "127.0.0.1"), 6: (socket.AF_INET6, "::1")}


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
    listeners = [listen_on(4)]
    with contextlib.suppress(OSError):  # IPv6 is switched off on this host
        listeners.append(listen_on(6))
    return tuple(listeners)


def listen_on(family: int, port: int = 0) -> Listener:
    """Listen on this namespace's loopback; 0 lets the kernel pick the port."""
    kind, address = FAMILIES[family]
    # asyncio sets TCP_NODELAY only on sockets that say which protocol they speak
    sock = socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP)
    try:
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return Listener(sock, family, sock.getsockname()[1], netns_cookie(sock))


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


async def follow_routes(kernel: Kernel, ports: dict[int, int]) -> None:
    """Offer the IPv6 checkpoint only while the host has a way out over IPv6."""
    while True:
        kernel.set_checkpoint(ports[4], ports.get(6, 0) if has_ipv6() else 0)
        await asyncio.sleep(ROUTES_SECONDS)

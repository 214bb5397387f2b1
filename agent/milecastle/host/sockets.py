"""What the kernel says of a socket: who is at the other end, which network namespace it is in."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

SO_PEERGROUPS = 59  # Linux 4.13
SO_NETNS_COOKIE = 71  # Linux 5.14


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of the process that called connect(); set by the kernel, not by the peer."""

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...]


def peer_credentials(sock: socket.socket) -> Credentials:
    """Return SO_PEERCRED and SO_PEERGROUPS of a connected unix socket."""
    pid, uid, gid = struct.unpack(
        "iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    )
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)  # Python allows no more
    except OSError:  # in more than 256 groups: not one of ours
        raw = b""
    return Credentials(pid, uid, gid, tuple(struct.unpack(f"{len(raw) // 4}I", raw)))


def netns_cookie(sock: socket.socket) -> int:
    """Return the cookie of the network namespace that the socket was made in."""
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    return int.from_bytes(raw, "little" if struct.pack("H", 1)[0] else "big")

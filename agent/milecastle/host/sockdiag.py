"""The TCP sockets of a network namespace, by the kernel's own lists (sock_diag(7), netlink).

A list is that of the calling thread's namespace. It is bounded here, for a host may have a
million connections: what is beyond is not looked at. Of sockets that listen the kernel keeps a
table apart, so asking for those takes microseconds however many connections are open.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
ESTABLISHED, CLOSE_WAIT, LISTEN = 1, 8, 10  # include/net/tcp_states.h
MESSAGE = 72
"""Bytes of struct inet_diag_msg (include/uapi/linux/inet_diag.h)."""
MOST = 100_000
MOST_LISTENING = 4096
TIMEOUT_S = 2.0
BUFFER = 1 << 18


@dataclass(frozen=True, slots=True)
class Held:
    """A connection that some process holds."""

    cookie: int
    inode: int
    """Of its socket, as in ``/proc/PID/fd``; 0 where no process has it any more."""
    uid: int
    """Of whoever made the socket."""
    address: str
    """Of the peer; a mapped IPv4 address as plain IPv4."""
    port: int


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A TCP socket that accepts connections."""

    address: str
    """Where; ``0.0.0.0`` and ``::`` are everywhere."""
    port: int
    inode: int


def connections() -> list[Held]:
    """Return the established TCP connections of this thread's namespace, or raise OSError."""
    states = 1 << ESTABLISHED | 1 << CLOSE_WAIT
    return [held(data, at) for data, at in islice(listed(states), MOST)]


def listening() -> list[ListeningSocket]:
    """Return the listening TCP sockets of this thread's namespace, or raise OSError."""
    return [listens(data, at) for data, at in islice(listed(1 << LISTEN), MOST_LISTENING)]


def listed(states: int) -> Iterator[tuple[bytes, int]]:
    """Yield each struct inet_diag_msg of sockets in these states: a buffer, and where it begins."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(TIMEOUT_S)
        for family in (socket.AF_INET, socket.AF_INET6):
            netlink.sendto(request(family, states), (0, 0))
            yield from answers(netlink)


def request(family: int, states: int) -> bytes:
    """Return nlmsghdr + struct inet_diag_req_v2."""
    body = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, states)
    flags = NLM_F_REQUEST | NLM_F_DUMP
    return struct.pack("=IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body


def answers(netlink: socket.socket) -> Iterator[tuple[bytes, int]]:
    """Yield the rows of one list."""
    while True:
        data = netlink.recv(BUFFER)
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR or length < 16:
                raise OSError("the kernel does not list its sockets")
            if length >= 16 + MESSAGE:
                yield data, at + 16
            at += (length + 3) & ~3


def held(data: bytes, at: int) -> Held:
    """Return the connection of a struct inet_diag_msg."""
    family = data[at]
    (port,) = struct.unpack_from(">H", data, at + 6)
    low, high = struct.unpack_from("=II", data, at + 44)
    uid, inode = struct.unpack_from("=II", data, at + 64)
    raw = data[at + 24 : at + (28 if family == socket.AF_INET else 40)]
    address = ipaddress.ip_address(raw)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return Held(high << 32 | low, inode, uid, str(address), port)


def listens(data: bytes, at: int) -> ListeningSocket:
    """Return the listening socket of a struct inet_diag_msg."""
    size = 4 if data[at] == socket.AF_INET else 16
    (port,) = struct.unpack_from(">H", data, at + 4)
    (inode,) = struct.unpack_from("=I", data, at + 68)
    return ListeningSocket(str(ipaddress.ip_address(data[at + 8 : at + 8 + size])), port, inode)

"""Who listens on which TCP port: sockets by netlink (sock_diag(7)), their owners by /proc.

The kernel walks its table of listening sockets alone, so asking takes microseconds however many
connections are open. Finding owners means reading the descriptors of every process: it is done for
sockets that were not seen before, and for nothing else.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TCP_LISTEN = 10
TIMEOUT = 1.0
CHUNK = 1 << 16
MESSAGE = struct.Struct("=4x2s2x16s16x12x12xII")
"""struct inet_diag_msg (linux/inet_diag.h): source port, source address; user, inode."""
MOST = 4096
"""Sockets of one namespace, and descriptors of one process, that are looked at."""
MOST_ADDRESSES = 256


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A TCP socket that accepts connections."""

    address: str
    """Where; ``0.0.0.0`` and ``::`` are everywhere."""
    port: int
    inode: int


def listening() -> list[ListeningSocket]:
    """Return the listening sockets of this thread's network namespace. OSError: none can be had."""
    found: list[ListeningSocket] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(TIMEOUT)
        for family in (socket.AF_INET, socket.AF_INET6):
            netlink.sendto(request(family), (0, 0))
            for message in dumped(netlink):
                if len(found) < MOST:
                    found.append(read(family, message))
    return found


def request(family: int) -> bytes:
    """Return nlmsghdr and struct inet_diag_req_v2: all sockets that listen."""
    body = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, 1 << TCP_LISTEN)
    flags = NLM_F_REQUEST | NLM_F_DUMP
    return struct.pack("=IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body


def dumped(netlink: socket.socket) -> Iterator[bytes]:
    """Yield the payloads of a dump until its end."""
    while True:
        data = netlink.recv(CHUNK)
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                number = -struct.unpack_from("=i", data, 16)[0]
                raise OSError(number, f"sock_diag: {os.strerror(number)}")
            if length < 16:
                return
            yield data[16:length]
            data = data[(length + 3) & ~3 :]


def read(family: int, message: bytes) -> ListeningSocket:
    """Return what a message says."""
    port, source, _user, inode = MESSAGE.unpack_from(message)
    address = source[:4] if family == socket.AF_INET else source
    text = socket.inet_ntop(family, address)
    return ListeningSocket(text, int.from_bytes(port, "big"), inode)


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


def owners(inodes: Collection[int], proc: Path = Path("/proc")) -> dict[int, int]:
    """Return a process for each socket that has one: the first that was started and is alive."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    for pid in sorted(int(each.name) for each in proc.iterdir() if each.name.isdecimal()):
        if len(found) == len(wanted):
            break
        for target in descriptors(proc / str(pid) / "fd"):
            if target in wanted:
                found.setdefault(wanted[target], pid)
    return found


def descriptors(folder: Path) -> Iterator[str]:
    """Yield what a process's descriptors are; nothing where it has ended."""
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST:
                    return
                try:
                    yield os.readlink(entry.path)  # noqa: PTH115 - it is text, of no path
                except OSError:
                    continue  # it was closed meanwhile
    except OSError:
        return

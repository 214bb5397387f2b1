"""End a connection from outside: SOCK_DESTROY by netlink (sock_diag(7); some 35 us).

The application gets ECONNABORTED at its next call, and connects anew. Needs CAP_NET_ADMIN, and
the kernel's CONFIG_INET_DIAG_DESTROY, which distributions set.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from milecastle.kernel.flows import Flow
from milecastle.kernel.layout import packed

NETLINK_SOCK_DIAG = 4
SOCK_DESTROY = 21
NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 1, 4, 2
SO_NETNS_COOKIE = 71
ALL_STATES = 0xFFFFFFFF
TIMEOUT_S = 1.0


def destroy(flow: Flow) -> bool:
    """End the connection of a flow whose source is known; False where it is gone already.

    The request is made inside the flow's namespace, which is entered through its process; where
    that process is gone too, so is the connection (or another process holds it: OSError).
    """
    if not flow.source_port:
        raise ValueError("a flow without a source cannot be found by the kernel")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as here:
        if netns_of(here) == flow.netns:
            return asked(here, flow)
    with ThreadPoolExecutor(1, "namespace") as thread:  # setns() would move the whole event loop
        return thread.submit(destroy_there, flow).result()


def destroy_there(flow: Flow) -> bool:
    """Enter the namespace of the flow's process with this thread, and end the connection."""
    with Path(f"/proc/{flow.pid}/ns/net").open() as namespace:
        os.setns(namespace.fileno(), os.CLONE_NEWNET)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as there:
        if netns_of(there) != flow.netns:
            raise OSError(errno.ESTALE, "the process is in another network namespace than its flow")
        return asked(there, flow)


def asked(netlink: socket.socket, flow: Flow) -> bool:
    """Send the request and read the kernel's answer."""
    netlink.settimeout(TIMEOUT_S)
    netlink.sendto(request(flow), (0, 0))
    answer = netlink.recv(4096)
    if len(answer) < 20 or struct.unpack_from("=H", answer, 4)[0] != NLMSG_ERROR:
        raise OSError(errno.EPROTO, "SOCK_DESTROY was not acknowledged")
    number = -int(struct.unpack_from("=i", answer, 16)[0])
    if number in (0, errno.ENOENT):
        return number == 0
    raise OSError(number, f"SOCK_DESTROY: {os.strerror(number)}")


def request(flow: Flow) -> bytes:
    """Return nlmsghdr + struct inet_diag_req_v2 (include/uapi/linux/inet_diag.h)."""
    source, destination = packed(flow.source), packed(flow.address)
    family = socket.AF_INET6 if ":" in flow.address else socket.AF_INET
    if family == socket.AF_INET:
        source, destination = source[12:], destination[12:]
    body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, ALL_STATES)
    body += struct.pack(">HH16s16s", flow.source_port, flow.port, source, destination)
    body += struct.pack("=III", 0, flow.cookie & 0xFFFFFFFF, flow.cookie >> 32)  # any interface
    flags = NLM_F_REQUEST | NLM_F_ACK
    return struct.pack("=IHHII", 16 + len(body), SOCK_DESTROY, flags, 1, 0) + body


def netns_of(sock: socket.socket) -> int:
    """Return the cookie of a socket's network namespace."""
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    return int.from_bytes(raw, sys.byteorder)

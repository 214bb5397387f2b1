"""bpf/milecastle.h in Python: structs, numbers and names as the kernel's side has them.

Nothing here is decided; tests/kernel/test_layout.py compares every size, offset and number with
what the C compiler makes of the header.
"""

from __future__ import annotations

import ctypes
import ipaddress
from enum import IntEnum, IntFlag

U8 = ctypes.c_uint8
U16 = ctypes.c_uint16
U32 = ctypes.c_uint32
U64 = ctypes.c_uint64

HEARTBEAT_NS = 1_000_000_000
SERVICES = 4096
ADDRESSES = 65536
FLOWS = 65536
NAMES = 131072
CALLERS = 65536
EXEMPTIONS = 64
RESTRICTIONS = 65536
EXCLUSIONS = 8192
LOCALS = 4096
ARGUMENT_BYTES = 1024
MOST_LEVELS = 32
PACKET_BYTES = 4096
BELOW = 256
INTERCEPTED = 0x10000
"""With the service of a local server: the settings have its port intercepted."""


class Flag(IntFlag):
    """enum flag: what is to be done with connections to a service."""

    REDIRECT = 1
    CLOSED = 2
    REFUSE = 4
    SOME = 8


class Asks(IntFlag):
    """enum asks: what a restriction asks of whoever connects."""

    USER = 1
    PROGRAM = 2
    CGROUP = 4


class Outcome(IntEnum):
    """enum outcome: where a connection went."""

    DIRECT = 1
    REDIRECTED = 2
    REFUSED = 3


class Reason(IntEnum):
    """enum reason: why it went there. 0 stands for "nothing stood in the way"."""

    NONE = 0
    POLICY = 1
    BOUND_DEVICE = 2
    HEARTBEAT = 3
    NO_LISTENER = 4
    QUIC = 5
    LATE_NAME = 6
    EXCLUDED = 7
    LOCAL = 8


class Evidence(IntEnum):
    """enum evidence: how it is known whose an address is, best first."""

    DNS = 0
    HELLO = 1


class Counter(IntEnum):
    """enum counter: indices of the per-CPU array ``counters``."""

    REDIRECTED = 0
    DIRECT = 1
    REFUSED = 2
    QUIC_REFUSED = 3
    BOUND_DEVICE = 4
    HEARTBEAT = 5
    NO_LISTENER = 6
    EXEMPT = 7
    TRESPASS = 8
    EXPIRED = 9
    FLOW_LOST = 10
    FLOW_UNREPORTED = 11
    PORT_LOST = 12
    PEER_ANSWERED = 13
    DNS_SPLIT = 14
    DNS_SEEN = 15
    DNS_UNASKED = 16
    DNS_EMPTY = 17
    DNS_OTHER = 18
    DNS_MATCHED = 19
    LEARNT = 20
    NOWHERE = 21
    ADDRESS_LOST = 22
    HELLO_SEEN = 23
    HELLO_MATCHED = 24
    HELLO_UNREADABLE = 25
    CALLER_UNKNOWN = 26
    PROCESS_UNREPORTED = 27
    DNS_REPORTED = 28
    DNS_UNREPORTED = 29
    DNS_UNREADABLE = 30
    EXCLUDED = 31


class PacketKind(IntEnum):
    """enum packet_kind: what the bytes of a packet record are."""

    DNS = 1
    DNS_STREAM = 2


class LifeKind(IntEnum):
    """enum life_kind: what happened to a process."""

    FORK = 1
    EXEC = 2
    EXIT = 3


class Address(ctypes.Structure):
    """struct address: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d."""

    _fields_ = (("bytes", U8 * 16),)


class Place(ctypes.Structure):
    _fields_ = (("expires_ns", U64), ("service", U32), ("evidence", U32))


class RestrictionKey(ctypes.Structure):
    """struct restriction."""

    _fields_ = (
        ("cgroup", U64),
        ("inode", U64),
        ("device", U32),
        ("uid", U32),
        ("service", U32),
        ("shape", U32),
    )


class Checkpoint(ctypes.Structure):
    _fields_ = (("port4", U32), ("port6", U32))


class Local(ctypes.Structure):
    """struct local: any address of loopback is all zero."""

    _fields_ = (("address", Address), ("port", U32), ("unused", U32))


class Source(ctypes.Structure):
    _fields_ = (("address", Address), ("netns", U64), ("port", U32), ("unused", U32))


class Name(ctypes.Structure):
    """struct name: a reversed name, ``bits`` of ``bytes`` count."""

    _fields_ = (("bits", U32), ("bytes", U8 * 256))


class FlowRecord(ctypes.Structure):
    """struct flow."""

    _fields_ = (
        ("cookie", U64),
        ("netns", U64),
        ("cgroup", U64),
        ("opened_ns", U64),
        ("destination", Address),
        ("source", Address),
        ("pid", U32),
        ("tid", U32),
        ("uid", U32),
        ("gid", U32),
        ("port", U16),
        ("service", U16),
        ("outcome", U8),
        ("reason", U8),
        ("protocol", U8),
        ("limits", U8),
        ("comm", ctypes.c_char * 16),
        ("source_port", U16),
        ("unused16", U16),
        ("unused32", U32),
    )


class PacketRecord(ctypes.Structure):
    """struct packet."""

    _fields_ = (
        ("cookie", U64),
        ("seen_ns", U64),
        ("kind", U32),
        ("total", U32),
        ("length", U32),
        ("sequence", U32),
        ("data", U8 * PACKET_BYTES),
    )


class LifeRecord(ctypes.Structure):
    """struct life."""

    _fields_ = (
        ("at_ns", U64),
        ("started_ns", U64),
        ("cgroup", U64),
        ("kind", U32),
        ("pid", U32),
        ("parent", U32),
        ("uid", U32),
        ("gid", U32),
        ("loginuid", U32),
        ("comm", ctypes.c_char * 16),
    )


class ExecutionRecord(ctypes.Structure):
    """struct execution."""

    _fields_ = (
        ("life", LifeRecord),
        ("inode", U64),
        ("device", U32),
        ("links", U32),
        ("arguments_total", U32),
        ("arguments_length", U32),
        ("unused", U64),
        ("filename", ctypes.c_char * 256),
        ("interpreter", ctypes.c_char * 256),
        ("arguments", U8 * ARGUMENT_BYTES),
    )


MAPS: dict[str, tuple[int, int]] = {
    "services": (4, 4),
    "checkpoints": (4, ctypes.sizeof(Checkpoint)),
    "heartbeats": (4, 8),
    "exempt": (8, 4),
    "excluded": (8, 4),
    "matchings": (4, 4),
    "restrictions": (ctypes.sizeof(RestrictionKey), 4),
    "askings": (4, 4),
    "strictness": (4, 4),
    "locals": (ctypes.sizeof(Local), 4),
    "local_ports": (4, 8),
    "names": (ctypes.sizeof(Name), 4),
    "vouched": (4, 4),
    "addresses": (ctypes.sizeof(Address), ctypes.sizeof(Place)),
    "flows": (8, ctypes.sizeof(FlowRecord)),
    "ports": (ctypes.sizeof(Source), 8),
    "counters": (4, 8),
    "flow_ring": (0, 0),
    "packet_ring": (0, 0),
}
"""The maps that the daemon works on: sizes of key and value in bytes."""
PROCESS_MAPS: dict[str, tuple[int, int]] = {"scopes": (4, 8), "process_ring": (0, 0)}
"""Those that are there where the lives of processes are watched."""


def packed(address: str) -> bytes:
    """Return an address's 16 bytes, IPv4 in its mapped form. ValueError where it is none."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return b"\0" * 10 + b"\xff\xff" + parsed.packed
    return parsed.packed


def unpacked(raw: bytes) -> str:
    """Return 16 bytes as text; a mapped address as plain IPv4."""
    parsed = ipaddress.IPv6Address(raw)
    return str(parsed.ipv4_mapped or parsed)

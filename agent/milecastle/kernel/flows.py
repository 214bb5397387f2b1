"""What the kernel reports: a connection to a service, or a packet for a parser. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.kernel.layout import FlowRecord, Outcome, PacketKind, PacketRecord, Reason, unpacked

TCP = 6
UDP = 17


@dataclass(frozen=True, slots=True)
class Flow:
    """One connect() to a service's address, seen from inside the kernel."""

    cookie: int
    """The socket's (SO_COOKIE)."""
    netns: int
    """The cookie of the socket's network namespace (SO_NETNS_COOKIE)."""
    cgroup: int
    """The id of the calling thread's cgroup: the inode of its directory."""
    opened_ns: int
    """CLOCK_MONOTONIC, nanoseconds."""
    address: str
    """Where the application wanted to go; IPv4 also where it said ::ffff:a.b.c.d."""
    port: int
    pid: int
    """The thread group's id, in the first pid namespace, as the daemon's own /proc has it."""
    tid: int
    uid: int
    gid: int
    comm: str
    service: int
    """The service's number; the catalogue has its id."""
    outcome: Outcome
    reason: Reason
    protocol: int = TCP
    source: str = ""
    """With ``source_port``, where it comes from; known where the reason is LATE_NAME."""
    source_port: int = 0

    @property
    def established(self) -> bool:
        """Whether it is a connection: TCP, and not refused."""
        return self.protocol == TCP and self.outcome is not Outcome.REFUSED

    @property
    def cut(self) -> bool:
        """Whether the connection was made before its name was seen, and then refused."""
        return self.reason is Reason.LATE_NAME and self.outcome is Outcome.REFUSED

    @classmethod
    def from_record(cls, record: FlowRecord) -> Flow:
        """ValueError where the record holds numbers that the header does not name."""
        return cls(
            cookie=record.cookie,
            netns=record.netns,
            cgroup=record.cgroup,
            opened_ns=record.opened_ns,
            address=unpacked(bytes(record.destination)),
            port=record.port,
            pid=record.pid,
            tid=record.tid,
            uid=record.uid,
            gid=record.gid,
            comm=record.comm.decode("utf-8", "replace"),
            service=record.service,
            outcome=Outcome(record.outcome),
            reason=Reason(record.reason),
            protocol=record.protocol,
            source=unpacked(bytes(record.source)) if record.source_port else "",
            source_port=record.source_port,
        )


@dataclass(frozen=True, slots=True)
class Packet:
    """Bytes off the network, for the unprivileged worker's parser; root does not look inside."""

    kind: PacketKind
    cookie: int
    seen_ns: int
    """CLOCK_MONOTONIC, nanoseconds."""
    data: bytes
    total: int
    """Length in bytes before it was cut to ``data``."""
    sequence: int = 0
    """DNS_STREAM: TCP's number of the first byte."""

    @classmethod
    def from_record(cls, record: PacketRecord) -> Packet:
        """ValueError where the record holds a kind that the header does not name."""
        return cls(
            PacketKind(record.kind),
            record.cookie,
            record.seen_ns,
            bytes(record.data[: record.length]),
            record.total,
            record.sequence,
        )

"""What the kernel reports: a connection to a service, or a packet for a parser. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.kernel.layout import FlowRecord, Outcome, PacketKind, PacketRecord, Reason, unpacked
from milecastle.model import Connection, Endpoint

TCP = 6
UDP = 17


@dataclass(frozen=True, slots=True)
class Flow:
    """One connect() to a service's address, seen from inside the kernel."""

    connection: Connection
    pid: int
    """The thread group's id, in the first pid namespace, as the daemon's own /proc has it."""
    uid: int
    gid: int
    comm: str
    service: int
    """The service's number; the catalogue has its id."""
    outcome: Outcome
    reason: Reason
    protocol: int = TCP

    @property
    def cookie(self) -> int:
        return self.connection.cookie

    @classmethod
    def from_record(cls, record: FlowRecord) -> Flow:
        """ValueError where the record holds numbers that the header does not name."""
        return cls(
            Connection(
                cookie=record.cookie,
                destination=Endpoint(unpacked(bytes(record.destination)), record.port),
                netns=record.netns,
                cgroup_id=record.cgroup,
                tid=record.tid,
                opened_ns=record.opened_ns,
            ),
            pid=record.pid,
            uid=record.uid,
            gid=record.gid,
            comm=record.comm.decode("utf-8", "replace"),
            service=record.service,
            outcome=Outcome(record.outcome),
            reason=Reason(record.reason),
            protocol=record.protocol,
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

    @classmethod
    def from_record(cls, record: PacketRecord) -> Packet:
        """ValueError where the record holds a kind that the header does not name."""
        return cls(
            PacketKind(record.kind),
            record.cookie,
            record.seen_ns,
            bytes(record.data[: record.length]),
            record.total,
        )

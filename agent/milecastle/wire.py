"""The language of milecastle's unix sockets: sans-io, bounded, and described by tables.

A frame is a 4-byte big-endian length and a msgpack array ``[id, kind, body]``. ``id`` 0 is a
notification; any other id is answered by exactly one frame of kind ``ok`` or ``error`` with the
same id. Everything that may be said on a socket stands in a table below: who may say it, in which
phase, and how large it may be. What is not in the table closes the connection; nothing here
tries to make sense of a peer that broke the rules.

The tables hold for both sides. This module does no I/O and knows no file descriptors: those that
travel with a frame (``listen``, the answers to ``hello`` and ``dial``) are the transport's matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgpack

from milecastle.model import ParseError

VERSION = 1
HEADER = 4
LARGEST = 16 << 20
"""No row may allow more than this, bytes."""

MOST_PODS = 512
"""On one node; a kubelet's default is 110."""
MOST_CONTAINERS = 64
"""Of one pod that are told of."""
LABEL_BYTES = 4 << 10
"""Of one pod's labels, keys and values together."""
LONGEST_NAME = 253
LONGEST_UID = 64

type Body = dict[str, Any]
type Phase = Literal["new", "serving"]


class WireError(ParseError):
    """The peer broke the protocol. The connection is not usable any more."""


@dataclass(frozen=True, slots=True)
class Frame:
    id: int
    kind: str
    body: Body = field(default_factory=dict)
    size: int = field(default=0, compare=False)
    """Bytes on the wire without the header; set by the decoder."""


@dataclass(frozen=True, slots=True)
class Row:
    """What may be said, and within which limits."""

    sender: Literal["worker", "daemon", "client", "signer", "pods"]
    phase: Phase
    limit: int
    """Largest frame in bytes, header not counted."""
    fields: Mapping[str, type | tuple[type, ...]] = field(default_factory=dict)
    """Every field is required and of this type; unlisted fields are refused."""
    replies: bool = False
    """Whether it is a request (id > 0) that is answered."""
    descriptors: int = 0
    """Most file descriptors that travel with the frame (SCM_RIGHTS)."""


WORKER: Mapping[str, Row] = {
    # worker -> daemon
    "hello": Row("worker", "new", 1 << 10, {"version": int}, replies=True),
    "heartbeat": Row("worker", "serving", 1 << 10, {"open": int}),
    "attribute": Row(
        "worker", "serving", 1 << 10, {"address": str, "port": int, "netns": int}, replies=True
    ),
    "names": Row("worker", "serving", 1 << 16, {"answers": list}),
    "dial": Row("worker", "serving", 1 << 10, {"netns": int, "family": int}, replies=True),
    "record": Row("worker", "serving", 4 << 20, {"record": dict}),
    "seen": Row("worker", "serving", 1 << 10, {"cookie": int, "name": str, "outcome": str}),
    "spend": Row("worker", "serving", 1 << 15, {"charges": list}, replies=True),
    "spent": Row("worker", "serving", 1 << 15, {"charges": list, "tokens": int}),
    "tools": Row("worker", "serving", 1 << 18, {"server": str, "seals": dict}),
    # daemon -> worker
    "policy": Row("daemon", "serving", 8 << 20, {"files": list}),
    "chain": Row("daemon", "serving", 1 << 18, {"pem": str}),
    "knowledge": Row(
        "daemon", "serving", 8 << 20, {"rules": list, "documents": list}, descriptors=64
    ),
    "sealed": Row("daemon", "serving", 1 << 18, {"server": str, "seals": dict}),
    "packet": Row(
        "daemon", "serving", 1 << 16, {"what": str, "data": bytes, "connection": int, "at": int}
    ),
    "listen": Row(
        "daemon", "serving", 1 << 10, {"family": int, "port": int, "netns": int}, descriptors=1
    ),
    "unlisten": Row("daemon", "serving", 1 << 10, {"netns": int}),
}
"""`worker.sock`. ``hello`` is answered with the configuration and the listening sockets of the
host's own network namespace, ``dial`` with one unconnected socket made in another one."""

CALLER: Mapping[str, type] = {"service": str, "user": str, "exe": str, "cgroup": str}
"""A service, and whom a refusal is about; "" asks for nothing."""
CONTROL: Mapping[str, Row] = {
    "status": Row("client", "serving", 1 << 10, {}, replies=True),
    "sessions": Row("client", "serving", 1 << 12, {"limit": int}, replies=True),
    "show": Row("client", "serving", 1 << 12, {"session": str}, replies=True),
    "explain": Row("client", "serving", 1 << 12, {"exchange": str}, replies=True),
    "tail": Row("client", "serving", 1 << 12, {"history": int}, replies=True),
    "connections": Row("client", "serving", 1 << 10, {"limit": int, "before": int}, replies=True),
    "inventory": Row("client", "serving", 1 << 10, {}, replies=True),
    "coverage": Row("client", "serving", 1 << 10, {}, replies=True),
    "refusals": Row("client", "serving", 1 << 10, {}, replies=True),
    "refuse": Row("client", "serving", 1 << 14, {**CALLER, "seconds": int}, replies=True),
    "permit": Row("client", "serving", 1 << 14, CALLER, replies=True),
    "rotate": Row("client", "serving", 1 << 10, {}, replies=True),
    "usage": Row("client", "serving", 1 << 10, {}, replies=True),
    "tools": Row("client", "serving", 1 << 10, {}, replies=True),
    "accept": Row("client", "serving", 1 << 12, {"server": str, "name": str}, replies=True),
    "reload": Row("client", "serving", 1 << 10, {}, replies=True),
    "event": Row("daemon", "serving", 4 << 20, {"event": dict}),
}
"""`control.sock`. After ``tail`` the daemon sends ``event`` frames until the client leaves."""

SIGNER: Mapping[str, Row] = {
    "sign": Row("worker", "serving", 1 << 12, {"name": str, "public_key": bytes}, replies=True),
}
"""`signer.sock`. ``public_key`` is DER SubjectPublicKeyInfo; the answer holds ``certificate``."""

PODS: Mapping[str, Row] = {
    # milecastle-pods -> daemon
    "hello": Row("pods", "new", 1 << 10, {"version": int}, replies=True),
    "pods": Row("pods", "serving", 8 << 20, {"rows": list}),
    "pod": Row("pods", "serving", 1 << 16, {"row": dict}),
    "gone": Row("pods", "serving", 1 << 10, {"uid": str}),
    "trouble": Row("pods", "serving", 1 << 12, {"what": str}),
    # daemon -> milecastle-pods
    "credentials": Row("daemon", "serving", 1 << 20, {"token": str, "ca": str}),
    "ask": Row("daemon", "serving", 1 << 10, {}),
}
"""`pods.sock`. ``hello`` is answered with whom to ask and the credentials for that; a row is one of
`pods.rows.Row`."""

ANSWERS: Mapping[str, Row] = {
    "ok": Row("daemon", "serving", LARGEST, {"result": (dict, list)}),
    "error": Row("daemon", "serving", 1 << 14, {"code": str, "message": str}),
}
"""Every socket's answers: a result, or why there is none."""


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes, header included. ValueError where it is larger than LARGEST."""
    payload = msgpack.packb([frame.id, frame.kind, frame.body], use_bin_type=True)
    if len(payload) > LARGEST:
        raise ValueError(f"a {frame.kind} frame of {len(payload)} bytes is over the limit")
    return len(payload).to_bytes(HEADER, "big") + bytes(payload)


class Decoder:
    """Turn received bytes into frames; hold at most one unfinished frame of ``limit`` bytes."""

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are now whole. WireError ends the connection."""
        self._buffer += data
        while len(self._buffer) >= HEADER:
            size = int.from_bytes(self._buffer[:HEADER], "big")
            if not 0 < size <= self._limit:
                raise WireError(f"a frame of {size} bytes, the limit is {self._limit}")
            if len(self._buffer) < HEADER + size:
                return
            payload = bytes(self._buffer[HEADER : HEADER + size])
            del self._buffer[: HEADER + size]
            yield decode(payload)


def decode(payload: bytes) -> Frame:
    """Return one frame from its msgpack payload, or raise WireError."""
    try:
        value = msgpack.unpackb(payload, raw=False, strict_map_key=True)
    except Exception as error:  # noqa: BLE001 - msgpack raises ValueError, RecursionError and its own kinds
        raise WireError(f"not msgpack: {type(error).__name__}") from None
    match value:
        case [int(number), str(kind), dict(body)] if 0 <= number < 1 << 53:
            if isinstance(number, bool) or not all(isinstance(key, str) for key in body):
                raise WireError("a frame is [id, kind, {str: value}]")
            return Frame(number, kind, body, len(payload))
    raise WireError("a frame is [id, kind, body]")


def check(frame: Frame, table: Mapping[str, Row], sender: str, phase: Phase) -> Row:
    """Return the row that allows this frame, or raise WireError with the rule that it broke."""
    row = table.get(frame.kind)
    if row is None or row.sender != sender:
        raise WireError(f"{frame.kind[:40]!r} is not a request of a {sender}")
    if row.phase != phase:
        raise WireError(f"{frame.kind!r} is not allowed in phase {phase!r}")
    if frame.size > row.limit:
        raise WireError(f"{frame.kind!r} of {frame.size} bytes, the limit is {row.limit}")
    if bool(frame.id) != row.replies:
        raise WireError(f"{frame.kind!r} {'needs' if row.replies else 'has no'} id")
    check_fields(frame, row)
    return row


def check_fields(frame: Frame, row: Row) -> None:
    """Raise WireError unless the body has exactly the row's fields, each of its type."""
    if frame.body.keys() != row.fields.keys():
        raise WireError(f"{frame.kind!r} has fields {sorted(row.fields)}")
    for name, kinds in row.fields.items():
        value = frame.body[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is int):
            raise WireError(f"{frame.kind!r}: {name!r} is of the wrong type")

"""Who talks to which service, and how surely that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Grade(StrEnum):
    """How an attribution is known, best first."""

    EXACT = "exact"
    """The kernel recorded the process inside its own connect()."""
    TUPLE = "tuple"
    """The socket's inode led to its owners; it existed before the agent did."""
    PARTIAL = "partial"
    """The kernel recorded pid, uid and comm, but /proc no longer had that process."""
    UNKNOWN = "unknown"


class Standing(StrEnum):
    """What the organisation thinks of a service."""

    SANCTIONED = "sanctioned"
    TOLERATED = "tolerated"
    UNSANCTIONED = "unsanctioned"


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One step towards pid 1."""

    pid: int
    comm: str
    exe: str | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """The Kubernetes pod that a process is in; the cgroup's path tells its uid and QoS class."""

    uid: str
    qos: str = ""
    """``guaranteed``, ``burstable`` or ``besteffort``."""
    namespace: str | None = None
    name: str | None = None
    """None, as all that follows, where neither kubelet nor API server told of the pod."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    container: str | None = None
    """The container's name in the pod's specification."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was when it connected."""

    pid: int
    comm: str
    uid: int
    exe: str | None = None
    argv: tuple[str, ...] = ()
    cwd: str | None = None
    user: str | None = None
    groups: tuple[str | int, ...] = ()
    """Numbers and, where known, names of its groups, the effective one first."""
    loginuid: int | None = None
    """The audit login uid: who logged in, also behind sudo and su. None where never set."""
    started: float | None = None
    """Unix time in seconds."""
    sha256: str | None = None
    """Of the executable's file, hexadecimal."""
    ancestry: tuple[Ancestor, ...] = ()
    """Parent first, pid 1 last."""
    cgroup: str = ""
    container: str | None = None
    """The container's id."""
    runtime: str | None = None
    """What runs the container: ``docker``, ``containerd``, ``cri-o`` or ``podman``."""
    pod: Pod | None = None
    marks: tuple[str, ...] = ()
    """What a reader should know: ``deleted``, ``memfd``, ``env:LD_PRELOAD``, ..."""
    script: str | None = None
    """Of an interpreter, what it runs: a path, ``-m module``, ``-c`` for a program as text."""
    client: str | None = None
    """The AI client that it was recognised as, by its id in config/clients.yaml."""
    client_evidence: str = ""
    """What decided that: ``script /opt/claude-code/cli.js``."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address in text form and a port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Connection:
    """One connect(), as the kernel saw it."""

    cookie: int
    """The kernel's socket cookie (SO_COOKIE); never reused while the host is up."""
    destination: Endpoint
    """Where the application wanted to go, before any redirect."""
    netns: int
    """Network namespace cookie (SO_NETNS_COOKIE)."""
    cgroup_id: int
    tid: int
    opened_ns: int
    """CLOCK_MONOTONIC, nanoseconds."""


@dataclass(frozen=True, slots=True)
class Service:
    """One AI service of the catalogue."""

    id: str
    """Lower-case slug, stable: ``openai``."""
    name: str
    vendor: str
    category: str
    """``model_api``, ``coding_assistant``, ``consumer_chat``, ``mcp``, ``local_server``, ..."""
    decrypt: bool = True
    """Whether the catalogue lets its traffic be decrypted; False: attributed by name only."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a connection's socket."""

    pid: int
    comm: str
    uid: int
    user: str | None = None
    exe: str | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who opened a connection to which service, and how sure that is."""

    connection: Connection
    process: Process
    service: str | None
    """A service's id by the destination address; the ClientHello's name may refine it."""
    grade: Grade
    why: str
    """The evidence in a few words."""
    owners: tuple[Owner, ...] = ()
    """Every process that holds the socket, where that was looked for and is not `process` alone."""
    local: bool = False
    """Whether the service runs on this host."""
    server: Process | None = None
    """The process that listens there, where it runs on this host and is in sight."""

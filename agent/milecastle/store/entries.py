"""What the ledger is told: a connection was opened, its name became known, a call was made.

Values only. They are made on the daemon's event loop and written down by the ledger's own thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.model import Owner, Process

LONGEST = 1024
"""Characters of a path or a name that an inventory is kept by."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is refused a service by hand; "" asks for nothing, three of them mean everybody."""

    user: str = ""
    """A name or a number."""
    exe: str = ""
    """An executable's path; wildcards as in the policy."""
    cgroup: str = ""
    """A path inside the cgroup2 tree; what is below it is meant as well."""

    @property
    def words(self) -> str:
        """Who that is, in words; "" for everybody."""
        asked = (("user", self.user), ("exe", self.exe), ("cgroup", self.cgroup))
        return ", ".join(f"{what} {said}" for what, said in asked if said)


EVERYBODY = Caller()


@dataclass(frozen=True, slots=True)
class Refused:
    """A service that is refused by hand, and to whom."""

    service: str
    caller: Caller = EVERYBODY

    def __str__(self) -> str:
        return f"{self.service} ({words})" if (words := self.caller.words) else self.service


@dataclass(slots=True)
class Opened:
    """A connection to a catalogue service's address. May still be corrected before it is kept."""

    at: float
    """Unix time in seconds."""
    cookie: int
    process: Process
    service: str | None
    """By the address, or by the name once that is known; None: the name is no service's."""
    address: str
    port: int
    protocol: str
    """``tcp`` or ``udp``."""
    grade: str
    outcome: str
    """``redirected``, ``direct``, ``refused``, ``passed through``."""
    code: str = ""
    """Why it was not redirected, or was passed through: a key of `coverage.CODES`."""
    name: str = ""
    """The host's name as the client said it, "" where it is not known."""
    calls: int = 0
    host: str = ""
    """What the inventory tells apart within a service; "": nothing."""
    owners: tuple[Owner, ...] = ()
    """Every process that holds the socket, where that is known not to be one alone."""
    server: Process | None = None
    """The process that listens there, where it is one of this host."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Several processes hold the socket of a connection that is written down already."""

    cookie: int
    owners: tuple[Owner, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """What the worker saw of a connection that is written down already."""

    cookie: int
    service: str | None
    name: str
    outcome: str
    code: str = ""
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Noted:
    """What is seen of a service's content, or why it is not."""

    at: float
    process: Process | None
    service: str
    """"": none, at an address that a service has, too."""
    state: str
    code: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose account at a service was used, without anything that could use it."""

    kind: str
    fingerprint: str = ""
    organisation: str = ""


@dataclass(frozen=True, slots=True)
class Called:
    """An exchange with a service."""

    at: float
    process: Process | None
    service: str
    client: str | None = None
    evidence: str = ""
    """What gave the client away."""
    account: Account | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    host: str = ""


type Entry = Opened | Shared | Named | Noted | Called


def program_key(process: Process | None, service: str, host: str = "") -> tuple[str, ...]:
    """Return what an inventory counts as one: a service, a user, a program, a container."""
    where = f"{service}/{host}" if host else service
    if process is None:
        return (where, "", "", "", "")
    return (
        where,
        str(process.uid),
        (process.exe or process.comm)[:LONGEST],
        (process.script or "")[:LONGEST],
        process.container or "",
    )

"""What an inspection is told about the connection that the exchange runs over."""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.model import Process


@dataclass(frozen=True, slots=True)
class Context:
    """One exchange's surroundings; time and identity are given, never looked up."""

    exchange: str
    """Its id, unique on the host."""
    started: float
    """Unix time in seconds."""
    cookie: int | None = None
    """The connection's; None in a replay."""
    process: Process | None = None
    service: str | None = None
    """The id of the service that the connection leads to, where no host's name tells."""
    account: str = ""
    """The kind of account that is used at the service, where it shows."""

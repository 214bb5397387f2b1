"""What the gate acts on: which names, under which policy, inspected by whom. Swapped as one.

Pure. The gate asks for no more than these protocols, so tests stand in for every part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from milecastle.inspection import Block, Chunk, Context, Forward, Reply
from milecastle.model import (
    Direction,
    OnFailure,
    Process,
    RequestHead,
    ResponseHead,
    Service,
)
from milecastle.policy import Charge


class Inspection(Protocol):
    """The inspection of one exchange."""

    @property
    def counts(self) -> bool: ...
    def charges(self, body: bytes) -> Sequence[Charge]: ...
    @property
    def tokens(self) -> int: ...
    @property
    def charged(self) -> Sequence[Charge]: ...
    def request(self, body: bytes, over: Mapping[str, float] = ...) -> Forward | Block: ...
    def respond(self, head: ResponseHead) -> Literal["buffer", "stream"]: ...
    def response(self, body: bytes) -> Forward | Block: ...
    def binding(self, direction: Direction) -> bool: ...
    def feed(self, data: bytes) -> Chunk: ...
    def finish(self) -> Chunk: ...
    def converse(self) -> bool: ...
    def send(self, data: bytes) -> Forward | Block | Reply: ...
    def receive(self, data: bytes) -> Forward | Block: ...
    @property
    def complete(self) -> bool: ...
    def turn(self, context: Context) -> Inspection: ...
    def fail(self, stage: Direction, error: Exception, body: bytes = b"") -> Forward | Block: ...
    def record(self, ended: float, first_byte_ms: float | None = None) -> dict[str, Any]: ...


class Inspector(Protocol):
    """Begins inspections; None where the exchange is nothing to inspect."""

    def begin(
        self, head: RequestHead, context: Context, body: bytes | None = None
    ) -> Inspection | None: ...
    def asks_for_body(self, head: RequestHead, context: Context) -> bool: ...


class Names(Protocol):
    """The catalogue, as far as the gate needs it."""

    @property
    def services(self) -> Mapping[str, Service]: ...
    def match(self, host: str) -> Service | None: ...


class Rules(Protocol):
    """The policy, as far as the gate needs it."""

    def intercepts(self, service: Service) -> bool: ...
    def on_failure(
        self, service: Service | None, *, process: Process | None = None
    ) -> OnFailure: ...
    def must_inspect(self, service: Service | None, process: Process | None) -> bool: ...
    def refusal(self, service: Service, *, now: float) -> object | None: ...


@dataclass(frozen=True, slots=True)
class Orders:
    """One consistent set of names, policy and inspection."""

    names: Names
    rules: Rules
    inspector: Inspector

    def wanted(self, host: str | None, local: str | None = None) -> Service | None:
        """Return the service whose traffic to this host is to be decrypted, None: leave it be.

        ``local`` is the id of a server of this host; it has no name.
        """
        if local is not None:
            service = self.names.services.get(local)
        else:
            service = self.names.match(host) if host else None
        if service is None or not service.decrypt or not self.rules.intercepts(service):
            return None
        return service


@dataclass(slots=True)
class Watch:
    """The orders in force. They are replaced as a whole; exchanges under way keep theirs."""

    orders: Orders

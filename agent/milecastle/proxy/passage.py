"""One exchange on its way through the gate: what was decided so far, and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mitmproxy import http

from milecastle.inspection import Block
from milecastle.model import Direction, RequestHead, Service
from milecastle.proxy.orders import Inspection
from milecastle.proxy.room import Room

KEY = "milecastle"
"""Where mitmproxy's flow keeps it (`flow.metadata`)."""


class Overseer(Protocol):
    """Decides when there turns out to be more of a body than can be held."""

    def too_much(
        self, flow: http.HTTPFlow, way: Passage, direction: Direction, code: str
    ) -> Block | None: ...


@dataclass(slots=True)
class Passage:
    """The state of one exchange. Times are Unix seconds, sizes bytes on the wire."""

    exchange: str
    started: float
    cookie: int
    limit: int
    room: Room
    overseer: Overseer
    roomy: bool = True
    """Whether there was room for it when it came."""
    host: str = ""
    client: str | None = None
    """The AI client that the process is known as."""
    service: Service | None = None
    inspection: Inspection | None = None
    asked: RequestHead | None = None
    """The request's head, where the body has to tell whether it is a call."""
    waved: bool = False
    """Nothing (more) of it is inspected: it is no AI call, or the policy fails open."""
    refusal: Block | None = None
    """Answered with this; nothing goes upstream."""
    replacement: Block | None = None
    """Sent instead of the answer that is coming from upstream, which is aborted."""
    cut: bool = False
    """The stream that is being sent ends here, and upstream is aborted."""
    conversing: bool = False
    """It is a WebSocket whose messages are inspected; ``inspection`` is that of its latest turn."""
    said: bool = False
    """Something was said in this turn."""
    turned: bool = False
    """A turn before this one was recorded."""
    before: tuple[bytes, ...] = ()
    """Messages that go to the WebSocket's client before the one that is being judged."""
    severed: Block | None = None
    """The WebSocket ends here; this is its last message to the client."""
    own_answer: bool = False
    """The response is the worker's own."""
    error: str = ""
    """Why it was not (wholly) inspected; a stable code."""
    original: bytes | None = None
    """The body as it came, while it is being worked on."""
    pending: Callable[[], None] | None = None
    """Judges a message that has gone on already, when nobody waits or when it is needed."""
    first_byte: float | None = None
    recorded: bool = False
    held: dict[bool, int] = field(default_factory=dict)
    """Bytes that are held of the request (True) and of the answer."""
    left: bool = False
    """What it held is counted out of the room."""

    def problem(self, size: int, *, request: bool) -> str | None:
        """Count ``size`` bytes of a body as held; return why it can't be so many, None: it can."""
        more = size - self.held.get(request, 0)
        self.held[request] = size
        fits = self.room.hold(more) if more > 0 else True
        if size > self.limit:
            return "body_too_large"
        return None if fits or not size else "overloaded"

    def leave(self) -> None:
        """Give back the room that it took."""
        if not self.left:
            self.left = True
            self.room.leave(sum(self.held.values()))

    def __del__(self) -> None:
        self.leave()  # whatever became of it: room that is never given back would run out

    def settle(self) -> None:
        """Judge what was put off: how an answer is read depends on what was asked."""
        if self.pending is not None:
            self.pending()

    @property
    def first_byte_ms(self) -> float | None:
        """How long the client waited for the first byte of the answer's body."""
        return None if self.first_byte is None else (self.first_byte - self.started) * 1000


def of(flow: http.HTTPFlow) -> Passage | None:
    """Return the passage of a flow, None before it has one."""
    found = flow.metadata.get(KEY)
    return found if isinstance(found, Passage) else None

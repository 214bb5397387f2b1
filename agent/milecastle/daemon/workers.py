"""Sessions of workers on `worker.sock`: unprivileged, perhaps taken over, told what they need.

A session begins with ``hello``, which hands the worker its configuration and the listening
sockets. From then on the table in `wire.WORKER` says all that it may ask for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from milecastle import policy, wire
from milecastle.daemon.attribution import Attributor
from milecastle.daemon.checkpoint import Listener
from milecastle.daemon.credibility import Credible
from milecastle.daemon.names import Names
from milecastle.daemon.namespaces import Namespace, Namespaces
from milecastle.daemon.peer import Peer
from milecastle.daemon.recording import Recorder, attribution_record
from milecastle.kernel import Kernel, Packet
from milecastle.model import ParseError, Standing
from milecastle.policy import Meter, limiting

log = logging.getLogger(__name__)

HUNG_SECONDS = 3.0
"""A serving worker that gives no sign of life for so long is ended."""
FRESH_SECONDS = 1.0
"""How long a heartbeat counts, in the kernel (HEARTBEAT_NS) and here."""
BEAT_SECONDS = 0.05
"""How often the lease is renewed at most."""
HELLO_SECONDS = 15.0
"""A worker that connects must say hello within this time."""
CHARGES = 50
"""Most charges of one request."""
ANSWERS = 512
"""Most answers in one `names` frame that are looked at."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all worker sessions work on."""

    kernel: Kernel
    attributor: Attributor
    catch_up: Callable[[], None]
    """Takes what the kernel has told and nobody has read yet."""
    names: Names
    recorder: Recorder
    listeners: Sequence[Listener]
    """Those of the host's own network namespace."""
    namespaces: Namespaces
    standing: Callable[[str | None], Standing]
    configuration: Callable[[], Mapping[str, Any]]
    """The answer to ``hello``, without the listeners."""
    serving: Callable[[], None]
    """Called when a session begins to serve, and when one ends."""
    seen: Callable[[int, str, str], None] = lambda _cookie, _name, _outcome: None
    """Told what became of a connection; ValueError where that is nothing that can be."""
    documents: Callable[[], Sequence[int]] = lambda: ()
    """Descriptors of the indexes that ``configuration`` names."""
    tools: Callable[[str, Mapping[str, str]], None] = lambda _server, _seals: None
    """Told which tools a server offers; ValueError where that is nothing that can be."""
    meter: Meter = field(default_factory=Meter)
    """What counts against the policy's limits."""


class WorkerSession:
    """One connected worker."""

    def __init__(self, peer: Peer, shared: Shared) -> None:
        self._peer = peer
        self._shared = shared
        self._phase: wire.Phase = "new"
        self._closed = False
        self.began = time.monotonic()
        self.heard = self.began
        """time.monotonic() of the last heartbeat."""
        self.beating = False
        """Whether a heartbeat came: the event loop of the worker runs."""
        self.open = 0
        """Connections that the worker says it has open."""
        self._requests: Mapping[str, Callable[[wire.Frame], None]] = {
            "hello": self._hello,
            "heartbeat": self._heartbeat,
            "attribute": self._attribute,
            "names": self._names,
            "dial": self._dial,
            "record": self._record,
            "seen": self._seen,
            "spend": self._spend,
            "spent": self._spent,
            "tools": self._tools,
        }

    @property
    def pid(self) -> int:
        return self._peer.credentials.pid

    @property
    def serving(self) -> bool:
        return self._phase == "serving"

    async def serve(self) -> None:
        """Answer until the worker leaves or breaks a rule."""
        try:
            async for frame in self._peer.frames():
                if self._closed:
                    return
                wire.check(frame, wire.WORKER, "worker", self._phase)
                self._sign_of_life()
                self._requests[frame.kind](frame)
        except wire.WireError as error:
            log.warning("worker %d broke the protocol and is disconnected: %s", self.pid, error)
        finally:
            self._phase = "new"
            self._shared.serving()
            await self._peer.close()

    def send(self, kind: str, body: wire.Body, descriptors: Sequence[int] = ()) -> None:
        """Send a notification, if the worker is past its hello."""
        if self.serving:
            self._peer.send(wire.Frame(0, kind, body), descriptors)

    def overdue(self, now: float) -> bool:
        """Whether the worker has been silent for too long (``now`` is time.monotonic())."""
        limit = HUNG_SECONDS if self.serving else HELLO_SECONDS
        return now - self.heard > limit

    def disconnect(self) -> None:
        """End the session from our side; what the worker has said already is not heard."""
        self._closed = True
        self._peer.hang_up()

    def _hello(self, frame: wire.Frame) -> None:
        if frame.body["version"] != wire.VERSION:
            self._peer.refuse(frame, "version", f"this daemon speaks version {wire.VERSION}")
            return
        listeners = self._shared.listeners
        result = {
            **self._shared.configuration(),
            "listeners": [
                {"family": one.family, "port": one.port, "netns": one.netns} for one in listeners
            ],
        }
        self._peer.send(
            wire.Frame(frame.id, "ok", {"result": result}),
            [*(one.socket.fileno() for one in listeners), *self._shared.documents()],
        )
        self._phase = "serving"
        self.heard = time.monotonic()
        log.info("worker %d serves after %.1f s", self.pid, self.heard - self.began)

        for namespace in self._shared.namespaces.served:
            self.listen(namespace)

    def listen(self, namespace: Namespace) -> None:
        """Hand over the listening sockets of another namespace."""
        for one in namespace.listeners:
            body = {"family": one.family, "port": one.port, "netns": one.netns}
            self._peer.send(wire.Frame(0, "listen", body), [one.socket.fileno()])

    def _sign_of_life(self) -> None:
        """Renew the lease. Every frame counts: a worker that asks a thousand questions a second
        has an event loop that runs, though its heartbeat may wait behind them.
        """
        if self.serving and (now := time.monotonic()) - self.heard > BEAT_SECONDS:
            self.heard = now
            self._shared.kernel.beat(time.monotonic_ns())

    def _heartbeat(self, frame: wire.Frame) -> None:
        self.open = frame.body["open"]
        if not self.beating:
            self.beating = True
            self._shared.kernel.beat(time.monotonic_ns())
            self._shared.serving()

    def _attribute(self, frame: wire.Frame) -> None:
        body = frame.body
        flow = self._shared.kernel.flow(body["address"], body["port"], body["netns"])
        if flow is None:
            self._shared.attributor.unattributed += 1
            self._peer.refuse(frame, "unknown", "no redirected connection has this source")
            return
        self._shared.catch_up()
        attribution = self._shared.attributor.attribute(flow)
        record = attribution_record(attribution, self._shared.standing(attribution.service))
        connection = record["connection"]
        where = {"cookie": connection["cookie"], "destination": connection["destination"]}
        self._peer.answer(frame, {**where, **record})

    def _dial(self, frame: wire.Frame) -> None:
        try:
            sock = self._shared.namespaces.dial(frame.body["netns"], frame.body["family"])
        except (LookupError, OSError) as error:
            self._peer.refuse(frame, "unknown", str(error))
            return
        self._peer.send(wire.Frame(frame.id, "ok", {"result": {}}), [sock.fileno()], owned=sock)

    def _names(self, frame: wire.Frame) -> None:
        for answer in frame.body["answers"][:ANSWERS]:
            match answer:
                case [str(name), list(addresses), int() | float() as ttl] if all(
                    isinstance(address, str) for address in addresses
                ):
                    self._shared.names.learn((name, addresses, float(ttl)))
                case _:
                    raise wire.WireError("an answer is [name, [address, ...], seconds]")

    def _record(self, frame: wire.Frame) -> None:
        self._shared.recorder.record(frame.body["record"], frame.size)

    def _tools(self, frame: wire.Frame) -> None:
        try:
            self._shared.tools(frame.body["server"], frame.body["seals"])
        except ValueError as error:
            raise wire.WireError(str(error)) from None

    def _seen(self, frame: wire.Frame) -> None:
        body = frame.body
        try:
            self._shared.seen(body["cookie"], body["name"], body["outcome"])
        except ValueError as error:
            raise wire.WireError(str(error)) from None

    def _spend(self, frame: wire.Frame) -> None:
        over = self._shared.meter.spend(charges(frame), time.time())
        self._peer.answer(frame, {"over": over})

    def _spent(self, frame: wire.Frame) -> None:
        for charge in charges(frame):
            if charge.unit == "tokens":
                self._shared.meter.add(charge, frame.body["tokens"], time.time())


def charges(frame: wire.Frame) -> list[policy.Charge]:
    """Return what a request counts against. WireError where it holds anything else."""
    try:
        return [limiting.heard(each) for each in frame.body["charges"][:CHARGES]]
    except ParseError as error:
        raise wire.WireError(str(error)) from None


class Workers:
    """All worker sessions: take new ones, watch over those that are there."""

    def __init__(self, shared: Shared, credible: Credible) -> None:
        self._shared = shared
        self._credible = credible
        self.sessions: set[WorkerSession] = set()

    async def take(self, peer: Peer) -> None:
        """Serve one connection to `worker.sock`."""
        if not self._credible(peer):
            log.warning(
                "pid %d of uid %d is no worker of this daemon; disconnected",
                peer.credentials.pid,
                peer.credentials.uid,
            )
            await peer.close()
            return
        session = WorkerSession(peer, self._shared)
        self.sessions.add(session)
        try:
            await session.serve()
        finally:
            self.sessions.discard(session)

    async def watch(self, end: Callable[[int], None]) -> None:
        """End workers that hang; ``end`` kills a pid that is one of ours."""
        while True:
            await asyncio.sleep(HUNG_SECONDS / 6)
            now = time.monotonic()
            for session in list(self.sessions):
                if session.overdue(now):
                    log.warning("worker %d gives no sign of life; ended", session.pid)
                    session.disconnect()
                    end(session.pid)

    def close(self) -> None:
        """End all sessions, before what they work on is closed."""
        for session in list(self.sessions):
            session.disconnect()

    def tell(self, kind: str, body: wire.Body, descriptors: Sequence[int] = ()) -> None:
        """Send a notification to every serving worker."""
        for session in list(self.sessions):
            session.send(kind, body, descriptors)

    def listen(self, namespace: Namespace) -> None:
        """Have every serving worker serve a new namespace."""
        for session in list(self.sessions):
            if session.serving:
                session.listen(namespace)

    def tell_one(self, kind: str, body: wire.Body) -> None:
        """Send a notification to one serving worker, whichever."""
        for session in self.sessions:
            if session.serving:
                session.send(kind, body)
                return

    def alive(self, now: float) -> bool:
        """Whether a worker gave a sign of life lately enough for the kernel to redirect."""
        return any(one.beating and now - one.heard <= FRESH_SECONDS for one in self.serving)

    @property
    def serving(self) -> list[WorkerSession]:
        return [session for session in self.sessions if session.serving]


def packet_frame(packet: Packet) -> wire.Body:
    """Return a captured packet as a worker is told it."""
    return {
        "what": packet.kind.name.lower(),
        "data": packet.data,
        "connection": packet.cookie,
        "at": packet.sequence,
    }

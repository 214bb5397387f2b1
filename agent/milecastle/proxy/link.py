"""The worker's side of `worker.sock`: the welcome, the look-up, the records, the heartbeat.

The daemon is trusted, but what it says is still checked against the table: a mix-up of versions
ends the worker at once instead of confusing it. When the daemon leaves, the worker has no purpose
and ends; whoever supervises the daemon starts both again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from milecastle import policy, wire
from milecastle.model import Ancestor, Pod, Process
from milecastle.proxy import knowledge, records
from milecastle.proxy.knowledge import Knowledge
from milecastle.proxy.line import Line, LineError, RefusedError, connect

log = logging.getLogger(__name__)

ANSWER_WITHIN = 5.0
"""Seconds; the daemon answers a look-up in well under a millisecond."""
HEARTBEAT = 0.2
"""Seconds. The kernel redirects only while the last one is fresh (at most a second old)."""
NAMES_A_FRAME = 100


type PolicyFiles = tuple[tuple[str, str], ...]
"""File and text of the policy, then of each file that is laid over it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that redirected connections arrive at, and the network namespace it stands in."""

    socket: socket.socket
    family: int
    """4 or 6."""
    netns: int
    """The namespace's cookie (SO_NETNS_COOKIE)."""
    port: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a worker is told when it says hello."""

    instance: int
    capture: str
    body_limit: int
    """Bytes of a body, decoded, that may be held for inspection."""
    upstream_ca: tuple[str, ...]
    policy: PolicyFiles
    catalogue: tuple[tuple[str, str], ...]
    """Extra catalogue files: name, text."""
    chain: str
    """PEM: what is served after the leaf."""
    key: bytes = field(repr=False)
    """Keys the digests of findings."""
    listeners: tuple[Listener, ...]
    knowledge: Knowledge = field(default_factory=Knowledge)
    """What the operators add for the detectors."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who opened a redirected connection, and where it wanted to go."""

    cookie: int
    destination: tuple[str, int]
    process: Process | None
    netns: int = 0
    """The network namespace that the connection arrived in (cookie)."""
    local: str | None = None
    """The service, where a server of this host is it: no name tells."""


class Owner(Protocol):
    """Whoever is told what the daemon says of its own accord. Must not raise."""

    def policy(self, files: PolicyFiles) -> None:
        """Act on another policy from now on."""

    def chain(self, pem: str) -> None:
        """Serve certificates of another CA from now on."""

    def packet(self, what: str, data: bytes, connection: int, at: int) -> None:
        """Read a captured packet, or a segment that begins with a connection's byte ``at``."""

    def listen(self, listener: Listener) -> None:
        """Serve another socket."""

    def unlisten(self, netns: int) -> None:
        """Serve a network namespace no longer."""

    def knowledge(self, told: Knowledge) -> None:
        """Look for what these rules and indexes say from now on."""

    def sealed(self, server: str, seals: Mapping[str, str]) -> None:
        """Know these tools of a server from now on."""

    def ended(self, why: LineError) -> None:
        """The daemon is gone."""


class Link:
    """The conversation with the daemon."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._notices: Mapping[str, Callable[..., None]] = {
            "policy": self._policy,
            "knowledge": self._knowledge,
            "sealed": owner.sealed,
            "chain": owner.chain,
            "packet": owner.packet,
            "listen": self._listen,
            "unlisten": owner.unlisten,
        }
        self._line: Line | None = None
        self.lost_records = 0

    @property
    def line(self) -> Line:
        assert self._line is not None, "greet() comes first"
        return self._line

    async def greet(self, path: Path) -> Welcome:
        """Connect and say hello. LineError where the daemon is gone or speaks another language."""
        self._line = await connect(path, self._notice, self._owner.ended)
        hello = {"version": wire.VERSION}
        try:
            answer = await self._line.ask("hello", hello, ANSWER_WITHIN, promised)
            return read_welcome(answer.result, answer.descriptors)
        except RefusedError as error:
            raise LineError(f"the daemon has no work for this worker ({error})") from None
        except TimeoutError:
            raise LineError("the daemon does not answer") from None

    async def attribute(self, address: str, port: int, netns: int) -> Caller | None:
        """Ask who connected from here. None: the daemon knows of no such connection."""
        asked = {"address": address, "port": port, "netns": netns}
        try:
            answer = await self.line.ask("attribute", asked, ANSWER_WITHIN)
            return read_caller(answer.result, netns)
        except (RefusedError, TimeoutError) as error:
            log.warning("nobody knows the connection from port %d: %s", port, error)
            return None

    async def dial(self, netns: int, family: int) -> socket.socket:
        """Return an unconnected TCP socket of another network namespace. OSError: there is none.

        ``family`` is 4 or 6. A worker can't enter a namespace; the daemon makes the socket there.
        """
        asked = {"netns": netns, "family": family}
        try:
            answer = await self.line.ask("dial", asked, ANSWER_WITHIN, lambda _result: 1)
        except RefusedError as error:
            raise OSError(f"no socket in the client's network namespace: {error}") from None
        return socket.socket(fileno=answer.descriptors[0])

    async def spend(self, charges: Sequence[policy.Charge]) -> Mapping[str, float]:
        """Count a call; return the rules whose limit is reached, with the times at which it ends.

        LineError or TimeoutError where the daemon does not say: that is a failure of inspection.
        """
        body = {"charges": [policy.limiting.told(each) for each in charges]}
        answer = await self.line.ask("spend", body, ANSWER_WITHIN)
        match answer.result:
            case {"over": dict(over)}:
                return over
        raise wire.WireError("an answer to spend that tells of no rules")

    def spent(self, charges: Sequence[policy.Charge], tokens: int) -> None:
        """Count the tokens that an answer used. May be lost, like a record."""
        body = {"charges": [policy.limiting.told(each) for each in charges], "tokens": tokens}
        self.line.tell("spent", body, wire.WORKER["spent"].limit)

    def record(self, record: records.Record) -> None:
        """Report an exchange. Never raises and never waits: a record may be lost, traffic not."""
        limit = wire.WORKER["record"].limit
        for adapt in (None, records.clean, records.slim):
            try:
                body = {"record": adapt(record) if adapt else record}
                if self.line.tell("record", body, limit):
                    return
                break
            except (ValueError, TypeError, OverflowError, RecursionError):
                continue  # it holds what a frame can't, or too much of it
        self.lost_records += 1

    def seen(self, cookie: int, name: str, outcome: str) -> None:
        """Report what became of a connection. May be lost, like a record."""
        body = {"cookie": cookie, "name": name, "outcome": outcome}
        self.line.tell("seen", body, wire.WORKER["seen"].limit)

    def tools(self, server: str, seals: Mapping[str, str]) -> None:
        """Report tools of a server that were not known, or not so. May be lost, like a record."""
        body = {"server": server, "seals": dict(seals)}
        self.line.tell("tools", body, wire.WORKER["tools"].limit)

    def names(self, answers: Sequence[tuple[str, Sequence[str], int]]) -> None:
        """Report what names resolve to: (name, addresses, time to live in seconds)."""
        for start in range(0, len(answers), NAMES_A_FRAME):
            part = [
                [name, list(found), ttl] for name, found, ttl in answers[start:][:NAMES_A_FRAME]
            ]
            self.line.tell("names", {"answers": part}, wire.WORKER["names"].limit)

    async def beat(self, count: Callable[[], int]) -> None:
        """Send heartbeats for ever, from the event loop that serves: they stop when it hangs."""
        limit = wire.WORKER["heartbeat"].limit
        while True:
            self.line.tell("heartbeat", {"open": count()}, limit, droppable=False)
            await asyncio.sleep(HEARTBEAT)

    def _notice(self, frame: wire.Frame) -> None:
        row = wire.check(frame, wire.WORKER, "daemon", "serving")
        self._notices[frame.kind](*(frame.body[name] for name in row.fields))

    def _policy(self, files: list[object]) -> None:
        self._owner.policy(read_files(files))

    def _knowledge(self, rules: list[Any], documents: list[Any]) -> None:
        descriptors = self.line.take_descriptors(len(documents))
        told = {"rules": rules, "documents": documents}
        self._owner.knowledge(knowledge.read(told, descriptors))

    def _listen(self, family: int, port: int, netns: int) -> None:
        (descriptor,) = self.line.take_descriptors(1)
        self._owner.listen(Listener(socket.socket(fileno=descriptor), family, netns, port))


def read_files(files: Sequence[object]) -> PolicyFiles:
    """Return the files of a policy. WireError where they are none."""
    match files:
        case [[str(), str()], *_] if all(
            isinstance(each, list) and list(map(type, each)) == [str, str] for each in files
        ):
            return tuple((each[0], each[1]) for each in files if isinstance(each, list))
    raise wire.WireError("a policy is [[file, text], ...]")


def promised(result: wire.Body) -> int:
    """Return how many descriptors come with a welcome: listeners first, then indexes."""
    listeners = result.get("listeners")
    return (len(listeners) if isinstance(listeners, list) else 0) + knowledge.promised(result)


def read_welcome(result: wire.Body, descriptors: Sequence[int]) -> Welcome:
    """Return the checked welcome; the descriptors are taken over. WireError where it is wrong."""
    count = len(descriptors) - knowledge.promised(result)
    known = knowledge.read(result.get("knowledge") or {}, descriptors[max(count, 0) :])
    sockets = [socket.socket(fileno=number) for number in descriptors[: max(count, 0)]]
    # socket(fileno=) asks the kernel for family and protocol: asyncio sets TCP_NODELAY only on
    # a socket that is known to be of IPPROTO_TCP, and without it a request takes 40 ms more
    match result:
        case {
            "settings": {
                "capture": str(capture),
                "body_limit": int(body_limit),
                "upstream_ca": list(upstream_ca),
            },
            "policy": {"files": list(files)},
            "catalogue": list(catalogue),
            "chain": str(chain),
            "listeners": list(listeners),
            "instance": int(instance),
            "key": bytes(key),
        } if len(listeners) == len(sockets):
            return Welcome(
                instance=instance,
                capture=capture,
                body_limit=body_limit,
                upstream_ca=tuple(str(pem) for pem in upstream_ca),
                policy=read_files(files),
                catalogue=tuple((str(name), str(content)) for name, content in catalogue),
                chain=chain,
                key=key,
                knowledge=known,
                listeners=tuple(
                    Listener(sock, int(row["family"]), int(row["netns"]), int(row["port"]))
                    for sock, row in zip(sockets, listeners, strict=True)
                ),
            )
    for sock in sockets:
        sock.close()
    known.close()
    raise wire.WireError("the welcome lacks something, or holds other descriptors than it says")


def read_caller(result: wire.Body, netns: int) -> Caller:
    """Return who a connection belongs to. WireError where the answer is no attribution."""
    match result:
        case {
            "cookie": int(cookie),
            "destination": {"address": str(address), "port": int(port)},
        } if 0 < port < 1 << 16:
            service = result.get("service") if result.get("local") is True else None
            local = service if isinstance(service, str) else None
            return Caller(cookie, (address, port), read_process(result), netns, local)
    raise wire.WireError("an attribution without cookie or destination")


def read_process(attribution: Mapping[str, Any]) -> Process | None:
    """Return the process of an attribution, None where it tells of none that we understand."""
    told = attribution.get("process")
    if not isinstance(told, Mapping):
        return None
    try:
        values = dict(told)
        for name in ("argv", "marks", "groups"):
            values[name] = tuple(values.get(name) or ())
        values["ancestry"] = tuple(Ancestor(**each) for each in values.get("ancestry") or ())
        if pod := values.get("pod"):
            values["pod"] = Pod(**pod)
        return Process(**values)
    except TypeError as error:
        log.warning("the daemon tells of a process in another way: %s", error)
        return None

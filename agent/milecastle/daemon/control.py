"""Sessions of the CLI on `control.sock`: everybody may ask, each is told what is theirs.

root and the group `milecastle` see all; another user sees the sessions of their own processes
and the bare state of the daemon. Who asks is the kernel's word (SO_PEERCRED), never the client's.
"""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from milecastle import wire
from milecastle.daemon.archive import Archive, Event
from milecastle.daemon.ceremony import CeremonyError
from milecastle.daemon.ledger import Ledger
from milecastle.daemon.peer import Peer
from milecastle.daemon.recording import Recorder
from milecastle.daemon.refusals import Refusals
from milecastle.daemon.selftest import SERVICE as SELFTEST
from milecastle.daemon.tools import Offered
from milecastle.daemon.usage import Usage
from milecastle.model import Standing
from milecastle.store import Reader, listing
from milecastle.store.entries import Caller

log = logging.getLogger(__name__)

SESSIONS = 10_000
"""Most sessions that one answer lists."""
CLIENTS = 16
"""Most clients of one user at a time; root is always let in."""


class RefusedError(Exception):
    """A request that can't be granted: a short code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answers:
    """Where the answers come from."""

    archive: Archive
    recorder: Recorder
    status: Callable[[], Awaitable[dict[str, Any]]]
    reload: Callable[[], dict[str, Any]]
    rotate: Callable[[], Awaitable[dict[str, Any]]]
    group: int
    """The gid whose members see everything."""
    ledger: Ledger
    refusals: Refusals
    offered: Offered
    usage: Usage
    standing: Callable[[str | None], Standing]
    unreported: Callable[[], int]
    """Connections that the kernel could not tell of."""


type Result = dict[str, Any] | list[Any]


class Client:
    """One connected client."""

    def __init__(self, peer: Peer, answers: Answers) -> None:
        self._peer = peer
        self._answers = answers
        self._uid = peer.credentials.uid
        who = peer.credentials
        self._sees_all = who.uid == 0 or answers.group in (who.gid, *who.groups)
        self._only = None if self._sees_all else who.uid
        self._requests: Mapping[str, Callable[[wire.Body], Result | Awaitable[Result]]] = {
            "status": self._status,
            "sessions": self._sessions,
            "show": self._show,
            "explain": self._explain,
            "tail": self._tail,
            "connections": self._connections,
            "inventory": self._inventory,
            "coverage": self._coverage,
            "refusals": self._refusals,
            "refuse": self._refuse,
            "permit": self._permit,
            "usage": self._usage,
            "tools": self._tools,
            "accept": self._accept,
            "reload": self._reload,
            "rotate": self._rotate,
        }

    async def serve(self) -> None:
        """Answer until the client leaves or breaks a rule."""
        try:
            async for frame in self._peer.frames():
                wire.check(frame, wire.CONTROL, "client", "serving")
                await self._respond(frame)
        except wire.WireError as error:
            log.info("client %d broke the protocol: %s", self._peer.credentials.pid, error)
        finally:
            self._answers.recorder.unfollow(self)
            await self._peer.close()

    async def _respond(self, frame: wire.Frame) -> None:
        try:
            result = self._requests[frame.kind](frame.body)
            self._peer.answer(frame, await result if inspect.isawaitable(result) else result)
        except RefusedError as refusal:
            self._peer.refuse(frame, refusal.code, str(refusal))
        except LookupError as error:
            # another user's session gets the same words: that it exists is not told either
            self._peer.refuse(frame, "unknown", str(error.args[0] if error.args else "not found"))
        except CeremonyError as error:
            self._peer.refuse(frame, "ca", f"the old CA stays: {error}")
        except OSError as error:
            self._peer.refuse(frame, "store", f"the store can't be read: {error}")
        except ValueError as error:  # an answer that is larger than a frame, or a contradiction
            self._peer.refuse(frame, "not_possible", str(error))

    async def _status(self, _body: wire.Body) -> dict[str, Any]:
        status = await self._answers.status()
        if self._sees_all:
            return status
        return {name: status[name] for name in ("ready", "version", "mode", "ca")}

    async def _sessions(self, body: wire.Body) -> list[Any]:
        limit = max(1, min(body["limit"], SESSIONS))
        listed = await self._ask(lambda store: store.sessions(limit, self._only))
        return [one for one in listed if one["service"] != SELFTEST]

    async def _show(self, body: wire.Body) -> dict[str, Any]:
        return await self._ask(lambda store: store.show(body["session"], self._only))

    async def _explain(self, body: wire.Body) -> dict[str, Any]:
        return await self._ask(lambda store: store.explain(body["exchange"], self._only))

    async def _tail(self, body: wire.Body) -> list[Any]:
        history = max(0, min(body["history"], SESSIONS))
        meanwhile: list[Event] = []
        self._answers.recorder.follow(self, meanwhile.append)
        past = await self._ask(lambda store: store.recent(history, self._only)) if history else []
        self._answers.recorder.follow(self, self._event)
        told = {one["id"] for one in past}
        return past + [one for one in meanwhile if self._may_see(one) and one.get("id") not in told]

    async def _connections(self, body: wire.Body) -> list[Any]:
        limit, before = max(1, body["limit"]), max(0, body["before"])
        return await self._answers.ledger.ask(
            lambda db: listing.connections(db, limit, before, self._only)
        )

    async def _inventory(self, _body: wire.Body) -> list[Any]:
        rows = await self._answers.ledger.ask(lambda db: listing.inventory(db, self._only))
        for row in rows:
            row["standing"] = self._answers.standing(row["service"]).value
            row["sanctioned"] = row["standing"] == Standing.SANCTIONED
        return rows

    async def _coverage(self, _body: wire.Body) -> list[Any]:
        gaps, seen = await self._answers.ledger.ask(
            lambda db: (listing.gaps(db), listing.seen(db, self._only))
        )
        if self._sees_all:
            gaps += self._answers.ledger.unreported(self._answers.unreported())
        return [*gaps, *seen]

    def _refusals(self, _body: wire.Body) -> list[Any]:
        return self._answers.refusals.listed()

    async def _refuse(self, body: wire.Body) -> dict[str, Any]:
        self._root_only("refuse a service")
        return await self._answers.refusals.refuse(body["service"], body["seconds"], caller(body))

    async def _permit(self, body: wire.Body) -> dict[str, Any]:
        self._root_only("permit a service")
        return await self._answers.refusals.permit(body["service"], caller(body))

    def _may_see(self, event: Event) -> bool:
        return self._sees_all or event.get("process", {}).get("uid") == self._uid

    def _usage(self, _body: wire.Body) -> list[Any]:
        return self._answers.usage.listed(self._only)

    async def _tools(self, _body: wire.Body) -> list[Any]:
        if not self._sees_all:
            raise RefusedError("forbidden", "only root and the group may see all users' tools")
        return await self._answers.offered.listed()

    async def _accept(self, body: wire.Body) -> dict[str, Any]:
        self._root_only("agree to a changed tool")
        return await self._answers.offered.accept(body["server"], body["name"])

    def _event(self, event: Event) -> None:
        if self._may_see(event):
            self._peer.send(wire.Frame(0, "event", {"event": event}))

    def _reload(self, _body: wire.Body) -> dict[str, Any]:
        self._root_only("reload the policy")
        return self._answers.reload()

    async def _rotate(self, _body: wire.Body) -> dict[str, Any]:
        self._root_only("renew the CA")
        return await self._answers.rotate()

    def _root_only(self, what: str) -> None:
        if self._uid != 0:
            raise RefusedError("forbidden", f"only root may {what}")

    async def _ask[T](self, question: Callable[[Reader], T]) -> T:
        return await self._answers.archive.ask(question)


def caller(body: wire.Body) -> Caller:
    """Return whom a refusal by hand is about."""
    return Caller(body["user"], body["exe"], body["cgroup"])


class Clients:
    """All control sessions, a bounded number for each user."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._of_user: Counter[int] = Counter()

    async def take(self, peer: Peer) -> None:
        """Serve one connection to `control.sock`."""
        uid = peer.credentials.uid
        if uid != 0 and self._of_user[uid] >= CLIENTS:
            await peer.close()
            return
        self._of_user[uid] += 1
        try:
            await Client(peer, self._answers).serve()
        finally:
            self._of_user[uid] -= 1
            if not self._of_user[uid]:
                del self._of_user[uid]

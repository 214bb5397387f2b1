"""Sessions of the CLI on `control.sock`: everybody may ask, each is told what is theirs.

root and the group `milecastle` see all; another user sees the sessions of their own processes
and the bare state of the daemon. Who asks is the kernel's word (SO_PEERCRED), never the client's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from milecastle import wire
from milecastle.daemon.peer import Peer
from milecastle.daemon.recording import Event, Recorder
from milecastle.daemon.selftest import SERVICE as SELFTEST
from milecastle.store import Store

log = logging.getLogger(__name__)

SESSIONS = 10_000
"""Most sessions that one answer lists."""
CLIENTS = 64
"""Most clients at a time."""


class RefusedError(Exception):
    """A request that can't be granted: a short code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answers:
    """Where the answers come from."""

    store: Store
    recorder: Recorder
    status: Callable[[], dict[str, Any]]
    reload: Callable[[], dict[str, Any]]
    group: int
    """The gid whose members see everything."""


class Client:
    """One connected client."""

    def __init__(self, peer: Peer, answers: Answers) -> None:
        self._peer = peer
        self._answers = answers
        self._uid = peer.credentials.uid
        who = peer.credentials
        self._sees_all = who.uid == 0 or answers.group in (who.gid, *who.groups)
        self._only = None if self._sees_all else who.uid
        self._requests: Mapping[str, Callable[[wire.Body], dict[str, Any] | list[Any]]] = {
            "status": self._status,
            "sessions": self._sessions,
            "show": self._show,
            "explain": self._explain,
            "tail": self._tail,
            "reload": self._reload,
        }

    async def serve(self) -> None:
        """Answer until the client leaves or breaks a rule."""
        try:
            async for frame in self._peer.frames():
                wire.check(frame, wire.CONTROL, "client", "serving")
                self._respond(frame)
        except wire.WireError as error:
            log.info("client %d broke the protocol: %s", self._peer.credentials.pid, error)
        finally:
            self._answers.recorder.unfollow(self)
            await self._peer.close()

    def _respond(self, frame: wire.Frame) -> None:
        try:
            self._peer.answer(frame, self._requests[frame.kind](frame.body))
        except RefusedError as refusal:
            self._peer.refuse(frame, refusal.code, str(refusal))
        except LookupError as error:
            # another user's session gets the same words: that it exists is not told either
            self._peer.refuse(frame, "unknown", str(error.args[0] if error.args else "not found"))
        except OSError as error:
            self._peer.refuse(frame, "store", f"the store can't be read: {error}")
        except ValueError as error:  # an answer that is larger than a frame
            self._peer.refuse(frame, "too_large", str(error))

    def _status(self, _body: wire.Body) -> dict[str, Any]:
        status = self._answers.status()
        if self._sees_all:
            return status
        return {name: status[name] for name in ("ready", "version", "mode", "ca")}

    def _sessions(self, body: wire.Body) -> list[Any]:
        limit = max(1, min(body["limit"], SESSIONS))
        listed = self._store().sessions(limit, self._only)
        return [one for one in listed if one["service"] != SELFTEST]

    def _show(self, body: wire.Body) -> dict[str, Any]:
        return self._store().show(body["session"], self._only)

    def _explain(self, body: wire.Body) -> dict[str, Any]:
        return self._store().explain(body["exchange"], self._only)

    def _tail(self, body: wire.Body) -> list[Any]:
        history = max(0, min(body["history"], SESSIONS))
        past = self._store().recent(history, self._only) if history else []
        self._answers.recorder.follow(self, self._event)
        return past

    def _event(self, event: Event) -> None:
        if self._sees_all or event.get("process", {}).get("uid") == self._uid:
            self._peer.send(wire.Frame(0, "event", {"event": event}))

    def _reload(self, _body: wire.Body) -> dict[str, Any]:
        if self._uid != 0:
            raise RefusedError("forbidden", "only root may reload the policy")
        return self._answers.reload()

    def _store(self) -> Store:
        self._answers.recorder.flush()
        return self._answers.store


class Clients:
    """All control sessions, a bounded number at a time."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._places = asyncio.Semaphore(CLIENTS)

    async def take(self, peer: Peer) -> None:
        """Serve one connection to `control.sock`."""
        if self._places.locked():
            await peer.close()
            return
        async with self._places:
            await Client(peer, self._answers).serve()

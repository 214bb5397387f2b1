"""Tools that servers offer, as the workers tell of them; a change waits for an operator's word.

What is known is held here; the disk is written by a thread of its own, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

from milecastle.daemon.desk import Desk, settled
from milecastle.daemon.tasks import bug
from milecastle.store import Tools
from milecastle.store.tools import check

log = logging.getLogger(__name__)

MOST_WAITING = 256
"""Tellings that may wait for the disk; a worker tells of a server's tools again and again."""
ANSWER_SECONDS = 5.0

type Tell = Callable[[str, dict[str, Any]], None]
"""Sends every worker a frame: its kind and body."""


class Offered:
    """Keeps what is known, on disk as long as the disk allows, and lets the workers agree."""

    def __init__(self, tools: Tools, tell: Tell, now: Callable[[], float] = time.time) -> None:
        self._desk = Desk(tools)
        self._tell = tell
        self._now = now
        tools.forget(now())
        self._known = tools.known()

    def learn(self, server: str, seals: Mapping[str, str]) -> None:
        """Take what a worker tells; all are told what is new. ValueError: it is no such thing."""
        check(server, seals)
        if self._desk.waiting >= MOST_WAITING:
            return
        now = self._now()
        learning = self._desk.write(lambda tools: tools.learn(server, seals, now))
        learning.add_done_callback(lambda done: self._learned(server, done))

    def _learned(self, server: str, learning: asyncio.Future[dict[str, str]]) -> None:
        if learning.cancelled():
            return
        error = learning.exception()
        if isinstance(error, sqlite3.Error):
            log.warning("tools of a server are not remembered: %s", error)
        elif error is not None:
            log.error("tools of a server are not remembered: %s", bug(error))
        elif new := learning.result():
            self._agree(server, new)

    def _agree(self, server: str, seals: dict[str, str]) -> None:
        self._known.setdefault(server, {}).update(seals)
        self._tell("sealed", {"server": server, "seals": seals})

    async def accept(self, server: str, name: str) -> dict[str, Any]:
        """Agree to what changed. LookupError where nothing waits under this name."""
        now = self._now()
        agreed = await self._answer(lambda tools: tools.accept(server, name, now))
        if not agreed:
            raise LookupError("no changed definition waits there; `milecastle tools list` tells")
        self._agree(server, agreed)
        log.warning("%d changed definitions of a server were agreed to", len(agreed))
        return {"server": server, "tools": sorted(agreed)}

    def known(self) -> dict[str, dict[str, str]]:
        """Return what a new worker has to know."""
        return self._known

    async def listed(self) -> list[dict[str, Any]]:
        """Return every server, with the tools of it that changed."""
        return await self._answer(Tools.listed)

    def close(self) -> None:
        """Write what is left, and close."""
        self._desk.close(lambda _tools: None)

    async def _answer[T](self, ask: Callable[[Tools], T]) -> T:
        """Return what the writer's thread answers; OSError where it does not, or the disk fails."""
        asking = self._desk.write(ask)
        if not await settled(asking, ANSWER_SECONDS):
            raise OSError("the disk does not answer")
        try:
            return asking.result()
        except sqlite3.Error as error:
            raise OSError(str(error)) from error

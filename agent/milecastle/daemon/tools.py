"""Tools that servers offer, as the workers tell of them; a change waits for an operator's word."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

from milecastle.store import Tools

log = logging.getLogger(__name__)

type Tell = Callable[[str, dict[str, Any]], None]
"""Sends every worker a frame: its kind and body."""


class Offered:
    """Keeps what is known, on disk as long as the disk allows, and lets the workers agree."""

    def __init__(self, tools: Tools, tell: Tell, now: Callable[[], float] = time.time) -> None:
        self._tools = tools
        self._tell = tell
        self._now = now
        tools.forget(now())

    def learn(self, server: str, seals: Mapping[str, str]) -> None:
        """Take what a worker tells; all are told what is new. ValueError: it is no such thing."""
        try:
            new = self._tools.learn(server, seals, self._now())
        except sqlite3.Error as error:
            log.warning("tools of a server are not remembered: %s", error)
            return
        if new:
            self._tell("sealed", {"server": server, "seals": new})

    def accept(self, server: str, name: str) -> dict[str, Any]:
        """Agree to what changed. LookupError where nothing waits under this name."""
        agreed = self._tools.accept(server, name, self._now())
        if not agreed:
            raise LookupError("no changed definition waits there; `milecastle tools list` tells")
        self._tell("sealed", {"server": server, "seals": agreed})
        log.warning("%d changed definitions of a server were agreed to", len(agreed))
        return {"server": server, "tools": sorted(agreed)}

    def known(self) -> dict[str, dict[str, str]]:
        """Return what a new worker has to know."""
        return self._tools.known()

    def listed(self) -> list[dict[str, Any]]:
        """Return every server, with the tools of it that changed."""
        return self._tools.listed()

"""What each server's tools were when they were first offered: digests, and changes that wait.

A worker tells; it can make a server known, never another thing of one that is known. What changed
waits until somebody agrees to it. Bounded: when it is full, what is new is not remembered.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from milecastle.store import database

MOST = 20_000
"""Tools of all servers."""
LONGEST = 400
"""Characters of a server's or a tool's name."""
SEAL = re.compile(r"[0-9a-f]{32}")
KEPT = 180 * 86_400.0
"""Seconds after which a server that was not met again is forgotten."""
DESIGN = database.Design(
    (
        """
        CREATE TABLE tools (
            server TEXT NOT NULL,
            name TEXT NOT NULL,
            seal TEXT NOT NULL,
            first REAL NOT NULL,
            last REAL NOT NULL,
            changed TEXT,
            since REAL,
            PRIMARY KEY (server, name)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    ("SELECT * FROM tools LIMIT 1",),
)
"""``changed`` is the definition that waits, null where none does; ``since`` when it came."""
NEW = "INSERT OR IGNORE INTO tools (server, name, seal, first, last) VALUES (?,?,?,?,?)"
CHANGED = """
UPDATE tools SET last = ?, changed = CASE WHEN seal = ? THEN NULL ELSE ? END,
    since = CASE WHEN seal = ? THEN NULL ELSE coalesce(since, ?) END
WHERE server = ? AND name = ?
"""
AGREED = """
UPDATE tools SET seal = changed, changed = NULL, since = NULL, first = ?
WHERE server = ? AND (? = '' OR name = ?) AND changed IS NOT NULL RETURNING name, seal
"""

OLD = """
DELETE FROM tools
WHERE server IN (SELECT server FROM tools GROUP BY server HAVING max(last) < ?)
"""


class Tools:
    """The tools' database. One thread at a time; sqlite3.Error where the disk refuses."""

    fault: str | None = None

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        (self._count,) = connection.execute("SELECT count(*) FROM tools").fetchone()

    @classmethod
    def open(cls, path: Path) -> Tools:
        """Return the database at this path, made if need be. OSError where there can't be one."""
        return cls(path, database.connect(path, design=DESIGN))

    def close(self) -> None:
        self._connection.close()

    def learn(self, server: str, seals: Mapping[str, str], now: float) -> dict[str, str]:
        """Take what passed ``check``; return what is new and was not known at all."""
        new: dict[str, str] = {}
        with self._connection:
            for name, seal in seals.items():
                row = (server, name, seal, now, now)
                room = self._count < MOST
                if room and self._connection.execute(NEW, row).rowcount == 1:
                    self._count += 1
                    new[name] = seal
                else:
                    given = (now, seal, seal, seal, now, server, name)
                    self._connection.execute(CHANGED, given)
        return new

    def accept(self, server: str, name: str, now: float) -> dict[str, str]:
        """Agree to what waits of a server, or of one of its tools; return what is agreed to."""
        with self._connection:
            given = (now, server, name, name)
            agreed = self._connection.execute(AGREED, given).fetchall()
        return dict(agreed)

    def known(self) -> dict[str, dict[str, str]]:
        """Return all seals: server -> tool -> digest."""
        found: dict[str, dict[str, str]] = {}
        for server, name, seal in self._connection.execute("SELECT server, name, seal FROM tools"):
            found.setdefault(server, {})[name] = seal
        return found

    def listed(self) -> list[dict[str, Any]]:
        """Return every server with the number of its tools, and those that wait."""
        rows = self._connection.execute(
            "SELECT server, count(*), min(first), max(last), "
            "json_group_array(name) FILTER (WHERE changed IS NOT NULL) "
            "FROM tools GROUP BY server ORDER BY max(last) DESC"
        )
        keys = ("server", "tools", "first", "last", "changed")
        return [dict(zip(keys, (*row[:-1], orjson.loads(row[-1])), strict=True)) for row in rows]

    def forget(self, now: float) -> None:
        """Forget servers that nobody has met for long."""
        with self._connection:
            self._connection.execute(OLD, (now - KEPT,))
        (self._count,) = self._connection.execute("SELECT count(*) FROM tools").fetchone()


def check(server: str, seals: Mapping[str, str]) -> None:
    """Raise ValueError where a worker tells of something that is no server's tools."""
    for name, seal in seals.items():
        if not all(isinstance(text, str) for text in (name, seal)) or len(name) > LONGEST:
            raise ValueError("a seal is {name: digest}")
        if not SEAL.fullmatch(seal):
            raise ValueError("a digest is 32 hexadecimal digits")
    if len(server) > LONGEST:
        raise ValueError("a server's name is too long")

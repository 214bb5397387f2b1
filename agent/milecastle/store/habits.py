"""Hours of use on disk: how many calls and tokens, by program, user and service.

Small sums that are written over; a lost minute is no loss. Bounded by number and by age.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from milecastle.store import database

KEPT_HOURS = 24 * 60
"""Hours after which one is forgotten."""
MOST = 200_000
DESIGN = database.Design(
    (
        """
        CREATE TABLE hours (
            key TEXT NOT NULL,
            hour INTEGER NOT NULL,
            calls INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            PRIMARY KEY (key, hour)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    ("SELECT * FROM hours LIMIT 1",),
)
"""``hour`` is counted since the epoch; ``key`` is uid, program and service, a tab between them."""


class Hour(NamedTuple):
    key: str
    hour: int
    calls: int
    tokens: int


class Hours:
    """The database. One thread at a time; sqlite3.Error where the disk refuses."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Hours:
        """Return the database at this path, made if need be. OSError where there can't be one."""
        return cls(database.connect(path, design=DESIGN))

    def close(self) -> None:
        self._connection.close()

    def write(self, hours: Iterable[Hour], now_hour: int) -> None:
        """Put these sums in place of those of before; forget what is old or too much."""
        with self._connection:
            self._connection.executemany("REPLACE INTO hours VALUES (?,?,?,?)", hours)
            old = (now_hour - KEPT_HOURS,)
            self._connection.execute("DELETE FROM hours WHERE hour < ?", old)
            (count,) = self._connection.execute("SELECT count(*) FROM hours").fetchone()
            if count > MOST:
                self._connection.execute(
                    "DELETE FROM hours WHERE hour <= (SELECT hour FROM hours ORDER BY hour "
                    "LIMIT 1 OFFSET ?)",
                    (count - MOST,),
                )

    def all(self) -> list[Hour]:
        """Return every hour, the oldest first."""
        rows = self._connection.execute("SELECT key, hour, calls, tokens FROM hours ORDER BY hour")
        return [Hour(*row) for row in rows]

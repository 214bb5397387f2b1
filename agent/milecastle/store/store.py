"""Sessions and exchanges in SQLite: recorded in batches, listed, shown, pruned.

Recording never fails the daemon. A record that is not one is ParseError for the caller to count
against the worker; a disk that is full, locked or gone stops recording for a while, and ``health``
says how many records that cost. Reading raises LookupError for an id that isn't there and OSError
for a disk that can't be read. One thread at a time; Unix seconds everywhere.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import Any

from milecastle.model import ParseError
from milecastle.store import database, placing, reading, records, views, wordings

log = logging.getLogger(__name__)

BATCH = 256
"""Records in one transaction; a timer's ``flush`` ends it earlier when there is little to do."""
RETRY = 5.0
"""Seconds without recording after the disk refused."""
PRUNE_BATCH = 1000
"""Most exchanges that one ``prune`` removes, so that it never holds the daemon for long."""


class Reader:
    """Questions to the database of one host."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def sessions(self, limit: int, uid: int | None = None) -> list[dict[str, Any]]:
        """Return the latest sessions, latest first; of one user where ``uid`` is given."""
        return reading.sessions(self._connection, limit, uid)

    def show(self, prefix: str, uid: int | None = None) -> dict[str, Any]:
        """Return a session with its exchanges, oldest first, without evidence and steps.

        ``omitted`` counts earlier exchanges that would make the answer too large.
        """
        return reading.show(self._connection, prefix, uid)

    def exchange(self, prefix: str, uid: int | None = None) -> dict[str, Any]:
        """Return one exchange with everything that is known of it."""
        return reading.exchange(self._connection, prefix, uid)

    def explain(self, prefix: str, uid: int | None = None) -> dict[str, Any]:
        """Return one exchange, or all of a session, with evidence and steps, shaped as ``show``."""
        return reading.explain(self._connection, prefix, uid)

    def recent(self, limit: int, uid: int | None = None) -> list[dict[str, Any]]:
        """Return summaries of the latest exchanges, oldest first: where ``tail`` begins."""
        return reading.recent(self._connection, limit, uid)

    def sizes(self) -> dict[str, int]:
        """Return how much is kept."""
        return reading.sizes(self._connection)


class Store(Reader):
    """The database of one host, to be written by one thread; it sees what it has not committed."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._path = path
        self._file = database.identity(path)
        self._pending = 0
        self._now = 0.0
        self._resume = 0.0
        self.lost = 0
        """Records that could not be kept since the start."""
        self.fault: str | None = None
        """Why recording is interrupted, while it is."""

    @classmethod
    def open(cls, path: Path) -> Store:
        """Return the store at this path, made if need be. OSError where there can't be one."""
        return cls(path, database.connect(path))

    def close(self) -> None:
        """Commit and close."""
        self.flush()
        self._connection.close()

    @property
    def path(self) -> Path:
        return self._path

    def health(self) -> dict[str, Any]:
        """Return what ``status`` says about the store."""
        return {"path": str(self._path), **self.sizes(), "lost": self.lost, "fault": self.fault}

    # --- recording ---

    def add(self, record: object, now: float) -> dict[str, Any]:
        """Record one exchange and return its summary, with ``stored`` to say whether it was kept.

        ParseError where it is not a record, or its id was recorded before.
        """
        parsed, _ = records.parse(record, now)
        self._now = now
        session = ""
        if now >= self._resume or now < self._resume - RETRY:  # the clock may be set back
            try:
                session = self._insert(parsed, now)
            except (sqlite3.Error, OSError) as error:
                self._interrupted(error, losing=1)
        else:
            self.lost += 1
        if self._pending >= BATCH:
            self.flush()
        return {**views.summary(parsed, session), "stored": bool(session)}

    def flush(self) -> None:
        """Commit what was added since the last time."""
        if not self._pending:
            return
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._interrupted(error, losing=0)
            return
        self._pending = 0
        if self.fault is not None:
            log.warning("recording again; %d records were lost", self.lost)
            self.fault = None

    def _insert(self, record: records.Record, now: float) -> str:
        if not self._pending:
            self._begin()
        known = self._connection.execute(
            "SELECT 1 FROM exchanges WHERE id = ?", (record["exchange"],)
        )
        if known.fetchone():
            if not self._pending:
                self._connection.rollback()
            raise ParseError("exchange: was recorded before")
        name = placing.insert(self._connection, record, now)
        self._pending += 1
        return name

    def _begin(self) -> None:
        """Begin a batch, in a new file where somebody removed or replaced the old one."""
        if database.identity(self._path) != self._file:
            self._connection.close()
            self._connection = database.connect(self._path)
            self._file = database.identity(self._path)
        self._connection.execute("BEGIN IMMEDIATE")

    def _interrupted(self, error: sqlite3.Error | OSError, *, losing: int) -> None:
        """Count what is lost, give up the open transaction, and pause; set a broken file aside."""
        self.lost += self._pending + losing
        self._pending = 0
        if self.fault is None:
            log.error("recording stopped: %s; trying again every %d s", error, RETRY)
        self.fault = str(error)
        self._resume = self._now + RETRY
        with contextlib.suppress(sqlite3.Error):
            self._connection.rollback()
        if isinstance(error, sqlite3.Error) and database.broken(error):
            self._connection.close()
            with contextlib.suppress(OSError):  # the next attempt tells whether it could be done
                database.set_aside(self._path, str(error))
            self._resume = self._now

    # --- forgetting ---

    def prune(self, now: float, keep_days: float, max_bytes: int) -> int:
        """Forget the oldest exchanges: those past their days, then those past the size.

        Return how many; where that is PRUNE_BATCH there may be more to do. Never raises: a disk
        that refuses is reported like any other failure to write.
        """
        self.flush()
        self._now = now
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            removed = self._forget(now - keep_days * 86_400, max_bytes)
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
        except sqlite3.Error as error:
            self._interrupted(error, losing=0)
            return 0
        return removed

    def _forget(self, before: float, max_bytes: int) -> int:
        def one(query: str) -> int:
            return int(self._connection.execute(query).fetchone()[0])

        used = one("PRAGMA page_size") * (one("PRAGMA page_count") - one("PRAGMA freelist_count"))
        excess = used - max_bytes
        last = None
        oldest = self._connection.execute(
            "SELECT number, recorded, size FROM exchanges ORDER BY number LIMIT ?", (PRUNE_BATCH,)
        )
        for number, recorded, size in oldest:
            if recorded >= before and excess <= 0:
                break
            excess -= size
            last = number
        if last is None:
            return 0
        removed = self._connection.execute(
            "DELETE FROM exchanges WHERE number <= ?", (last,)
        ).rowcount
        self._connection.execute(
            "DELETE FROM sessions WHERE NOT EXISTS"
            " (SELECT 1 FROM exchanges WHERE session = sessions.number)"
        )
        wordings.forget(self._connection)
        return removed

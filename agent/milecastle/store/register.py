"""The ledger on disk: connections, who uses what, how much is seen, when somebody was watching.

A database of its own beside the sessions', for it is written by a thread of its own: thousands of
connections a second may not hold up an attribution. Connections are kept one by one for a while;
what they add up to (inventory, coverage) is kept in rows that only grow in number with what is new.

Writing never fails the daemon: a disk that is full costs entries, which are counted. Reading raises
OSError. One thread at a time; Unix seconds everywhere.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from milecastle.model import Owner, Process
from milecastle.store import database, design
from milecastle.store.entries import Called, Caller, Entry, Named, Noted, Opened, Refused, Shared
from milecastle.store.tallies import Tallies

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds without writing after the disk refused."""
CONNECTIONS = 250_000
PROCESSES = 50_000
INVENTORY = 20_000
LIVES = 1_000
"""Most rows of each kind that are kept."""
STEP = 25_000
"""Connections after which the oldest are forgotten, whatever the time."""
REMEMBERED = 8192
"""Processes whose row is known without looking."""

NEW_CONNECTION = """
INSERT INTO connections (at, cookie, process, service, name, address, port, protocol, grade,
    outcome, code, calls, owners, server) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)
"""
NEW_PROCESS = """
INSERT INTO processes (key, uid, process) VALUES (?,?,?)
ON CONFLICT (key) DO UPDATE SET process = excluded.process RETURNING number
"""
CORRECTED = """
UPDATE connections SET service = ?, name = ?, outcome = ?, code = ?, calls = calls + ?
WHERE number = (SELECT max(number) FROM connections WHERE cookie = ? AND number > ?)
    AND outcome IN ('redirected', 'passed through')
"""


SHARED = """
UPDATE connections SET owners = ?
WHERE number = (SELECT max(number) FROM connections WHERE cookie = ? AND number > ?)
"""


class Register:
    """The ledger's database."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._file = database.identity(path)
        self._processes: OrderedDict[str, int] = OrderedDict()
        self._life: int | None = None
        self._resume = 0.0
        self._since_pruned = 0
        self._earlier = self._newest()
        """The newest connection of earlier runs, whose cookies may be in use again."""
        self.lost = 0
        """Entries that could not be written since the start."""
        self.fault: str | None = None
        """Why writing is interrupted, while it is."""

    @classmethod
    def open(cls, path: Path) -> Register:
        """Return the register at this path, made if need be. OSError where there can't be one."""
        return cls(path, database.connect(path, design=design.DESIGN))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def path(self) -> Path:
        return self._path

    @property
    def connection(self) -> sqlite3.Connection:
        """For `listing`: the database, between two writes."""
        return self._connection

    # --- connections and what they add up to ------------------------------------------------

    def write(self, entries: Sequence[Entry], now: float) -> None:
        """Write a batch down, whole or not at all."""
        if self._resume - RETRY < now < self._resume:  # the clock may be set back
            self.lost += len(entries)
        elif entries:
            self._do(lambda: self._write(entries), now, losing=len(entries))

    def _write(self, entries: Sequence[Entry]) -> None:
        tallies = Tallies()
        opened = []
        for entry in entries:
            match entry:
                case Opened():
                    opened.append(self._row(entry))
                    tallies.opened(entry)
                case Called():
                    tallies.called(entry)
                case Noted():
                    tallies.noted(entry)
        self._connection.executemany(NEW_CONNECTION, opened)
        # what completes a connection comes after it, in this batch or in an earlier one
        corrections = [entry for entry in entries if isinstance(entry, Named)]
        self._connection.executemany(CORRECTED, map(self._correction, corrections))
        shared = [entry for entry in entries if isinstance(entry, Shared)]
        self._connection.executemany(SHARED, map(self._sharing, shared))
        tallies.write(self._connection)
        self._since_pruned += len(opened)
        if self._since_pruned >= STEP:
            self._forget_connections()

    def _row(self, entry: Opened) -> tuple[object, ...]:
        return (
            entry.at, signed(entry.cookie), self._process(entry.process), entry.service,
            entry.name, entry.address, entry.port, entry.protocol, entry.grade, entry.outcome,
            entry.code, entry.calls, owners(entry.owners),
            self._process(entry.server) if entry.server else None,
        )  # fmt: skip

    def _correction(self, entry: Named) -> tuple[object, ...]:
        told = (entry.service, entry.name, entry.outcome, entry.code, entry.calls)
        return (*told, signed(entry.cookie), self._earlier)

    def _sharing(self, entry: Shared) -> tuple[object, ...]:
        return owners(entry.owners), signed(entry.cookie), self._earlier

    def _process(self, process: Process) -> int:
        key = f"{process.pid} {process.started} {process.uid} {process.sha256} {process.exe}"
        number = self._processes.get(key)
        if number is None:
            told = (key, process.uid, orjson.dumps(asdict(process)).decode())
            ((number,),) = self._connection.execute(NEW_PROCESS, told).fetchall()
            self._processes[key] = number
            if len(self._processes) > REMEMBERED:
                self._processes.popitem(last=False)
        return int(number)

    # --- when somebody was watching -----------------------------------------------------------

    def begin_life(self, now: float) -> None:
        """Note that from now on connections are seen."""

        def note() -> None:
            row = "INSERT INTO lives (began, lived, clean) VALUES (?, ?, 0)"
            self._life = self._connection.execute(row, (now, now)).lastrowid

        self._do(note, now)

    def live(self, now: float, *, last: bool = False) -> None:
        """Note that they still are; ``last``: and that from now on they are not."""
        row = "UPDATE lives SET lived = max(lived, ?), clean = ? WHERE number = ?"
        self._do(lambda: self._connection.execute(row, (now, last, self._life)), now)

    def addresses(self, since: float) -> dict[str, str]:
        """Return whose the addresses were that connections were made to since, by their names."""
        query = """
            SELECT DISTINCT address, service FROM connections
            WHERE at > ? AND service IS NOT NULL AND name != '' ORDER BY number
        """
        with database.reading():
            return dict(self._connection.execute(query, (since,)).fetchall())

    # --- services refused by hand ----------------------------------------------------------------

    def refusals(self) -> dict[Refused, float | None]:
        """Return what is refused by hand, each with its end."""
        query = "SELECT service, user, exe, cgroup, until FROM refusals"
        with database.reading():
            rows = self._connection.execute(query).fetchall()
        return {Refused(service, Caller(*caller)): until for service, *caller, until in rows}

    def keep_refusals(self, refused: Mapping[Refused, float | None], now: float) -> None:
        """Keep these for the next start. OSError where that can't be done: whoever refused
        a service must know that the refusal would not outlive the daemon.
        """
        rows = [
            (one.service, one.caller.user, one.caller.exe, one.caller.cgroup, now, until)
            for one, until in refused.items()
        ]

        def keep() -> None:
            self._connection.execute("DELETE FROM refusals")
            self._connection.executemany("INSERT INTO refusals VALUES (?,?,?,?,?,?)", rows)

        self._do(keep, now)
        if self.fault is not None:
            raise OSError(f"the ledger can't be written: {self.fault}")

    # --- forgetting -------------------------------------------------------------------------------

    def prune(self, now: float, keep_days: float) -> None:
        """Forget the oldest connections, the services unused for longest, and ended lives."""
        self._do(lambda: self._prune(now, now - keep_days * 86_400), now)
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()

    def _prune(self, now: float, before: float) -> None:
        self._forget_connections(before)
        run = self._connection.execute
        run(
            "DELETE FROM inventory WHERE number IN"
            " (SELECT number FROM inventory ORDER BY last DESC LIMIT -1 OFFSET ?)",
            (INVENTORY,),
        )
        run("DELETE FROM lives WHERE number <= (SELECT max(number) FROM lives) - ?", (LIVES,))
        run("DELETE FROM refusals WHERE until <= ?", (now,))

    def _forget_connections(self, before: float = 0.0) -> None:
        run = self._connection.execute
        query = """
            SELECT (SELECT max(number) FROM connections WHERE at < ?),
                (SELECT min(number) FROM connections) + (SELECT count(*) FROM processes) - ? - 1
        """
        ((past, crowded),) = run(query, (before, PROCESSES)).fetchall()
        last = max(past or 0, crowded or 0, self._newest() - CONNECTIONS)
        run("DELETE FROM connections WHERE number <= ?", (last,))
        run(
            "DELETE FROM processes WHERE number NOT IN (SELECT process FROM connections UNION"
            " SELECT server FROM connections WHERE server IS NOT NULL)"
        )
        self._processes.clear()
        self._since_pruned = 0

    def _newest(self) -> int:
        ((number,),) = self._connection.execute("SELECT max(number) FROM connections").fetchall()
        return number or 0

    # --- trouble ----------------------------------------------------------------------------------

    def _do(self, work: Callable[[], object], now: float, *, losing: int = 0) -> None:
        """Do it whole or not at all; a disk that refuses is noted, and not tried for a while."""
        try:
            if database.identity(self._path) != self._file:  # removed or replaced by somebody
                self._reconnect()
            self._connection.execute("BEGIN IMMEDIATE")
            work()
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._interrupted(error, now, losing)
            return
        except BaseException:
            self._connection.rollback()
            raise
        if self.fault is not None:
            log.warning("the ledger is written again; %d entries were lost", self.lost)
            self.fault = None

    def _interrupted(self, error: sqlite3.Error | OSError, now: float, losing: int) -> None:
        self.lost += losing
        if self.fault is None:
            log.error("the ledger stopped: %s; trying again every %d s", error, RETRY)
        self.fault = str(error)
        self._resume = now + RETRY
        self._processes.clear()  # their rows may have been rolled back
        with contextlib.suppress(sqlite3.Error):
            self._connection.rollback()
        if isinstance(error, sqlite3.Error) and database.broken(error):
            with contextlib.suppress(OSError):  # the next attempt tells whether it could be done
                self._connection.close()
                database.set_aside(self._path, str(error))
            self._resume = now

    def _reconnect(self) -> None:
        self._connection.close()
        self._connection = database.connect(self._path, design=design.DESIGN)
        self._file = database.identity(self._path)
        self._processes.clear()
        self._life, self._earlier = None, 0


def owners(of: Sequence[Owner]) -> str:
    """Return the owners of a socket as the column has them."""
    return orjson.dumps([asdict(each) for each in of]).decode()


def signed(cookie: int) -> int:
    """Return an unsigned number of 64 bits as SQLite holds it."""
    return cookie - (1 << 64) if cookie >> 63 else cookie

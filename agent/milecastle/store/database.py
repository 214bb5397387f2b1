"""The SQLite file: made private, migrated, and set aside rather than lost when it is broken.

Knows files and schema versions, not what is kept in them. ``connect`` always gives a usable
database unless the directory itself can't be written (OSError).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

log = logging.getLogger(__name__)

BUSY = 20.0
"""Seconds to wait for somebody else's lock (an operator's sqlite3 shell) before giving up. Only
a thread that does nothing else waits; what is to be written waits in a queue meanwhile."""
STEPS = 10_000
"""SQLite's own steps between two looks at the clock while a question is answered."""
BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class Design:
    """What one kind of database holds."""

    migrations: tuple[str, ...]
    """Each takes the database from the version of its index to the next. Never edit one that was
    released: append."""
    samples: tuple[str, ...]
    """Queries that read one end of each table and index: cheap on any size, and enough to see
    gross damage."""


MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        lineage TEXT NOT NULL,
        conversation TEXT,
        service TEXT,
        host TEXT NOT NULL,
        uid INTEGER,
        standing TEXT,
        grade TEXT NOT NULL,
        started REAL NOT NULL,
        ended REAL NOT NULL,
        process TEXT NOT NULL
    ) STRICT;
    CREATE INDEX sessions_by_lineage ON sessions (lineage, ended);
    CREATE INDEX sessions_by_end ON sessions (ended);
    CREATE TABLE exchanges (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        session INTEGER NOT NULL REFERENCES sessions,
        recorded REAL NOT NULL,
        started REAL NOT NULL,
        model TEXT,
        action TEXT NOT NULL,
        findings INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        size INTEGER NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX exchanges_by_session ON exchanges
        (session, started, model, action, findings, input_tokens, output_tokens);
    """,
    """
    ALTER TABLE sessions ADD COLUMN family TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN parent TEXT;
    ALTER TABLE sessions ADD COLUMN system TEXT;
    ALTER TABLE sessions ADD COLUMN turns INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN pid INTEGER;
    CREATE INDEX sessions_by_conversation ON sessions (family, conversation, ended);
    CREATE INDEX sessions_by_pid ON sessions (pid, ended);
    CREATE INDEX sessions_by_parent ON sessions (parent);
    CREATE TABLE said (
        family TEXT NOT NULL,
        digest TEXT NOT NULL,
        session INTEGER NOT NULL,
        exchange INTEGER NOT NULL REFERENCES exchanges ON DELETE CASCADE,
        messages INTEGER NOT NULL,
        after TEXT,
        answer INTEGER NOT NULL,
        PRIMARY KEY (family, digest, session)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX said_by_exchange ON said (exchange);
    CREATE INDEX said_after ON said (session, after);
    """,
    """
    CREATE TABLE wordings (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        content TEXT NOT NULL
    ) STRICT;
    CREATE TABLE worded (
        exchange INTEGER NOT NULL REFERENCES exchanges ON DELETE CASCADE,
        wording INTEGER NOT NULL,
        PRIMARY KEY (exchange, wording)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX worded_by_wording ON worded (wording);
    """,
)
"""``process`` and ``record`` are JSON. ``said`` tells where each digest of a conversation was first
reached: after so many messages of that exchange, its answer included (see ``threads``).
``wordings`` are texts that many exchanges hold, ``worded`` tells which."""
SESSIONS = Design(
    MIGRATIONS,
    (
        "SELECT * FROM sessions ORDER BY number DESC LIMIT 1",
        "SELECT id FROM sessions ORDER BY id LIMIT 1",
        "SELECT ended FROM sessions ORDER BY ended LIMIT 1",
        "SELECT * FROM exchanges ORDER BY number DESC LIMIT 1",
        "SELECT id FROM exchanges ORDER BY id LIMIT 1",
        "SELECT session FROM exchanges ORDER BY session LIMIT 1",
        "SELECT * FROM said LIMIT 1",
        "SELECT * FROM wordings ORDER BY number DESC LIMIT 1",
        "SELECT * FROM worded LIMIT 1",
    ),
)


def connect(
    path: Path, clock: float | None = None, design: Design = SESSIONS
) -> sqlite3.Connection:
    """Return a connection to a healthy, migrated database that only its owner can read.

    A file that is broken, or was written by a newer milecastle, is moved aside with a message and
    a new one begun. The connection is used by one thread at a time and commits only when told.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open(path, design)
    except sqlite3.DatabaseError as error:
        if not broken(error):
            raise OSError(f"{path}: {error}") from error
        why = str(error)
    except NewerFileError as newer:
        why = str(newer)
    set_aside(path, why, clock)
    try:
        return _open(path, design)
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error


def look[T](path: Path, question: Callable[[sqlite3.Connection], T], seconds: float) -> T:
    """Return what a question finds, through a connection of its own that can't write.

    It sees one moment of the database, whatever is written meanwhile. OSError where there is
    nothing to be read, or no answer within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    with reading():
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=seconds, isolation_level=None
        )
        try:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("BEGIN")
            return question(connection)
        finally:
            connection.close()


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Raise OSError where the database can't be read."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"the database can't be read: {error}") from error


def identity(path: Path) -> tuple[int, int] | None:
    """Return which file stands at this path, or None."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def broken(error: sqlite3.Error) -> bool:
    """Tell a damaged file from a full disk, a lock or a missing permission."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in BROKEN  # the extended codes carry more in the higher bits


class NewerFileError(Exception):
    """The file was written by a milecastle that knows more than this one."""


def _open(path: Path, design: Design) -> sqlite3.Connection:
    _make_private(path)
    connection = sqlite3.connect(
        path, timeout=BUSY, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        _prepare(connection)
        _migrate(connection, design.migrations)
        for query in design.samples:
            connection.execute(query).fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """Create or narrow the file to 0600; SQLite gives its -wal and -shm the same mode."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _prepare(connection: sqlite3.Connection) -> None:
    # auto_vacuum only takes effect before the first table
    for pragma in (
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "journal_size_limit = 16777216",
        "foreign_keys = ON",
        "secure_delete = FAST",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(connection: sqlite3.Connection, migrations: tuple[str, ...]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise NewerFileError(f"its version is {version}, this milecastle knows {len(migrations)}")
    for step, script in enumerate(migrations[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {step}; COMMIT;")


def set_aside(path: Path, why: str, clock: float | None = None) -> Path:
    """Rename the database with its journal so that a new one can begin; return the new name."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock))
    target = path.with_name(f"{path.name}.aside-{moment}")
    attempt = 0
    while target.exists():
        attempt += 1
        target = path.with_name(f"{path.name}.aside-{moment}.{attempt}")
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(target.with_name(target.name + suffix))
    log.error(
        "%s can't be used (%s): kept as %s, and a new database begun. "
        "'sqlite3 %s .recover' may read what it holds.",
        path, why, target.name, target.name,
    )  # fmt: skip
    return target

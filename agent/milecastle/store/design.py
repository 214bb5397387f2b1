"""The tables of the ledger. What they hold is said in `entries`, and read in `listing`."""

from __future__ import annotations

from milecastle.store import database

MIGRATIONS = (
    """
    CREATE TABLE processes (
        number INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        uid INTEGER NOT NULL,
        process TEXT NOT NULL
    ) STRICT;
    CREATE TABLE connections (
        number INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        cookie INTEGER NOT NULL,
        process INTEGER NOT NULL,
        service TEXT,
        name TEXT NOT NULL,
        address TEXT NOT NULL,
        port INTEGER NOT NULL,
        protocol TEXT NOT NULL,
        grade TEXT NOT NULL,
        outcome TEXT NOT NULL,
        code TEXT NOT NULL,
        calls INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX connections_by_cookie ON connections (cookie);
    CREATE TABLE inventory (
        number INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        service TEXT NOT NULL,
        uid INTEGER,
        process TEXT NOT NULL,
        client TEXT,
        evidence TEXT NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        connections INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        request_bytes INTEGER NOT NULL,
        response_bytes INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX inventory_by_last ON inventory (last);
    CREATE TABLE accounts (
        inventory INTEGER NOT NULL REFERENCES inventory ON DELETE CASCADE,
        kind TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        organisation TEXT NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        PRIMARY KEY (inventory, kind, fingerprint, organisation)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE coverage (
        inventory INTEGER NOT NULL REFERENCES inventory ON DELETE CASCADE,
        state TEXT NOT NULL,
        code TEXT NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (inventory, state, code)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE lives (
        number INTEGER PRIMARY KEY,
        began REAL NOT NULL,
        lived REAL NOT NULL,
        clean INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE refusals (
        service TEXT PRIMARY KEY,
        since REAL NOT NULL,
        until REAL
    ) STRICT, WITHOUT ROWID;
    """,
    """
    ALTER TABLE refusals RENAME TO refusals_of_all;
    CREATE TABLE refusals (
        service TEXT NOT NULL,
        user TEXT NOT NULL,
        exe TEXT NOT NULL,
        cgroup TEXT NOT NULL,
        since REAL NOT NULL,
        until REAL,
        PRIMARY KEY (service, user, exe, cgroup)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO refusals SELECT service, '', '', '', since, until FROM refusals_of_all;
    DROP TABLE refusals_of_all;
    """,
    """
    ALTER TABLE inventory ADD COLUMN host TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE connections ADD COLUMN owners TEXT NOT NULL DEFAULT '[]';
    """,
    """
    ALTER TABLE connections ADD COLUMN server INTEGER;
    ALTER TABLE inventory ADD COLUMN server TEXT;
    """,
)
"""``process``, ``owners`` and ``server`` of the inventory are JSON. ``cookie`` is the socket
cookie, a signed number. ``code`` is a key of `coverage.CODES`. ``until`` is null where there is no
end."""
DESIGN = database.Design(
    MIGRATIONS,
    (
        "SELECT * FROM connections ORDER BY number DESC LIMIT 1",
        "SELECT cookie FROM connections ORDER BY cookie LIMIT 1",
        "SELECT * FROM processes ORDER BY number DESC LIMIT 1",
        "SELECT key FROM processes ORDER BY key LIMIT 1",
        "SELECT * FROM inventory ORDER BY number DESC LIMIT 1",
        "SELECT key FROM inventory ORDER BY key LIMIT 1",
        "SELECT last FROM inventory ORDER BY last LIMIT 1",
        "SELECT * FROM accounts LIMIT 1",
        "SELECT * FROM coverage LIMIT 1",
        "SELECT * FROM lives ORDER BY number DESC LIMIT 1",
        "SELECT * FROM refusals LIMIT 1",
    ),
)

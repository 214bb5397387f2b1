"""A record's way into the database: its session found, what was said before left out, and kept.

Called inside a transaction; raises what SQLite does.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from milecastle.store import records, sessions, threads, wordings
from milecastle.store.records import Record
from milecastle.store.sessions import Asked, Candidate, Place
from milecastle.store.threads import SESSION, History, Match
from milecastle.store.whole import ASKED, INSTRUCTING, INSTRUCTIONS

ANCESTORS = 16
"""How far up a child process is looked for its agent."""


def insert(db: sqlite3.Connection, record: Record, now: float) -> str:
    """Keep the record and return its session's id."""
    process = (record.get("attribution") or {}).get("process") or {}
    told = (process, records.service_of(record), record["host"], record.get("cookie"))
    family = sessions.family(*told)
    history = threads.history(record)
    thread = record.get("thread") or {}
    asked = Asked(
        sessions.lineage(*told),
        record["started"],
        record["ended"],
        record["attributes"].get("gen_ai.conversation.id"),
        thread.get("system") if history is not None else None,
        bool(thread.get("summary")),
    )
    place, match = find(db, family, asked, history)
    if place.session is None:
        parent = place.parent or above(db, asked, process)
        number, name = begin(db, record, family, asked, process, parent)
    else:
        number, name = place.session.number, place.session.id
        prolong(db, number, asked, turned=match is not None and match.certain)
    known = match.count if match is not None and history is not None else 0
    kept = record
    if history is not None:
        kept = shortened(db, family, number, record, history, known)
        if place.seam is not None:
            kept["thread"] |= {"seam": place.seam, "since": since(db, match)}
    kept, worded = wordings.put(db, kept)
    exchange = keep(db, number, kept, orjson.dumps(kept), now)
    wordings.hold(db, exchange, worded)
    key = (family, number, exchange)
    threads.reach(db, key, record, history, match)
    fresh = threads.fresh(db, key, record, known)
    if fresh != len(record["findings"]):
        db.execute("UPDATE exchanges SET findings = ? WHERE number = ?", (fresh, exchange))
    return name


def find(
    db: sqlite3.Connection, family: str, asked: Asked, history: History | None
) -> tuple[Place, Match | None]:
    """Return where an exchange belongs, and the point that it goes on from where one is known."""
    match = threads.goes_on(db, family, asked.conversation) if asked.conversation else None
    if match is None and history is not None:
        match = threads.longest(db, family, history, asked)
    if match is not None and (match.certain or asked.conversation is None):
        return Place(match.session, threads.seam(db, match, history)), match
    if asked.conversation is not None:
        rows = db.execute(
            f"SELECT {SESSION} FROM sessions s WHERE family = ? AND conversation = ?"  # noqa: S608
            " ORDER BY ended DESC LIMIT ?",
            (family, asked.conversation, sessions.CANDIDATES),
        )
        place = sessions.named([Candidate(*row) for row in rows], asked, known=match is not None)
        if place is not None:
            return place, match
    rows = db.execute(
        f"SELECT {SESSION} FROM sessions s WHERE lineage = ? ORDER BY ended DESC LIMIT ?",  # noqa: S608
        (asked.lineage, sessions.CANDIDATES),
    )
    return sessions.loose([Candidate(*row) for row in rows], asked), match


def above(db: sqlite3.Connection, asked: Asked, process: dict[str, Any]) -> str | None:
    """Return the session of the agent that this process runs under, if it is one's child."""
    for ancestor in (process.get("ancestry") or ())[:ANCESTORS]:
        row = db.execute(
            "SELECT id, process FROM sessions WHERE pid = ? AND started <= ? AND ended >= ?"
            " ORDER BY parent IS NOT NULL, ended DESC LIMIT 1",
            (ancestor["pid"], asked.ended, asked.started - sessions.RUN_GAP),
        ).fetchone()
        # a pid may have been used again: what runs there now must be what ran there then
        if row is not None and orjson.loads(row[1]).get("exe") == ancestor.get("exe"):
            return str(row[0])
    return None


def begin(
    db: sqlite3.Connection,
    record: Record,
    family: str,
    asked: Asked,
    process: dict[str, Any],
    parent: str | None,
) -> tuple[int, str]:
    """Begin a session; return its number and id."""
    attribution = record.get("attribution") or {}
    name = sessions.identify(asked.lineage, record["exchange"])
    number = db.execute(
        "INSERT INTO sessions (id, lineage, conversation, service, host, uid, standing, grade,"
        " started, ended, process, family, parent, system, pid)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            name,
            asked.lineage,
            asked.conversation,
            records.service_of(record),
            record["host"],
            process.get("uid"),
            attribution.get("standing"),
            attribution.get("grade", "unknown"),
            asked.started,
            asked.ended,
            orjson.dumps(process).decode(),
            family,
            parent,
            asked.system,
            process.get("pid"),
        ),
    ).lastrowid
    assert number is not None
    return number, name


def prolong(db: sqlite3.Connection, number: int, asked: Asked, *, turned: bool) -> None:
    """Let a session last until this exchange."""
    db.execute(
        "UPDATE sessions SET started = min(started, ?), ended = max(ended, ?),"
        " turns = turns + ?, system = coalesce(system, ?) WHERE number = ?",
        (asked.started, asked.ended, turned, asked.system, number),
    )


def shortened(
    db: sqlite3.Connection, family: str, session: int, record: Record, history: History, known: int
) -> Record:
    """Return the record without the messages that an earlier exchange of the session holds.

    ``thread`` then says where those are (``kept``), how many of all ``messages`` were ``known``,
    and how many are ``lost``: left out by the worker, but not here.
    """
    count, source = threads.cut(db, family, session, history, known)
    attributes = dict(record["attributes"])
    carried = attributes.get(ASKED)
    if carried and count > history.left_out:
        left, kept = carried[: count - history.left_out], carried[count - history.left_out :]
        instructions = [
            {"at": at, **message}
            for at, message in enumerate(left, start=history.left_out)
            if message["role"] in INSTRUCTING
        ]
        attributes[ASKED] = kept
        attributes[INSTRUCTIONS] = [*(attributes.get(INSTRUCTIONS) or ()), *instructions]
    told: dict[str, Any] = {"messages": history.messages, "known": max(known, history.left_out)}
    if source is not None:
        told["kept"] = {**source, "count": count}
    if count < history.left_out:
        told["lost"] = history.left_out - count
    return {**record, "attributes": attributes, "thread": told}


def since(db: sqlite3.Connection, match: Match | None) -> float | None:
    """Return when the exchange began that this one goes on from."""
    if match is None:
        return None
    row = db.execute("SELECT started FROM exchanges WHERE number = ?", (match.exchange,)).fetchone()
    return float(row[0]) if row else None


def keep(db: sqlite3.Connection, session: int, record: Record, encoded: bytes, now: float) -> int:
    """Put the exchange into its session; return its number."""
    attributes = record["attributes"]
    number = db.execute(
        "INSERT INTO exchanges (id, session, recorded, started, model, action, findings,"
        " input_tokens, output_tokens, size, record) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            record["exchange"],
            session,
            now,
            record["started"],
            records.model_of(record),
            records.applied(record["verdict"]).value,
            len(record["findings"]),
            attributes.get("gen_ai.usage.input_tokens") or 0,
            attributes.get("gen_ai.usage.output_tokens") or 0,
            len(encoded),
            encoded.decode(),
        ),
    ).lastrowid
    assert number is not None
    return number

"""Questions to the database and their answers, each small enough for one frame.

An id may be given by its beginning. ``uid`` limits every answer to what one user's processes did.
LookupError where nothing has that id, or several have; OSError where the disk can't be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import orjson

from milecastle.store import views
from milecastle.store.records import Record
from milecastle.store.whole import Whole
from milecastle.store.wordings import Wordings

ANSWER = 10 << 20
"""Bytes of JSON in one answer; as msgpack it stays well inside a frame of the control socket."""
SESSIONS = 10_000
RECENT = 100
"""Most rows of a list, whatever was asked for."""

_SESSION = """
SELECT s.number, s.id, s.started, s.ended, s.service, s.host, s.standing, s.grade, s.conversation,
    s.process, count(e.number), total(e.findings), group_concat(DISTINCT e.action),
    total(e.input_tokens), total(e.output_tokens), s.parent,
    (SELECT model FROM exchanges WHERE session = s.number AND model IS NOT NULL
     ORDER BY started DESC LIMIT 1)
FROM sessions s JOIN exchanges e ON e.session = s.number
"""
# total() and not sum(): a worker's numbers must not be able to overflow an integer
ONE = f"{_SESSION} WHERE s.number = :number GROUP BY s.number"
LATEST = f"""{_SESSION}
WHERE s.number IN
    (SELECT number FROM sessions WHERE :uid IS NULL OR uid = :uid ORDER BY ended DESC LIMIT :limit)
GROUP BY s.number ORDER BY s.ended DESC, s.number DESC
"""  # noqa: S608 - made of constants
EXCHANGE = """
SELECT s.number, s.id, e.record FROM exchanges e JOIN sessions s ON s.number = e.session
WHERE e.number = :number
"""
EXCHANGES = """
SELECT record, length(record) + (
    SELECT total(length(content)) FROM worded JOIN wordings ON wordings.number = wording
    WHERE exchange = exchanges.number
) FROM exchanges WHERE session = :number ORDER BY started DESC, number DESC
"""
STORED = "SELECT record FROM exchanges WHERE id = :id"
WORDING = "SELECT content FROM wordings WHERE number = :number"
CHILDREN = """
SELECT id FROM sessions WHERE parent = :id AND (:uid IS NULL OR uid = :uid)
ORDER BY started LIMIT 100
"""
RECENTLY = """
SELECT s.id, e.record FROM exchanges e JOIN sessions s ON s.number = e.session
WHERE :uid IS NULL OR s.uid = :uid ORDER BY e.number DESC LIMIT :limit
"""
NAMED = {
    "session": """
        SELECT number, id FROM sessions
        WHERE id >= :first AND id < :after AND (:uid IS NULL OR uid = :uid) ORDER BY id LIMIT 2
    """,
    "exchange": """
        SELECT e.number, e.id FROM exchanges e JOIN sessions s ON s.number = e.session
        WHERE e.id >= :first AND e.id < :after AND (:uid IS NULL OR s.uid = :uid)
        ORDER BY e.id LIMIT 2
    """,
}
SIZES = """
SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM exchanges),
    (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size),
    (SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)
"""


def sessions(db: sqlite3.Connection, limit: int, uid: int | None) -> list[dict[str, Any]]:
    """Return the latest sessions, latest first."""
    rows = _rows(db, LATEST, uid=uid, limit=max(0, min(limit, SESSIONS)))
    return [views.session(row) for row in _within(ANSWER, rows, lambda row: len(row[9]) + 512)]


def show(db: sqlite3.Connection, prefix: str, uid: int | None) -> dict[str, Any]:
    """Return a session with its exchanges, without the evidence and the policy's steps."""
    opened = _open(db, _find(db, "session", prefix, uid))
    children = _rows(db, CHILDREN, id=opened["id"], uid=uid)
    opened["children"] = [name for (name,) in children]
    for each in opened["exchanges"]:
        each.pop("steps", None)
        each["owners"] = (each.pop("attribution", None) or {}).get("owners") or []
    return opened


def exchange(db: sqlite3.Connection, prefix: str, uid: int | None) -> dict[str, Any]:
    """Return one exchange with everything that is known of it."""
    ((_, session, record),) = _rows(db, EXCHANGE, number=_find(db, "exchange", prefix, uid))
    return views.exchange(_whole(db, ANSWER)(_wordings(db)(orjson.loads(record))), session)


def explain(db: sqlite3.Connection, prefix: str, uid: int | None) -> dict[str, Any]:
    """Return one exchange inside its session, or else the session of that id with all of them."""
    try:
        number = _find(db, "exchange", prefix, uid)
    except LookupError:
        return _open(db, _find(db, "session", prefix, uid))
    ((session, name, record),) = _rows(db, EXCHANGE, number=number)
    (row,) = _rows(db, ONE, number=session)
    one = views.exchange(_whole(db, ANSWER)(_wordings(db)(orjson.loads(record))), name)
    return {**views.session(row), "exchanges": [one], "omitted": 0}


def recent(db: sqlite3.Connection, limit: int, uid: int | None) -> list[dict[str, Any]]:
    """Return summaries of the latest exchanges, oldest first."""
    rows = list(_rows(db, RECENTLY, uid=uid, limit=max(0, min(limit, RECENT))))
    return [views.summary(orjson.loads(record), session) for session, record in reversed(rows)]


def sizes(db: sqlite3.Connection) -> dict[str, int]:
    """Return how much is kept; ``bytes`` without pages that are free to be used again."""
    ((begun, recorded, size, free),) = _rows(db, SIZES)
    return {"sessions": begun, "exchanges": recorded, "bytes": size - free}


def _open(db: sqlite3.Connection, number: int) -> dict[str, Any]:
    """Return a session with as many of its latest exchanges as fit, oldest first."""
    (row,) = _rows(db, ONE, number=number)
    session = views.session(row)
    rows = _rows(db, EXCHANGES, number=number)
    stored = list(_within(ANSWER, rows, lambda row: int(row[1])))
    worded = _wordings(db)
    records = [worded(orjson.loads(record)) for record, _ in stored]
    whole = _whole(db, int(ANSWER - sum(size for _, size in stored)), records)
    shown = [views.exchange(whole(each), session["id"]) for each in records][::-1]
    return {**session, "exchanges": shown, "omitted": session["exchanges"] - len(shown)}


def _wordings(db: sqlite3.Connection) -> Wordings:
    """Return what puts instructions and tool definitions back into records."""

    def find(number: int) -> str | None:
        rows = list(_rows(db, WORDING, number=number))
        return rows[0][0] if rows else None

    return Wordings(find)


def _whole(db: sqlite3.Connection, budget: int, at_hand: Iterable[Record] = ()) -> Whole:
    """Return what makes records whole within a budget of bytes."""
    known: dict[str, Record | None] = {each["exchange"]: each for each in at_hand}

    def find(name: str) -> Record | None:
        if name not in known:
            rows = list(_rows(db, STORED, id=name))
            known[name] = orjson.loads(rows[0][0]) if rows else None
        return known[name]

    return Whole(find, budget)


def _find(
    db: sqlite3.Connection, what: Literal["session", "exchange"], prefix: str, uid: int | None
) -> int:
    """Return the number of the one row whose id begins so, or raise LookupError."""
    wanted = prefix[:64].encode("utf-8", "replace").decode()
    if not wanted:
        raise LookupError(f"name the {what} by the beginning of its id")
    found = list(_rows(db, NAMED[what], first=wanted, after=wanted + "\U0010ffff", uid=uid))
    if not found:
        raise LookupError(f"no {what} has an id that begins with {wanted!r}")
    if len(found) > 1 and found[0][1] != wanted:
        raise LookupError(f"several {what}s begin with {wanted!r}: give more of the id")
    return int(found[0][0])


def _rows(db: sqlite3.Connection, query: str, **values: object) -> Iterator[views.Row]:
    try:
        yield from db.execute(query, values)
    except sqlite3.Error as error:
        raise OSError(f"the database can't be read: {error}") from error


def _within(
    budget: int, rows: Iterable[views.Row], size: Callable[[views.Row], int]
) -> Iterator[views.Row]:
    """Yield rows until they exceed the budget of bytes; the first in any case."""
    used = 0
    for row in rows:
        if used and used + size(row) > budget:
            return
        used += size(row)
        yield row

"""Histories in the database: what was said before, found by digest, and where it is kept.

A record tells a digest for each message of its history (``inspection/thread.py``). The table
``said`` knows where each was reached first, so that a message that came before is not kept twice,
only where to find it: ``kept`` in the stored record names the exchange and how many of its
messages, the answer included, this history begins with.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from milecastle.store.records import Record
from milecastle.store.sessions import Asked, Candidate, Seam, near

SESSION = (
    "s.number, s.id, s.started, s.ended, s.conversation, s.lineage, s.system, s.turns, s.parent"
)
FOUND = f"""
SELECT {SESSION}, t.digest, t.exchange
FROM said t JOIN sessions s ON s.number = t.session
WHERE t.family = ? AND t.digest = ? ORDER BY s.lineage = ? DESC, s.ended DESC LIMIT 16
"""  # noqa: S608 - made of constants
RESPONSE = "="
"""Stands before an answer's id where that is the point to go on from."""
REACHED = """
SELECT t.messages, e.id FROM said t JOIN exchanges e ON e.number = t.exchange
WHERE t.family = ? AND t.digest = ? AND t.session = ?
"""


@dataclass(frozen=True, slots=True)
class History:
    """The digests of a record, each with the number of messages that it stands for."""

    messages: int
    marks: tuple[tuple[int, str], ...]
    """Oldest first. Of a long history only the first and the latest are told."""
    head: str | None
    left_out: int
    """Messages at the beginning that the record does not hold."""
    first_answer: int
    """Messages up to the first answer that is known to be in the history; 0 without one."""
    last_answer: int


@dataclass(frozen=True, slots=True)
class Match:
    """A point of a session that an exchange goes on from."""

    session: Candidate
    digest: str
    exchange: int
    """The number of the exchange that reached it first."""
    count: int = 0
    """Messages of the history that are known."""
    certain: bool = True
    """An answer is among them, so that it can't be by chance."""


def history(record: Record) -> History | None:
    """Return the record's history; None where it tells none, or one that contradicts itself."""
    told = record.get("thread")
    if not told:
        return None
    total, prefix = told["messages"], told["prefix"]
    if not prefix or len(prefix) > total:
        return None
    latest = range(total - len(prefix) + 2, total + 1)
    marks = tuple((count, mark) for count, mark in zip((1, *latest), prefix, strict=True) if mark)
    left_out = total - min(told.get("new", total), total)
    carried = record["attributes"].get("gen_ai.input.messages") or ()
    answers = [
        number
        for number, message in enumerate(carried, start=left_out + 1)
        if message["role"] == "assistant"
    ]
    first = left_out or min(answers, default=0)
    last = min(max(answers, default=left_out), total)
    return History(total, marks, told.get("head"), left_out, first, last)


def goes_on(db: sqlite3.Connection, family: str, response: str) -> Match | None:
    """Return the point after the answer with this id."""
    for row in db.execute(FOUND, (family, RESPONSE + response, "")):
        return Match(Candidate(*row[:9]), row[9], row[10])
    return None


def longest(db: sqlite3.Connection, family: str, history: History, asked: Asked) -> Match | None:
    """Return the longest beginning of this history that is known.

    Where no answer is in it, two programs, or one under other instructions, may well have begun
    with the same words: then it counts for the same process and instructions only.
    """
    for count, digest in reversed(history.marks):
        certain = 0 < history.first_answer <= count
        for row in db.execute(FOUND, (family, digest, asked.lineage)):
            session = Candidate(*row[:9])
            ids = {asked.conversation, session.conversation} - {None}
            alike = (session.lineage, session.system) == (asked.lineage, asked.system)
            if len(ids) < 2 and (certain or (alike and near(session, asked))):
                return Match(session, digest, row[10], count, certain)
    return None


def seam(db: sqlite3.Connection, match: Match, history: History | None) -> Seam | None:
    """Return what a reader must know of the place where an exchange goes on."""
    point = (match.session.number, match.digest)
    if history is not None and match.count == history.messages and _follows(db, *point, answer=1):
        return "repeated"
    if _follows(db, *point, answer=0):
        return "branched"
    latest = db.execute(
        "SELECT number FROM exchanges WHERE session = ? ORDER BY started DESC, number DESC LIMIT 1",
        (match.session.number,),
    ).fetchone()
    return "resumed" if latest is not None and latest[0] != match.exchange else None


def _follows(db: sqlite3.Connection, session: int, digest: str, *, answer: int) -> bool:
    query = "SELECT 1 FROM said WHERE session = ? AND after = ? AND answer = ? LIMIT 1"
    return db.execute(query, (session, digest, answer)).fetchone() is not None


def cut(
    db: sqlite3.Connection, family: str, session: int, history: History, known: int
) -> tuple[int, dict[str, Any] | None]:
    """Return how many messages need not be kept, and where they are kept.

    What was said since the last answer is always kept, so that a single question stands whole.
    """
    limit = max(history.left_out, min(known, history.last_answer))
    for count, digest in reversed(history.marks):
        row = count <= limit and db.execute(REACHED, (family, digest, session)).fetchone()
        if row:
            return count, {"exchange": row[1], "messages": row[0]}
    return 0, None


def reach(
    db: sqlite3.Connection,
    key: tuple[str, int, int],
    record: Record,
    history: History | None,
    match: Match | None,
) -> None:
    """Remember each point of the conversation that this exchange reached first.

    ``key``: family, and the numbers of session and exchange. A history that only goes on from an
    answer's id is no beginning that could be known again.
    """
    family, session, exchange = key
    by_id = match is not None and match.digest.startswith(RESPONSE)
    put = "INSERT OR {} INTO said VALUES (?,?,?,?,?,?,?)"
    before = match.digest if match is not None and by_id else None
    if by_id:  # it counts as followed from now on
        response = record["exchange"]
        row = (family, f"{RESPONSE}{RESPONSE}{response}", session, exchange, 0, before, 0)
        db.execute(put.format("IGNORE"), row)
    elif history is not None:
        rows = []
        for count, digest in history.marks:
            if digest != before:  # what only instructs does not move the conversation on
                rows.append((family, digest, session, exchange, count, before, 0))
            before = digest
        db.executemany(put.format("IGNORE"), rows)
        if history.head and history.head != before:
            count = history.messages + _answers(record)
            row = (family, history.head, session, exchange, count, before, 1)
            db.execute(put.format("REPLACE"), row)  # the latest lives longest
    if response := record["attributes"].get("gen_ai.response.id"):
        row = (family, RESPONSE + response, session, exchange, 0, None, 1)
        db.execute(put.format("REPLACE"), row)


def _answers(record: Record) -> int:
    """Return how many messages the answer is: further ones are other choices."""
    told = record["attributes"].get("gen_ai.output.messages") or ()
    for count, message in enumerate(told, start=1):
        if message.get("finish_reason"):
            return count
    return len(told)


def fresh(db: sqlite3.Connection, key: tuple[str, int, int], record: Record, known: int) -> int:
    """Return how many findings are not about what was said before.

    Findings beside the messages (instructions, tools) count once for each value in a session.
    """
    family, session, exchange = key
    count = 0
    for finding in record["findings"]:
        message = finding.get("message")
        if message is not None:
            count += message >= known
        elif finding.get("direction") != "request" or not finding.get("digest"):
            count += 1
        else:
            mark = f"!{finding['rule']}!{finding['digest']}"
            row = (family, mark, session, exchange, 0, None, 0)
            put = "INSERT OR IGNORE INTO said VALUES (?,?,?,?,?,?,?)"
            count += db.execute(put, row).rowcount or not known
    return count

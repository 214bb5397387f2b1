"""Instructions and tool definitions: sent with every turn, kept once for each wording.

An exchange's record then holds the number of a wording in the place of it. A wording that no
exchange holds any more is forgotten with the last of them. Called inside a transaction; raises
what SQLite does.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from typing import Any

import orjson

from milecastle.store.records import Record
from milecastle.store.whole import INSTRUCTIONS

WORDED = ("gen_ai.system_instructions", "gen_ai.tool.definitions", INSTRUCTIONS)
"""Attributes that seldom change from turn to turn."""
SHORTEST = 512
"""Bytes of JSON that are worth a row of their own."""
KEPT = "wording"
"""Key of the object that stands in the place of a wording."""


def put(db: sqlite3.Connection, record: Record) -> tuple[Record, list[int]]:
    """Keep the record's wordings; return it with their numbers in their places, and the numbers."""
    attributes = dict(record["attributes"])
    numbers = []
    for key in WORDED:
        if not attributes.get(key):
            continue
        content = orjson.dumps(attributes[key])
        if len(content) >= SHORTEST:
            number = _number(db, content)
            attributes[key] = {KEPT: number}
            numbers.append(number)
    return {**record, "attributes": attributes}, numbers


def _number(db: sqlite3.Connection, content: bytes) -> int:
    digest = hashlib.blake2b(content, digest_size=16).digest()
    db.execute(
        "INSERT INTO wordings (digest, content) VALUES (?,?) ON CONFLICT DO NOTHING",
        (digest, content.decode()),
    )
    ((number,),) = db.execute("SELECT number FROM wordings WHERE digest = ?", (digest,))
    return int(number)


def hold(db: sqlite3.Connection, exchange: int, numbers: list[int]) -> None:
    """Remember that an exchange holds these wordings."""
    db.executemany(
        "INSERT INTO worded (exchange, wording) VALUES (?,?) ON CONFLICT DO NOTHING",
        [(exchange, number) for number in numbers],
    )


def forget(db: sqlite3.Connection) -> None:
    """Forget the wordings that nothing holds."""
    db.execute(
        "DELETE FROM wordings"
        " WHERE NOT EXISTS (SELECT 1 FROM worded WHERE wording = wordings.number)"
    )


class Wordings:
    """Puts wordings back, each read once."""

    def __init__(self, find: Callable[[int], str | None]) -> None:
        """``find`` returns a wording as JSON by its number."""
        self._find = find
        self._known: dict[int, Any] = {}

    def __call__(self, record: Record) -> Record:
        """Return the record as it came."""
        attributes = dict(record["attributes"])
        for key in WORDED:
            if isinstance(held := attributes.get(key), dict):
                attributes[key] = self._content(held[KEPT])
        return {**record, "attributes": attributes}

    def _content(self, number: int) -> Any:  # noqa: ANN401 - whatever JSON can hold
        if number not in self._known:
            content = self._find(number)
            self._known[number] = orjson.loads(content) if content else []
        return self._known[number]

"""Stored exchanges made whole again: the messages that earlier exchanges hold are put back.

Where those were forgotten, or there are more than an answer may hold, ``milecastle.input.omitted``
counts what is missing at the beginning. Pure, but for the records that it asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from milecastle.store.records import Record

ASKED = "gen_ai.input.messages"
ANSWERED = "gen_ai.output.messages"
OMITTED = "milecastle.input.omitted"
INSTRUCTIONS = "milecastle.input.instructions"
"""Instructions among the messages that were left out: they may change from turn to turn, so each
exchange holds its own, with ``at``, their number."""
INSTRUCTING = ("system", "developer")
LONGEST = 10_000
"""Exchanges that one history may be spread over."""

type Find = Callable[[str], Record | None]
"""Gives the stored record of an exchange by its id; None where it is forgotten."""


class Whole:
    """Makes exchanges whole until a budget of bytes is used up."""

    def __init__(self, find: Find, budget: int) -> None:
        self._find = find
        self._left = budget
        self._sizes: dict[int, int] = {}
        """Bytes of messages by their identity; ``find`` keeps them alive."""

    def __call__(self, record: Record) -> Record:
        """Return the record with its whole history, as far as that is known and fits."""
        thread = record.get("thread") or {}
        own = record["attributes"].get(ASKED)
        if own is None or not (thread.get("kept") or thread.get("lost")):
            return record
        earlier, missing = self._earlier(thread)
        attributes = dict(record["attributes"])
        earlier = [message for message in earlier if message["role"] not in INSTRUCTING]
        for message in attributes.pop(INSTRUCTIONS, None) or ():
            said = {key: value for key, value in message.items() if key != "at"}
            earlier.insert(max(message["at"] - missing, 0), said)
        attributes[ASKED] = [*earlier, *own]
        if missing:
            attributes[OMITTED] = missing
        return {**record, "attributes": attributes}

    def _earlier(self, thread: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
        """Return the messages before a record's own, and how many are missing; all or none fit."""
        runs: list[list[dict[str, Any]]] = []
        size = 0
        missing = thread.get("lost", 0)
        source = thread.get("kept")
        wanted = source["messages"] if source else 0
        for _ in range(LONGEST):
            record = self._find(source["exchange"]) if source else None
            if record is None:
                break
            run, lost, source, wanted = before(record, wanted)
            missing += lost
            size += sum(map(self._size, run))
            if size > self._left:
                return [], missing + wanted + sum(map(len, runs)) + len(run)
            runs.append(run)
        self._left -= size
        return [message for run in reversed(runs) for message in run], missing + wanted

    def _size(self, message: dict[str, Any]) -> int:
        size = self._sizes.get(id(message))
        if size is None:
            size = self._sizes[id(message)] = len(orjson.dumps(message)) + 1
        return size


def before(
    record: Record, wanted: int
) -> tuple[list[dict[str, Any]], int, dict[str, Any] | None, int]:
    """Return those of an exchange's first ``wanted`` messages that it holds itself.

    Also how many of them nobody holds, where the ones before are kept, and how many of those.
    """
    own = record["attributes"].get(ASKED) or []
    answer = record["attributes"].get(ANSWERED) or []
    thread = record.get("thread") or {}
    total = thread.get("messages", len(own))
    start = total - len(own)
    run = [*own[: max(wanted - start, 0)], *answer[: max(wanted - total, 0)]]
    source = thread.get("kept")
    if source is None:
        return run, min(start, wanted), None, 0
    lost = min(max(wanted - source["count"], 0), thread.get("lost", 0))
    return run, lost, source, min(wanted, source["messages"])

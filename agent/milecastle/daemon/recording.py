"""Exchanges as they are told by workers: joined with their attribution, stored, shown to listeners.

The worker says what was said; who said it is known here, by the connection's cookie. A worker that
lies can invent an exchange, but not the process behind it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from milecastle.daemon.archive import Archive, Event, Outcome
from milecastle.daemon.attribution import Attributor
from milecastle.model import Attribution, Grade, ParseError, Process, Standing

SHAPES = 200
"""Formats that are counted: a worker that lies must not fill the memory."""

log = logging.getLogger(__name__)


class Recorder:
    """Store records; tell those who follow."""

    def __init__(
        self,
        archive: Archive,
        attributor: Attributor,
        standing: Callable[[str | None], Standing],
        complete: Callable[[dict[str, Any], object], None] = lambda _process, _told: None,
        entered: Callable[[Event, Attribution | None], None] = lambda _record, _known: None,
        usage: Callable[[Event, Attribution | None, Standing], None] = lambda *_: None,
    ) -> None:
        """``complete`` notes in a process which client a worker says it is; ``entered`` is told
        of each record that was accepted, with its attribution; ``usage`` puts into one, before
        it is stored, what is unusual about it.
        """
        self._usage = usage
        self._archive = archive
        self._attributor = attributor
        self._standing = standing
        self._complete = complete
        self._entered = entered
        self._followers: dict[object, Callable[[Event], None]] = {}
        self.strange: Counter[str] = Counter()
        """Exchanges of no known format, and of formats whose shape has changed, by the format."""
        self.recorded = 0
        self.refused = 0

    def record(self, record: Event, size: int = 0) -> None:
        """Take one exchange from a worker. What is malformed is counted and dropped."""
        cookie = record.get("cookie")
        known = self._attributor.recall(cookie) if isinstance(cookie, int) else None
        service = record.get("service")
        standing = self._standing(service if isinstance(service, str) else None)
        record["attribution"] = told = attribution_record(known, standing)
        if known is not None:
            self._complete(told["process"], record.get("client"))
        self._usage(record, known, standing)
        self._archive.add(record, size, lambda outcome: self._stored(record, known, outcome))

    def _stored(self, record: Event, known: Attribution | None, outcome: Outcome) -> None:
        if isinstance(outcome, ParseError):
            self.refused += 1
            log.warning("a worker sent a record that was refused: %s", outcome)
            return
        self.recorded += 1
        if record.get("strange") and (
            record["shape"] in self.strange or len(self.strange) < SHAPES
        ):
            self.strange[record["shape"]] += 1
        self._entered(record, known)
        self.tell(outcome)

    def tell(self, event: Event) -> None:
        """Tell everybody who follows."""
        for follower in list(self._followers.values()):
            follower(event)

    async def read_back(self, pid: int) -> Event | None:
        """Return the latest exchange of a process as the store has it, None if it has none."""
        latest = await self._archive.ask(lambda store: store.recent(16))
        return next((one for one in latest if one["process"].get("pid") == pid), None)

    def follow(self, key: object, follower: Callable[[Event], None]) -> None:
        """Call the follower with each event from now on."""
        self._followers[key] = follower

    def unfollow(self, key: object) -> None:
        """Forget a follower, whether there was one or not."""
        self._followers.pop(key, None)


def attribution_record(known: Attribution | None, standing: Standing) -> Event:
    """Return an attribution as the store keeps it and workers are told it."""
    if known is None:
        why = "the connection is not remembered any more"
        return {"grade": Grade.UNKNOWN.value, "why": why, "standing": standing.value}
    return {
        "connection": asdict(known.connection),
        "process": dict(process_record(known.process)),
        "service": known.service,
        "grade": known.grade.value,
        "why": known.why,
        "owners": [asdict(each) for each in known.owners],
        "local": known.local,
        "server": dict(process_record(known.server)) if known.server else None,
        "standing": standing.value,
    }


@lru_cache(1024)
def process_record(process: Process) -> Mapping[str, Any]:
    """Return a process as it is told; most connections are not the first of theirs."""
    return MappingProxyType(asdict(process))

"""Exchanges on their way to the disk: a bounded queue on the event loop, a thread that empties it.

Knows the store, and nothing of what its records mean. What does not fit is dropped and counted;
a disk that is slow costs records in the end, never a connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from milecastle.daemon.desk import ANSWER_SECONDS, SETTLE_SECONDS, Desk, settled
from milecastle.daemon.tasks import bug
from milecastle.model import ParseError
from milecastle.store import Reader, Store

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Records that may wait for the disk: half a minute of a busy host."""
MOST_BYTES = 128 << 20
"""Bytes of them, as they came over the wire."""
AT_ONCE = 256
FLUSH_SECONDS = 0.25
"""How long a record may wait for its commit."""

type Event = dict[str, Any]
type Outcome = Event | ParseError
"""The summary of a record as the store has taken it, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    record: Event
    size: int
    """Bytes on the wire."""
    told: Callable[[Outcome], None]


class Archive:
    """The store behind its queue."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._desk = Desk(store)
        self._now = now
        self._queue: deque[Waiting] = deque()
        self._bytes = 0
        self._writing: asyncio.Future[list[Outcome]] | None = None
        self._flush: asyncio.TimerHandle | None = None
        self.dropped = 0
        """Records that did not fit."""

    def add(self, record: Event, size: int, told: Callable[[Outcome], None]) -> None:
        """Have a record stored; ``told`` is called in the event loop with what came of it."""
        if len(self._queue) >= MOST_WAITING or self._bytes + size > MOST_BYTES:
            self.dropped += 1
            return
        self._queue.append(Waiting(record, size, told))
        self._bytes += size
        self._go_on()

    async def ask[T](self, question: Callable[[Reader], T], seconds: float = ANSWER_SECONDS) -> T:
        """Return what the store answers, with everything in it that was added until now.

        Where the disk stalls, without the latest. OSError where it can't be read.
        """
        await self._settle()
        return await self._desk.ask(lambda connection: question(Reader(connection)), seconds)

    def prune(self, keep_days: float, max_bytes: int) -> None:
        """Forget what is old, if the writer has time for it."""
        if not self._desk.busy:
            now = self._now()
            self._desk.write(lambda store: store.prune(now, keep_days, max_bytes))

    @property
    def health(self) -> dict[str, Any]:
        """Return what ``status`` says of recording; no disk is asked."""
        return {
            "path": str(self._store.path),
            "waiting": len(self._queue),
            "lost": self._store.lost + self.dropped,
            "fault": self._desk.fault,
        }

    def close(self) -> None:
        """Write what is left, commit, and close."""
        left = list(self._queue)
        self._queue.clear()
        self._desk.close(lambda store: write(store, left, self._now))  # it commits when it closes

    def _go_on(self) -> None:
        """Hand the oldest records over, unless the writer still has those of before."""
        if self._writing is not None or not self._queue:
            return
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), AT_ONCE))]
        self._writing = self._desk.write(lambda store: write(store, batch, self._now))
        self._writing.add_done_callback(lambda future: self._written(batch, future))

    def _written(self, batch: list[Waiting], future: asyncio.Future[list[Outcome]]) -> None:
        self._writing = None
        self._bytes -= sum(each.size for each in batch)
        if future.cancelled():
            return
        if error := future.exception():
            log.error("recording failed: %s", bug(error))
        else:
            for waiting, outcome in zip(batch, future.result(), strict=True):
                waiting.told(outcome)
        self._go_on()
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._commit)

    def _commit(self) -> asyncio.Future[None]:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        return self._desk.write(Store.flush)

    async def _settle(self) -> None:
        """Have everything committed that is in the queue now, as far as that takes no long time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SETTLE_SECONDS
        while self._writing is not None and loop.time() < until:
            await settled(self._writing, until - loop.time())
            await asyncio.sleep(0)  # its own callback comes first
        if self._flush is not None:
            await settled(self._commit(), until - loop.time())


def write(store: Store, batch: list[Waiting], now: Callable[[], float]) -> list[Outcome]:
    """Add each record of a batch; runs in the writer's thread."""
    outcomes: list[Outcome] = []
    for waiting in batch:
        try:
            outcomes.append(store.add(waiting.record, now()))
        except ParseError as error:
            outcomes.append(error)
    return outcomes

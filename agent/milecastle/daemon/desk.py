"""A database as the event loop sees it: one thread writes, two read, and nobody waits for a disk.

A disk that stalls for a second would cost the lease if the loop waited for it, and every
connection of the host would follow ``on_failure``. So the writer has a thread of its own, and
questions have others, each through a connection that cannot write: whatever one of them waits
for, the others go on.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from milecastle.store import look

READERS = 2
ANSWER_SECONDS = 10.0
"""How long a question may take."""
SETTLE_SECONDS = 1.0
"""How long a question waits for what was to be written before it."""
STALLED_SECONDS = 2.0
"""A writer that is busy with one thing for so long has a disk that stalls."""


class Writer(Protocol):
    """What writes into one database; used by one thread."""

    @property
    def path(self) -> Path: ...

    @property
    def fault(self) -> str | None: ...

    def close(self) -> None: ...


class Desk[W: Writer]:
    """Threads in front of a database."""

    def __init__(self, writer: W) -> None:
        self._writer = writer
        self._writing = ThreadPoolExecutor(1, "writer")
        self._reading = ThreadPoolExecutor(READERS, "reader")
        self._jobs: deque[float] = deque()
        """When each thing that is to be written was handed over, oldest first."""
        self._last = 0.0
        """When the writer was last done with something."""

    @property
    def busy(self) -> bool:
        """Whether the writer has something to do."""
        return bool(self._jobs)

    @property
    def waiting(self) -> int:
        """How much the writer has to do."""
        return len(self._jobs)

    @property
    def fault(self) -> str | None:
        """Why nothing is written now, None where all is well."""
        if self._jobs:
            waiting = time.monotonic() - max(self._jobs[0], self._last)
            if waiting > STALLED_SECONDS:
                return f"the disk does not answer ({self._writer.path})"
        return self._writer.fault

    def write[T](self, work: Callable[[W], T]) -> asyncio.Future[T]:
        """Have something written, after everything that was handed over before."""
        loop = asyncio.get_running_loop()
        self._jobs.append(time.monotonic())
        future = loop.run_in_executor(self._writing, work, self._writer)
        future.add_done_callback(self._done)
        return future

    async def ask[T](
        self, question: Callable[[sqlite3.Connection], T], seconds: float = ANSWER_SECONDS
    ) -> T:
        """Return what a question finds in what is committed; OSError without an answer in time."""
        loop = asyncio.get_running_loop()
        looking = loop.run_in_executor(self._reading, look, self._writer.path, question, seconds)
        try:
            return await asyncio.wait_for(looking, seconds + SETTLE_SECONDS)
        except TimeoutError:
            raise OSError(f"{self._writer.path}: no answer from the disk") from None

    def close(self, last: Callable[[W], object]) -> None:
        """Do one thing more, and close. Waits for the disk: the hooks are gone by now."""
        self._reading.shutdown(wait=False, cancel_futures=True)
        self._writing.submit(last, self._writer)
        self._writing.shutdown()
        self._writer.close()

    def _done(self, _future: asyncio.Future[Any]) -> None:
        self._jobs.popleft()
        self._last = time.monotonic()


async def settled(future: asyncio.Future[Any], seconds: float = SETTLE_SECONDS) -> bool:
    """Wait until something is written, but not for long; tell whether it is."""
    await asyncio.wait((future,), timeout=max(seconds, 0.0))
    return future.done()

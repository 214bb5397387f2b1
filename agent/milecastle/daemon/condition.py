"""What is less than it should be, told when it begins and when it ends: an event each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

LOOK_SECONDS = 1.0

type Event = dict[str, Any]


async def follow(degraded: Callable[[], list[str]], tell: Callable[[Event], None]) -> None:
    """Look every second, for ever. ``degraded`` returns a sentence for each thing that is amiss;
    a sentence holds no number that changes with time.
    """
    before: list[str] = []
    while True:
        present = degraded()
        for event in changes(before, present, time.time()):
            tell(event)
        before = present
        await asyncio.sleep(LOOK_SECONDS)


def changes(before: Collection[str], present: Collection[str], now: float) -> Iterator[Event]:
    """Yield an event for each sentence that is new, and for each that is not true any more."""
    for kind, these, those in (("degraded", present, before), ("recovered", before, present)):
        for sentence in these:
            if sentence not in those:
                yield {"kind": kind, "started": now, "what": sentence}

"""How much a worker holds at once, and whether there is room for more.

A worker that runs into its memory limit is killed, and with it every connection that it serves.
So beyond these bounds nothing more is held: what comes then follows the policy's `on_failure`, as
anything that could not be inspected, and costs no more than a copy on its way through.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

EXCHANGES = 2_000
"""Open at once in one worker: a stream takes 110 KB, a body up to its limit."""
HELD = 256 << 20
"""Bytes of bodies that are held at once, as they came."""
MEMORY = 1 << 30
"""Bytes a worker may use where no cgroup says less (the units set the same)."""
NEAR = 0.75
"""Of that memory, beyond which nothing more is taken in."""
LOOK_EVERY = 0.05
"""Seconds between two looks at the memory in use."""
TRIM_EVERY = 1.0
"""Seconds between two requests to the allocator to give back what is free."""
PAGE = os.sysconf("SC_PAGE_SIZE")
STATM = Path("/proc/self/statm")
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


def resident() -> int:
    """Return the bytes of memory that this process uses (proc(5), statm)."""
    return int(STATM.read_text().split()[1]) * PAGE


def allowed() -> int:
    """Return the bytes that this process may use: the least of its cgroups, at most MEMORY."""
    least = MEMORY
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        if number != "0":
            continue
        own = Path(path.lstrip("/"))
        for root in CGROUPS:
            for folder in (own, *own.parents):
                try:
                    said = (root / folder / "memory.max").read_text().strip()
                except OSError:
                    continue
                if said.isdigit():
                    least = min(least, int(said))
    return least


def give_back() -> None:
    """Return free memory to the kernel: the allocator would keep it (malloc_trim(3))."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


@dataclass(slots=True)
class Room:
    """What is open and held now. ``clock`` counts seconds."""

    clock: Callable[[], float]
    memory: int = MEMORY
    used: Callable[[], int] = resident
    trim: Callable[[], None] = give_back
    exchanges: int = EXCHANGES
    most_held: int = HELD
    open: int = 0
    held: int = 0
    shed: int = 0
    """Exchanges for which there was no room."""
    _looked: float = float("-inf")
    _trimmed: float = float("-inf")
    _near: bool = False

    def enter(self) -> bool:
        """Count one more exchange; False where there is no room for its bodies."""
        self.open += 1
        if self.open > self.exchanges or self.scarce():
            self.shed += 1
            return False
        return True

    def leave(self, held: int) -> None:
        """Count an exchange out, with all that was held for it."""
        self.open -= 1
        self.held -= held

    def hold(self, size: int) -> bool:
        """Count bytes that are held from now on; False where they are too many."""
        self.held += size
        return self.held <= self.most_held and not self.scarce()

    def scarce(self) -> bool:
        """Tell whether memory is nearly used up."""
        now = self.clock()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self._near = self.used() > NEAR * self.memory
            if self._near and now - self._trimmed >= TRIM_EVERY:
                self._trimmed = now
                self.trim()
                self._near = self.used() > NEAR * self.memory
        return self._near

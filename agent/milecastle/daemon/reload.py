"""See that a file has changed: edited, replaced by rename, or swapped behind a symlink.

Kubernetes ConfigMaps swap a symlink two folders up; editors rename. So the folders on the way are
watched, and what counts is whether the file's bytes are different.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

SETTLE = 0.05
"""Seconds without another event before the file is read."""
READING = frozenset({"opened", "closed_no_write"})


class Watch(FileSystemEventHandler):
    """Call back, in the event loop, some moments after anything happened around the files."""

    def __init__(self, files: list[Path], changed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._pending: asyncio.TimerHandle | None = None
        self._observer = Observer()
        for folder in sorted({folder for file in files for folder in folders(file)}):
            self._observer.schedule(self, str(folder))
        self._observer.start()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wait until the writer is done. Runs in watchdog's thread."""
        if event.event_type not in READING:
            self._loop.call_soon_threadsafe(self._settle)

    def close(self) -> None:
        """Stop watching."""
        self._observer.stop()
        self._observer.join(timeout=2)

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        self._pending = self._loop.call_later(SETTLE, self._changed)


def folders(file: Path) -> set[Path]:
    """Return the folders in which a change can put other bytes behind this path."""
    found = set()
    here = file.absolute()
    for _ in range(8):  # symlinks to symlinks, bounded
        if here.parent.is_dir():
            found.add(here.parent)
        if not here.is_symlink():
            break
        here = here.parent / here.readlink()
    resolved = file.resolve().parent
    return found | ({resolved} if resolved.is_dir() else set())

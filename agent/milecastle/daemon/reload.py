"""See that a file has changed: edited, replaced by rename, or swapped behind a symlink.

Kubernetes ConfigMaps swap a symlink beside the file; deployments swap one further up; editors
rename. So every folder on the way is watched in which a change can put other bytes behind a path,
and again after each change, for the way may lead elsewhere then. What counts is whether the bytes
are different; that is the reader's matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

SETTLE = 0.02
"""Seconds without another event before the file is read."""
LATEST = 0.06
"""Seconds after the first event at which it is read, though there may be others all the time."""
READING = frozenset({"opened", "closed_no_write"})
LINKS = 16
"""Symlinks on one path that are followed; the kernel's own limit is 40."""


class Watch(FileSystemEventHandler):
    """Call back, in the event loop, some moments after anything happened around the paths."""

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None]) -> None:
        """A path may be a file or a folder, there or not."""
        self._loop = asyncio.get_running_loop()
        self._paths = paths
        self._changed = changed
        self._pending: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._watched: dict[Path, ObservedWatch] = {}
        self._observer = Observer()
        self._follow()
        self._observer.start()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wait until the writer is done. Runs in watchdog's thread."""
        if event.event_type not in READING and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle)

    def close(self) -> None:
        """Stop watching."""
        if self._pending is not None:
            self._pending.cancel()
        self._observer.stop()
        self._observer.join(timeout=2)

    def _settle(self) -> None:
        now = self._loop.time()
        if self._pending is None:
            self._due = now + LATEST
        else:
            self._pending.cancel()
        self._pending = self._loop.call_at(min(now + SETTLE, self._due), self._settled)

    def _settled(self) -> None:
        self._pending = None
        self._follow()
        self._changed()

    def _follow(self) -> None:
        """Watch the folders that matter now, by what they are and not only by their names."""
        wanted = {folder for path in self._paths for folder in folders(path)}
        for folder in [one for one in self._watched if one not in wanted]:
            self._observer.unschedule(self._watched.pop(folder))
        for folder in sorted(wanted - self._watched.keys()):
            try:
                self._watched[folder] = self._observer.schedule(self, str(folder))
            except OSError:  # it went away; what removed it is seen in the folder above
                continue


def folders(path: Path) -> set[Path]:
    """Return the folders, free of symlinks, in which a change can put other bytes behind a path.

    Those are the folder of the path, the path itself where it is a folder, and the folder of each
    symlink on the way. Of a path that is not there, the nearest folder above it that is.
    """
    found: set[Path] = set()
    links = 0
    here = Path("/")
    left = list(path.absolute().parts[1:])
    while left:
        name = left.pop(0)
        if name == "..":
            here = here.parent
            continue
        step = here / name
        if step.is_symlink() and links < LINKS:
            links += 1
            found.add(here)
            target = step.readlink()
            if target.is_absolute():
                here = Path("/")
            left = [*(part for part in target.parts if part != "/"), *left]
        elif step.is_dir():
            here = step
        else:
            break
    return found | {here} | ({here.parent} if not left and here == path.resolve() else set())

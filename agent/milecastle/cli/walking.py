"""A folder's files, opened one by one: bounded, by no symbolic link, on one file system."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from milecastle.cli.faults import InputError

MOST_FILES = 200_000
MOST_BYTES = 4 << 30
LARGEST = 32 << 20
"""Bytes of one file; a larger one is no document that somebody pastes from."""
DEEPEST = 40
NAMED = 20
"""Files of each kind that are named among those left out."""
PASSED_OVER = frozenset(
    {".git", ".hg", ".svn", "node_modules", ".venv", "__pycache__", ".cache", ".tox", "dist"}
)
"""Folders with what others wrote, or a machine."""
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass(slots=True)
class Told:
    """What a walk came to."""

    files: int = 0
    bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason -> files that were left out."""
    reasons: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the first of their names."""
    more: str = ""
    """Which bound ended it early."""

    def take(self, size: int) -> None:
        """Count a file that was indexed."""
        self.files += 1
        self.bytes += size

    def skip(self, name: str, why: str) -> None:
        """Count one that was left out."""
        self.skipped[why] += 1
        names = self.reasons.setdefault(why, [])
        if len(names) < NAMED:
            names.append(name)


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is open; whoever goes on walking closes it."""

    name: str
    """Its path below the folder."""
    descriptor: int
    size: int


def files(root: Path, told: Told) -> Iterator[Found]:
    """Yield the files of a folder, or the one file. InputError where it can't be read at all."""
    try:
        seen = root.stat()
    except OSError as error:
        raise InputError(f"{root}: {error.strerror}") from None
    left = MOST_BYTES
    count = 0
    for path in [root] if stat.S_ISREG(seen.st_mode) else below(root, seen.st_dev, told):
        name = str(path.relative_to(root.parent))
        if count >= MOST_FILES or left <= 0:
            told.more = f"what comes after {count} files or {MOST_BYTES >> 30} GB: {name} and more"
            return
        found = opened(path, name, told)
        if found is None:
            continue
        count += 1
        left -= found.size
        try:
            yield found
        finally:
            os.close(found.descriptor)


def below(root: Path, device: int, told: Told) -> Iterator[Path]:
    """Yield the paths of all files of a folder on this file system, in the order of their names."""

    def unreadable(error: OSError) -> None:
        told.skip(str(error.filename), "can't be read")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        here = Path(folder)
        folders[:] = [
            each
            for each in sorted(folders)
            if each not in PASSED_OVER and len(here.parts) - len(root.parts) < DEEPEST
        ]
        folders[:] = [each for each in folders if on(here / each, device)]
        yield from (here / name for name in sorted(names))


def on(folder: Path, device: int) -> bool:
    """Tell whether a folder is on a file system, and no symbolic link."""
    try:
        seen = folder.lstat()
    except OSError:
        return False
    return seen.st_dev == device and stat.S_ISDIR(seen.st_mode)


def opened(path: Path, name: str, told: Told) -> Found | None:
    """Return an opened regular file; None, and the reason counted, where it is no such thing."""
    try:
        descriptor = os.open(path, OPEN)
    except OSError as error:
        link = path.is_symlink()
        told.skip(name, "symbolic links" if link else f"can't be opened: {error.strerror}")
        return None
    seen = os.fstat(descriptor)
    if not stat.S_ISREG(seen.st_mode):
        why = "no regular files"
    elif seen.st_size > LARGEST:
        why = f"over {LARGEST >> 20} MB"
    else:
        return Found(name, descriptor, seen.st_size)
    told.skip(name, why)
    os.close(descriptor)
    return None

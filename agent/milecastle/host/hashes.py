"""SHA-256 of executables, cached by inode: a fleet runs few programs many times."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from pathlib import Path

LARGEST = 1 << 30
"""Executables over this size (bytes) are not hashed."""

type Identity = tuple[int, int, int, int]


class ExecutableHashes:
    """Hash the file behind ``/proc/PID/exe``; thread-safe enough for one hashing thread.

    The link is opened, not its text: the bytes are those that run, even when the file was
    renamed, deleted, or lies in another mount namespace.
    """

    def __init__(self, capacity: int = 4096, proc: Path = Path("/proc")) -> None:
        self._known: OrderedDict[Identity, str] = OrderedDict()
        self._capacity = capacity
        self._proc = proc

    def known(self, pid: int) -> str | None:
        """Return the hash where it needs no reading of the file."""
        try:
            status = (self._proc / str(pid) / "exe").stat()
        except OSError:
            return None
        return self._known.get(_identity(status))

    def sha256(self, pid: int) -> str | None:
        """Return the executable's hash, reading it at most once; None where it can't be read."""
        try:
            with (self._proc / str(pid) / "exe").open("rb") as file:
                status = os.fstat(file.fileno())
                identity = _identity(status)
                digest = self._known.get(identity)
                if digest is None:
                    if status.st_size > LARGEST:
                        return None
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                    if _identity(os.fstat(file.fileno())) != identity:
                        return None  # written to while it was read
        except OSError:
            return None
        self._known[identity] = digest
        self._known.move_to_end(identity)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return digest


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size

"""The signer's own record: one JSON line for each signature and each refusal, never rewritten.

A line is written before the certificate leaves the process; where it can't be written there is no
signature. The record is bounded: at ``largest`` bytes a file is moved aside, and the oldest goes.
Lines hold names, serials and fingerprints, and no key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from milecastle.model import Json


class Audit:
    """Append lines to ``path``; older ones lie in ``path.1`` (newest) to ``path.KEEP``."""

    def __init__(self, path: Path, *, largest: int = 1 << 20, keep: int = 4) -> None:
        self._path = path
        self._largest = largest
        self._keep = keep
        self._descriptor = self._open()

    def write(self, entry: dict[str, Json]) -> None:
        """Append one line. OSError where it can't be written whole."""
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        if os.fstat(self._descriptor).st_size + len(line) > self._largest:
            self._turn_over()
        if os.write(self._descriptor, line) != len(line):
            raise OSError(f"the audit line was cut short: {self._path}")

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _turn_over(self) -> None:
        def aged(number: int) -> Path:
            return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

        for number in range(self._keep - 1, -1, -1):
            if aged(number).exists():
                aged(number).rename(aged(number + 1))
        os.close(self._descriptor)
        self._descriptor = self._open()

"""Read text that arrives in pieces: report what is found, and say how much may be let go."""

from __future__ import annotations

from dataclasses import dataclass, replace

from milecastle.detect.engine import Engine
from milecastle.model import Finding, Provenance, Role, Segment


@dataclass(frozen=True, slots=True)
class Update:
    """What one piece of text brought."""

    findings: tuple[Finding, ...]
    """Newly complete; offsets into the whole stream's text."""
    safe: int
    """Characters from the stream's beginning that no later finding can touch."""


class StreamScanner:
    def __init__(self, engine: Engine, role: Role, provenance: Provenance) -> None:
        self._engine = engine
        self._segment = Segment("", role, provenance)

    def feed(self, delta: str) -> Update:
        self._segment = replace(self._segment, text=self._segment.text + delta)
        return Update((), 0)

    def close(self) -> Update:
        findings = self._engine.scan_one(self._segment)
        return Update(tuple(findings), len(self._segment.text))

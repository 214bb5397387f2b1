"""One event as it came over the wire, whatever cut the stream into events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LARGEST = 32 << 20
"""Largest single event, bytes: an image in base64 fits. ParseError beyond."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An event of a stream."""

    payload: bytes
    """What the event carries, without the framing."""
    start: int
    """The event's bytes in the stream, framing included: ``start:end``."""
    end: int
    name: str = ""
    """Its type, where the framing has one."""


class Framing(Protocol):
    """Cuts a stream into frames; holds no more than one unfinished frame."""

    @property
    def whole(self) -> bool:
        """The body is one document, that comes when it is closed."""
        ...

    @property
    def offset(self) -> int:
        """Bytes of the stream that belong to whole frames."""
        ...

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are now whole."""
        ...

    def close(self) -> list[Frame]:
        """Return what the end of the stream completes."""
        ...

    def unwrap(self, raw: bytes) -> bytes:
        """Return the payload of one event."""
        ...

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Return the event ``raw`` with another payload, otherwise as it was."""
        ...

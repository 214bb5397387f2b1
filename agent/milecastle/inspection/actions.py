"""What an inspection can ask for. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forward:
    """Let the message go on with this body: the one that came, or a rewritten one."""

    body: bytes
    before: tuple[bytes, ...] = ()
    """Of a WebSocket: messages that go to the client first, for text of theirs was withheld."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Withhold a WebSocket's message and give its sender these; the session goes on."""

    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Answer the client with this instead, in the provider's own shape."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a stream that may go to the client now."""

    data: bytes
    cut: bool = False
    """After these bytes the stream is over for the client, whatever the provider still sends."""

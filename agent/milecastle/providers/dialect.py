"""What a wire format has to provide: one row of functions each, gathered in ``dialects``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from milecastle.model import Json
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask

type ErrorShape = Literal[
    "openai", "anthropic", "google", "aws", "message", "error", "detail", "json-rpc", "connect"
]


def no_closing(answer: Answer, reason: str) -> bytes:
    """Return nothing: the connection's end is all that this grammar has."""
    return b""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one wire format is read and spoken."""

    request: Callable[[Ask], None]
    """Fill in what the body says."""
    response: Callable[[Answer, Json], None]
    """Take an answer that is one JSON document."""
    event: Callable[[Answer, str, Json], None]
    """Take one event of a stream: its name, where the framing has names, and its JSON."""
    error: ErrorShape
    """How this provider writes an error."""
    closing: Callable[[Answer, str], bytes] = no_closing
    socket: bool = False
    """It is spoken over WebSockets: one document a message, both ways."""
    plain_events: frozenset[str] = frozenset()
    """Events whose data is bare text, not JSON; ``event`` is given it as a string."""
    """End a stream whose rest is withheld: answer so far, reason for the reader."""

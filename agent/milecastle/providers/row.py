"""One way to recognise a wire format: what a path, a host and a method have to be."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A way to recognise a format; every field that is set must fit."""

    format: str | None
    """None: an exchange that is not read at all (credentials)."""
    operation: str
    path: re.Pattern[str]
    """Searched in the path without its query. Groups: model, conversation, streams."""
    host: re.Pattern[str] | None = None
    methods: frozenset[str] = frozenset({"POST"})
    everywhere: bool = False
    """It holds at hosts of no catalogue too, where the body proves it."""
    socket: bool = False
    """It is the opening of a WebSocket."""
    proven: bool = False
    """The path says so little that the body has to prove it, also at hosts of the catalogue."""


def row(
    wire: str | None,
    operation: str,
    path: str,
    host: str | None = None,
    *,
    methods: str = "POST",
    everywhere: bool = False,
    socket: bool = False,
    proven: bool = False,
) -> Row:
    """Return a row; the patterns are searched in path and host."""
    return Row(
        wire,
        operation,
        re.compile(path),
        re.compile(host) if host else None,
        frozenset(methods.split()),
        everywhere,
        socket,
        proven,
    )

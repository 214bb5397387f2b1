"""Which session an exchange belongs to: the one place that decides it. Pure.

For now a session is what one process says to one service without a pause of half an hour, kept
apart by the conversation's id where the provider has one. The store asks twice: ``lineage`` gives
the key under which sessions that could go on are looked up, ``continued`` picks among them.
Stitching by message history can replace both without the store noticing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

IDLE_GAP = 1800.0
"""Seconds without a word after which a new session begins."""
CANDIDATES = 64
"""Sessions of one lineage, latest first, that are considered."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session that an exchange may continue."""

    number: int
    id: str
    started: float
    ended: float
    conversation: str | None


def lineage(process: dict[str, Any], service: str | None, host: str, cookie: int | None) -> str:
    """Return the key that exchanges of one session have in common.

    ``exe`` is part of it because exec keeps pid and start time: a shell that becomes another
    program must not lend it its name. Without a process the connection stands in for it.
    """
    if process.get("pid"):
        who = (process["pid"], process.get("started"), process.get("exe"), process.get("uid"))
    else:
        who = ("connection", cookie, None, None)
    return repr((*who, service or host))


def continued(
    candidates: Sequence[Candidate], started: float, ended: float, conversation: str | None
) -> Candidate | None:
    """Return the session that an exchange with these times continues, or None for a new one.

    Records arrive when exchanges end, so one that began earlier may arrive later: the gap is
    taken on both sides.
    """
    for candidate in sorted(candidates, key=lambda each: each.ended, reverse=True):
        near = started - candidate.ended <= IDLE_GAP and candidate.started - ended <= IDLE_GAP
        if near and candidate.conversation == conversation:
            return candidate
    return None


def identify(lineage: str, exchange: str) -> str:
    """Return the id of the session that this exchange begins: 16 hexadecimal digits.

    A digest and not a time, so that a few digits already tell sessions apart.
    """
    return hashlib.blake2b(f"{lineage}\0{exchange}".encode(), digest_size=8).hexdigest()

"""Which session an exchange belongs to: the one place that decides it. Pure.

What is certain comes first: an id that the client names, then a history that was said before, in
the same process or another run of the same program. Without either, what one process says to one
service under the same instructions, without a pause of half an hour, is one session until somebody
converses in it; after that a beginning is a session of its own, unless it begins with a summary.
Other instructions in the same process, and a process under another one's, make a child.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

type Seam = Literal["branched", "resumed", "repeated", "compacted"]
"""What a reader must know where an exchange doesn't simply go on from the one before it: it goes
on from an earlier point of the conversation, from an earlier exchange's end, asks the same again,
or starts over from a summary."""

IDLE_GAP = 1800.0
"""Seconds without a word after which a new session begins."""
CANDIDATES = 64
"""Sessions of one lineage, latest first, that are considered."""
RUN_GAP = 86_400.0
"""Seconds that an agent may wait silently for a child process."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session that an exchange may continue."""

    number: int
    id: str
    started: float
    ended: float
    conversation: str | None
    lineage: str = ""
    system: str | None = None
    """The digest of its instructions; None where it is not a conversation."""
    turns: int = 0
    """How often it went on from its own history."""
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What an exchange says about where it belongs."""

    lineage: str
    started: float
    ended: float
    conversation: str | None
    system: str | None = None
    summary: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where an exchange belongs: in a session or in a new one, a child where it has a parent."""

    session: Candidate | None
    seam: Seam | None = None
    parent: str | None = None


def lineage(process: dict[str, Any], service: str | None, host: str, cookie: int | None) -> str:
    """Return the key that exchanges of one process have in common.

    ``exe`` is part of it because exec keeps pid and start time: a shell that becomes another
    program must not lend it its name. Without a process the connection stands in for it.
    """
    if process.get("pid"):
        who = (process["pid"], process.get("started"), process.get("exe"), process.get("uid"))
    else:
        who = ("connection", cookie, None, None)
    return repr((*who, service or host))


def family(process: dict[str, Any], service: str | None, host: str, cookie: int | None) -> str:
    """Return the key that runs of one program by one user have in common, 16 digits.

    Ids and histories are believed within it only: nobody enters another user's session.
    """
    if not process.get("pid"):
        who: tuple[Any, ...] = ("connection", cookie)
    else:
        who = (process.get("exe"), process.get("uid"), process.get("container"))
    key = repr((*who, service or host)).encode("utf-8", "replace")
    return hashlib.blake2b(key, digest_size=8).hexdigest()


def continued(
    candidates: Sequence[Candidate], started: float, ended: float, conversation: str | None
) -> Candidate | None:
    """Return the session that an exchange with these times continues, or None for a new one.

    Records arrive when exchanges end, so one that began earlier may arrive later: the gap is
    taken on both sides.
    """
    for candidate in sorted(candidates, key=lambda each: each.ended, reverse=True):
        if _near(candidate, started, ended) and candidate.conversation == conversation:
            return candidate
    return None


def near(candidate: Candidate, asked: Asked) -> bool:
    """Tell whether the session was alive when this was asked."""
    return _near(candidate, asked.started, asked.ended)


def _near(candidate: Candidate, started: float, ended: float) -> bool:
    return started - candidate.ended <= IDLE_GAP and candidate.started - ended <= IDLE_GAP


def named(candidates: Sequence[Candidate], asked: Asked, *, known: bool) -> Place | None:
    """Return the place among sessions of the conversation that the exchange names.

    ``known``: something of its history was said before.
    """
    if not candidates:
        return None
    latest = sorted(candidates, key=lambda each: each.ended, reverse=True)
    for candidate in latest:
        if asked.system is None or candidate.system in (None, asked.system):
            over = asked.system is not None and candidate.turns > 0 and not known
            return Place(candidate, "compacted" if over else None)
    return Place(None, parent=eldest(latest))


def loose(candidates: Sequence[Candidate], asked: Asked) -> Place:
    """Return the place of an exchange that names no id and whose history nobody knows."""
    alive = [
        one for one in candidates if near(one, asked) and one.conversation == asked.conversation
    ]
    alive.sort(key=lambda each: each.ended, reverse=True)
    if asked.system is None:
        return Place(next(iter(alive), None))
    found = next((one for one in alive if one.system in (None, asked.system)), None)
    if found is None:
        return Place(None, parent=eldest(alive))
    if found.turns == 0:
        return Place(found)
    return Place(found, "compacted") if asked.summary else Place(None)


def eldest(candidates: Sequence[Candidate]) -> str | None:
    """Return the id of the session that the others are children of."""
    if not candidates:
        return None
    first = min(candidates, key=lambda each: (each.parent is not None, each.started))
    return first.parent or first.id


def identify(lineage: str, exchange: str) -> str:
    """Return the id of the session that this exchange begins: 16 hexadecimal digits.

    A digest and not a time, so that a few digits already tell sessions apart.
    """
    return hashlib.blake2b(f"{lineage}\0{exchange}".encode(), digest_size=8).hexdigest()

"""What is done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from milecastle.model.attribution import Process, Standing


class Action(StrEnum):
    """What can be done with a message, weakest first; ``rank`` orders them.

    The stronger an action, the less of a message gets through: all of it, all but the findings,
    the part of a stream before them, nothing, not even the connection.
    """

    ALLOW = "allow"
    ALERT = "alert"
    COACH = "coach"
    PSEUDONYMISE = "pseudonymise"
    REDACT = "redact"
    NEUTRALISE = "neutralise"
    CUT = "cut"
    LIMIT = "limit"
    BLOCK = "block"
    REFUSE = "refuse"

    @property
    def rank(self) -> int:
        return _RANKS[self]

    @property
    def edits(self) -> bool:
        """Whether the message goes on with something else in the place of findings."""
        return self in _EDITS

    @property
    def stops(self) -> bool:
        """Whether the message, or the rest of it, does not go on."""
        return self.rank >= Action.CUT.rank


_RANKS = {action: rank for rank, action in enumerate(Action)}
_EDITS = frozenset({Action.PSEUDONYMISE, Action.REDACT, Action.NEUTRALISE})

type Mode = Literal["monitor", "enforce"]
type OnFailure = Literal["open", "closed"]
type Direction = Literal["request", "response"]
type Style = Literal["error", "message"]
"""How a client is told of a stopped message: the provider's error, or an assistant's words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy decided about one message, and which rule decided it."""

    action: Action
    rule: str | None
    """The id of the deciding rule; None where no rule matched."""
    reason: str
    mode: Mode = "enforce"
    style: Style = "error"
    """Of a verdict that stops a message."""

    @property
    def applied(self) -> Action:
        """What is really done: in monitor mode nothing stronger than an alert."""
        if self.mode == "monitor" and self.action.rank > Action.ALERT.rank:
            return Action.ALERT
        return self.action


ALLOWED = Verdict(Action.ALLOW, None, "no rule matched")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a policy rule can match on, beside the findings."""

    service: str | None
    category: str = ""
    standing: Standing = Standing.UNSANCTIONED
    operation: str = ""
    model: str = ""
    process: Process | None = None
    direction: Direction = "request"
    account: str = ""
    """The kind of account that is used, where it shows."""
    destination: str = ""
    """The host name that the request goes to."""
    host: str = ""
    """The name of this machine."""
    size: int | None = None
    """Bytes of the message."""
    tokens: int | None = None
    """Of the exchange as billed; of a request, about."""

"""What a `limit` counts: whose calls and tokens, in which span, and how many there were.

Pure: the clock is an argument. The daemon holds the one Meter of a host, for workers come and go.
A worker asks it about the charges of a request before it judges that request (`spend`), and tells
it afterwards what the answer used (`spent`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from milecastle.model import Mode, ParseError, Subject

type Unit = Literal["calls", "tokens"]
type Counted = Literal["user", "process", "host"]

SPANS: Mapping[str, int] = {"minute": 60, "hour": 3600, "day": 86_400}
"""Seconds of what a limit can be ``per``."""
LONGEST = 512
"""Characters of a rule's id, and of whose sum it is."""
STEPS = 60
"""Parts of a span that are forgotten one by one."""
MOST_COUNTED = 20_000
"""Sums that a meter holds; those that nobody asked about for longest are forgotten first."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a rule lets through."""

    unit: Unit
    most: int
    per: str = "hour"
    """A key of SPANS."""
    by: Counted = "user"


@dataclass(frozen=True, slots=True)
class Charge:
    """One sum that a request counts against."""

    rule: str
    who: str
    """Whose sum: ``uid 1000``, ``uid 1000 /usr/bin/node``, ``host``."""
    unit: Unit
    most: int
    seconds: int
    mode: Mode = "enforce"


WHO: Mapping[Counted, Callable[[Subject], str]] = {
    "user": lambda s: f"uid {s.process.uid}" if s.process else "unknown",
    "process": lambda s: f"uid {s.process.uid} {s.process.exe}" if s.process else "unknown",
    "host": lambda _: "host",
}
"""Whose sum a request counts against. What is not known shares one sum, so it can't get around."""


def charge(rule: str, limit: Limit, subject: Subject, mode: Mode = "enforce") -> Charge:
    """Return what a request of this subject counts against."""
    who = WHO[limit.by](subject)[:LONGEST]
    return Charge(rule, who, limit.unit, limit.most, SPANS[limit.per], mode)


def told(charge: Charge) -> list[Any]:
    """Return a charge as a socket carries it."""
    return [charge.rule, charge.who, charge.unit, charge.most, charge.seconds, charge.mode]


def heard(value: object) -> Charge:
    """Return the charge that ``told`` gave. ParseError where it is none."""
    match value:
        case [
            str(rule),
            str(who),
            "calls" | "tokens" as unit,
            int(most),
            int(seconds),
            "monitor" | "enforce" as mode,
        ] if max(len(rule), len(who)) <= LONGEST and seconds in SPANS.values() and most > 0:
            return Charge(rule, who, unit, most, seconds, mode)
    raise ParseError("a charge is [rule, who, unit, most, seconds, mode]")


@dataclass(slots=True)
class Sum:
    """What was counted in the last span, oldest step first."""

    steps: deque[list[int]] = field(default_factory=deque)
    """Pairs of a step's number and what it came to."""
    total: int = 0


class Meter:
    """Sums over sliding spans. Never counts less than the span holds, nor a step more than it."""

    def __init__(self, most: int = MOST_COUNTED) -> None:
        self._most = most
        self._sums: OrderedDict[tuple[str, str, str, int], Sum] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sums)

    def spend(self, charges: Sequence[Charge], now: float) -> dict[str, float]:
        """Return the rules whose limit is reached, each with the time at which there is room again.

        The call is counted against all charges, unless an enforced one stops it. Tokens are known
        after the answer only: they are asked about here, and counted by ``add``.
        """
        over: dict[str, float] = {}
        for each in charges:
            counted = self._sum(each, now)
            if counted.total >= each.most:
                over[each.rule] = room(counted, each)
        if not any(each.mode == "enforce" and each.rule in over for each in charges):
            for each in charges:
                if each.unit == "calls":
                    self.add(each, 1, now)
        return over

    def add(self, charge: Charge, amount: int, now: float) -> None:
        """Count what has been used, whatever the limit says."""
        if amount <= 0:
            return
        counted, current = self._sum(charge, now), step(charge, now)
        if not counted.steps or counted.steps[-1][0] < current:
            counted.steps.append([current, 0])
        counted.steps[-1][1] += amount
        counted.total += amount

    def _sum(self, charge: Charge, now: float) -> Sum:
        """Return a charge's sum without what has left the span."""
        key = (charge.rule, charge.who, charge.unit, charge.seconds)
        counted = self._sums.setdefault(key, Sum())
        self._sums.move_to_end(key)
        while len(self._sums) > self._most:
            self._sums.popitem(last=False)
        gone = step(charge, now) - STEPS
        while counted.steps and counted.steps[0][0] < gone:
            counted.total -= counted.steps.popleft()[1]
        return counted


def room(counted: Sum, charge: Charge) -> float:
    """Return the time at which a sum will be below its limit, if nothing is added."""
    left = counted.total
    for number, used in counted.steps:
        left -= used
        if left < charge.most:
            return (number + STEPS + 1) * charge.seconds / STEPS
    return 0.0


def step(charge: Charge, now: float) -> int:
    """Return the number of the step that a time falls into."""
    return int(now * STEPS / charge.seconds)

"""What is usual for one program of one user at one service, and what is not. Pure.

Robust statistics over a bounded history of hours: median and MAD, so that one wild day neither
raises the bar for the next nor hides in an average. Nothing is judged before enough was seen, and
each kind of warning is given once for its hour or day. A warning is all that comes of it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from milecastle.model import Severity

HOUR, DAY = 3600, 86_400
HOURS = 400
"""Hours with calls that are remembered; the oldest are forgotten first."""
LEARNING_HOURS = 20
"""Hours with calls, on LEARNING_DAYS days, before an hour can be unusual."""
LEARNING_DAYS = 5
FAR = 6.0
"""Deviations from the median (MAD, scaled to a normal deviation) that are unusual."""
SCALE = 1.4826
LEAST_SPREAD = 0.25
"""Of the median: what is nearly constant may still vary by so much."""
TIMES = 3.0
"""And at least so many times the median."""
FEWEST_CALLS, FEWEST_TOKENS = 120, 200_000
"""In an hour, in a day: less is nobody's concern, however unusual."""
LOOP = 12
"""Equal requests, or equal tool calls of a model, within LOOP_SECONDS."""
LOOP_SECONDS = 900
RECENT = 100

UNUSUAL_VOLUME = "unusual-volume"
UNUSUAL_SPEND = "unusual-spend"
UNUSUAL_HOUR = "unusual-hour"
FIRST_USE = "first-use"
LOOPING = "loop"


class Warned(NamedTuple):
    """A warning: the rule, how grave, and why in a few words."""

    rule: str
    severity: Severity
    why: str


@dataclass(slots=True)
class Spent:
    """What was used in an hour."""

    calls: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usual:
    """What the hours before this one come to; it holds for all of the hour."""

    hour: int
    learned: bool = False
    calls: float = 0.0
    """In an hour with calls; ``tokens`` on a day with calls; the ``far`` ones are unusual."""
    far_calls: float = 0.0
    tokens: float = 0.0
    far_tokens: float = 0.0
    active: frozenset[int] = frozenset()
    """Hours of the day (UTC) with calls."""

    @classmethod
    def of(cls, habit: Habit, hour: int) -> Usual:
        """Return what is usual before an hour."""
        past = {each: spent for each, spent in habit.hours.items() if each < hour}
        days = by_day(past)
        days.pop(hour * HOUR // DAY, None)
        if not past or not days:
            return cls(hour)
        calls = [spent.calls for spent in past.values()]
        tokens = [spent.tokens for spent in days.values()]
        return cls(
            hour,
            len(past) >= LEARNING_HOURS and len(days) >= LEARNING_DAYS,
            median(calls),
            ceiling(calls),
            median(tokens),
            ceiling(tokens),
            frozenset(each % 24 for each in past),
        )


@dataclass(slots=True)
class Habit:
    """The history of one program of one user at one service."""

    hours: dict[int, Spent] = field(default_factory=dict)
    """Hour since the epoch -> what was used; only hours with calls."""
    told: dict[str, int] = field(default_factory=dict)
    """Rule -> the hour, or the day, for which it was told last."""
    usual: Usual | None = None
    """As of the last hour that was judged."""
    recent: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=RECENT))
    """(time, digest) of the latest requests and tool calls."""

    def add(self, now: float, calls: int, tokens: int) -> Spent:
        """Count what was used; return the hour's sum."""
        hour = int(now // HOUR)
        spent = self.hours.setdefault(hour, Spent())
        spent.calls += calls
        spent.tokens += tokens
        while len(self.hours) > HOURS:
            del self.hours[min(self.hours)]
        return spent

    def of_day(self, day: int) -> Spent:
        """Return what was used on a day (UTC, counted since the epoch)."""
        found = Spent()
        for hour in range(day * 24, day * 24 + 24):
            if spent := self.hours.get(hour):
                found.calls += spent.calls
                found.tokens += spent.tokens
        return found

    def once(self, rule: str, period: int) -> bool:
        """Tell whether a warning was not given yet for this hour or day."""
        if self.told.get(rule) == period:
            return False
        self.told[rule] = period
        return True


def unusual(habit: Habit, now: float, local_hour: int) -> Iterator[Warned]:
    """Yield what is unusual about what was just added. ``local_hour`` is 0 to 23."""
    hour, day = int(now // HOUR), int(now // DAY)
    usual = habit.usual
    if usual is None or usual.hour != hour:
        usual = habit.usual = Usual.of(habit, hour)
    if not usual.learned:
        return
    calls = habit.hours[hour].calls
    if calls >= FEWEST_CALLS and calls > usual.far_calls and habit.once(UNUSUAL_VOLUME, hour):
        why = f"{calls} calls in this hour, usually {usual.calls:.0f}"
        yield Warned(UNUSUAL_VOLUME, Severity.MEDIUM, why)
    tokens = habit.of_day(day).tokens
    if tokens >= FEWEST_TOKENS and tokens > usual.far_tokens and habit.once(UNUSUAL_SPEND, day):
        why = f"{tokens} tokens today, usually {usual.tokens:.0f}"
        yield Warned(UNUSUAL_SPEND, Severity.MEDIUM, why)
    offset = local_hour - hour % 24
    active = {(each + offset) % 24 for each in usual.active}
    near = {(local_hour + step) % 24 for step in (-1, 0, 1)}
    if not active & near and habit.once(UNUSUAL_HOUR, day):
        why = f"never before between {(local_hour - 1) % 24}:00 and {(local_hour + 2) % 24}:00"
        yield Warned(UNUSUAL_HOUR, Severity.LOW, why)


def by_day(hours: Mapping[int, Spent]) -> dict[int, Spent]:
    """Return the sums of days."""
    days: dict[int, Spent] = {}
    for hour, spent in hours.items():
        day = days.setdefault(hour * HOUR // DAY, Spent())
        day.calls += spent.calls
        day.tokens += spent.tokens
    return days


def ceiling(usual: Sequence[int]) -> float:
    """Return the value from which on one is far above these."""
    middle = median(usual)
    spread = SCALE * median([abs(each - middle) for each in usual])
    return max(middle + FAR * max(spread, LEAST_SPREAD * middle), TIMES * middle)


def looping(habit: Habit, now: float, digests: Iterable[str]) -> Iterator[Warned]:
    """Take note of a request and of the tool calls in its answer; yield where they go round."""
    habit.recent.extend((now, digest) for digest in digests)
    counted = Counter(digest for at, digest in habit.recent if now - at <= LOOP_SECONDS)
    most = max(counted.values(), default=0)
    if most >= LOOP and habit.once(LOOPING, int(now // LOOP_SECONDS)):
        why = f"the same request or tool call {most} times within {LOOP_SECONDS // 60} minutes"
        yield Warned(LOOPING, Severity.MEDIUM, why)

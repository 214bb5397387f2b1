"""Who counts calls and tokens for the policy's limits: the daemon, for all workers of the host.

Without a daemon (in a plain mitmdump) the process counts for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from milecastle import policy
from milecastle.policy import Charge
from milecastle.proxy.line import LineError, RefusedError
from milecastle.wire import WireError


class UncountedError(Exception):
    """Whether a limit is reached is not known now."""


class Counter(Protocol):
    """Counts what is used."""

    async def spend(self, charges: Sequence[Charge]) -> Mapping[str, float]: ...
    def spent(self, charges: Sequence[Charge], tokens: int) -> None: ...


class Alone:
    """Counts for one process. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._meter = policy.Meter()

    async def spend(self, charges: Sequence[Charge]) -> Mapping[str, float]:
        """Count a call; return the rules whose limit is reached, with the times it ends."""
        return self._meter.spend(charges, self._clock())

    def spent(self, charges: Sequence[Charge], tokens: int) -> None:
        """Count the tokens that an answer used."""
        for charge in charges:
            if charge.unit == "tokens":
                self._meter.add(charge, tokens, self._clock())


async def reached(counter: Counter, charges: Sequence[Charge]) -> Mapping[str, float]:
    """Return the rules whose limit is reached. UncountedError where nobody can say."""
    if not charges:
        return {}
    try:
        return await counter.spend(charges)
    except (LineError, RefusedError, TimeoutError, WireError) as error:
        raise UncountedError(type(error).__name__) from None

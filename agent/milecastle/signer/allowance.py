"""A token bucket: so many at once, so many a second. The clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """Full at first; refills by ``rate`` a second up to ``burst``."""

    burst: float
    rate: float
    left: float = -1.0
    since: float = 0.0
    """Seconds, of any clock that never goes back."""

    def __post_init__(self) -> None:
        self.left = self.burst

    def take(self, now: float) -> bool:
        """Take one and tell True, or tell False and take nothing."""
        self.left = min(self.burst, self.left + max(0.0, now - self.since) * self.rate)
        self.since = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True

"""What the kernel's side could not do lately, in sentences for `milecastle status`.

The kernel counts everything that it skips or loses. A count that rises is told for a minute; then
it is history, which the counters themselves keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from milecastle.kernel.layout import FLOWS

TOLD_SECONDS = 60.0

LOSSES: Mapping[str, tuple[str, ...]] = {
    "connections come faster than they are read: some are missing from the ledger": (
        "flow_unreported",
        "record_unreadable",
    ),
    "the kernel's tables of connections are full: some connections have no owner": (
        "flow_lost",
        "port_lost",
        "unattributed",
    ),
    "the kernel's table of addresses is full: some connections are not recognised": (
        "address_lost",
    ),
    "processes come and go faster than they are read: the shortest are known by pid and name": (
        "process_unreported",
        "life_forgotten",
    ),
    "DNS answers come faster than they are read: some names are not learnt": ("dns_unreported",),
    "a connection that was cut could not be ended: its client waits until it gives up": (
        "socket_undestroyed",
    ),
}
"""A sentence, and the counters that rise when it is true."""
CROWDED = (
    "more connections to AI services in a minute than the kernel remembers: one that a worker "
    "takes up late may have no owner"
)
MADE = ("redirected", "direct", "refused")
WITHOUT_PROCESSES = (
    "processes that end at once are known by pid, user and name alone, and no service can be "
    "refused to a program: {lack}"
)


class Pressure:
    """Remembers when each count rose."""

    def __init__(self, lacks: Sequence[str]) -> None:
        """``lacks`` is `Kernel.lacks`."""
        self._lacks = lacks
        self._before: dict[str, int] = {}
        self._rose: dict[str, float] = {}
        self._minute: tuple[float, int] | None = None

    def sentences(self, counters: Mapping[str, int], now: float) -> list[str]:
        """Return what is to be said. ``now`` is time.monotonic()."""
        for sentence, names in LOSSES.items():
            count = sum(counters.get(name, 0) for name in names)
            if count > self._before.get(sentence, 0):
                self._rose[sentence] = now
            self._before[sentence] = count
        self._crowd(sum(counters.get(name, 0) for name in MADE), now)
        return [*self._lacking(), *(one for one, at in self._rose.items() if recent(at, now))]

    def _crowd(self, made: int, now: float) -> None:
        """Compare the connections of each minute with what the table holds."""
        began, before = self._minute or (now, made)
        if made - before > FLOWS:
            self._rose[CROWDED] = now
        if self._minute is None or now - began >= TOLD_SECONDS or made - before > FLOWS:
            self._minute = (now, made)

    def _lacking(self) -> Iterator[str]:
        for lack in self._lacks:
            yield WITHOUT_PROCESSES.format(lack=lack.removeprefix("processes: "))


def recent(at: float, now: float) -> bool:
    return now - at < TOLD_SECONDS

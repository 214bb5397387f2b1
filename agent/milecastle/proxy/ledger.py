"""What is reported of exchanges and connections, once each, and never at the cost of traffic.

A record is made and sent a moment after the answer went out: to build one takes as long as a
third of the rest, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy import http

from milecastle.model import Service
from milecastle.proxy import guard, heads, records
from milecastle.proxy.claims import Claims
from milecastle.proxy.link import Caller
from milecastle.proxy.measure import Measure
from milecastle.proxy.passage import Passage

type Act = Callable[[], None]


def at_once(act: Act) -> None:
    """Defer nothing."""
    act()


@dataclass(frozen=True, slots=True)
class Ledger:
    """Makes records. ``clock`` gives Unix seconds; ``defer`` calls a function a little later."""

    report: Callable[[records.Record], None]
    clock: Callable[[], float]
    randomness: Callable[[int], bytes]
    defer: Callable[[Act], object] = at_once
    tell: Callable[[int, str, str], None] = lambda _cookie, _name, _outcome: None
    """Told the name of a connection and what became of it."""
    claims: Claims | None = None
    """Reads what a request says of its sender."""

    def exchange_id(self, now: float) -> str:
        """Return a new id, unique on this host."""
        return records.exchange_id(now, self.randomness(10))

    def close(self, flow: http.HTTPFlow, way: Passage) -> None:
        """Report an exchange that is over, if it was inspected or should have been."""
        if way.recorded or not (way.inspection or way.error):
            return
        way.recorded = True
        ended = self.clock()
        status = flow.response.status_code if flow.response else None
        self.defer(
            lambda: self._tell(
                lambda: exchange_record(flow, way, ended, status) | self._claimed(flow, way)
            )
        )

    def _claimed(self, flow: http.HTTPFlow, way: Passage) -> records.Record:
        """Return what the exchange says of client and account."""
        if self.claims is None:
            return {}
        answered = heads.lowered(flow.response.headers) if flow.response else {}
        asked = heads.lowered(flow.request.headers)
        return self.claims.of(way.host, flow.request.path, asked, answered, way.client)

    def seen(self, caller: Caller | None, name: str, outcome: str) -> None:
        """Tell that a connection was ``decrypted``, ``passed``, ... under this name."""
        if caller is not None:
            readable = name[:253].encode("ascii", "replace").decode()
            self.defer(lambda: self.tell(caller.cookie, readable, outcome))

    def note(
        self,
        caller: Caller | None,
        host: str,
        service: Service | None,
        error: str,
        reason: str,
        action: str = "alert",
    ) -> None:
        """Report something about a connection that carried no exchange."""
        now = self.clock()
        record = records.bare(
            cookie=caller.cookie if caller else 0,
            exchange=self.exchange_id(now),
            started=now,
            ended=now,
            host=host,
            service=service.id if service else None,
            error=error,
            reason=reason,
            action=action,
        )
        self.defer(lambda: self._tell(lambda: record))

    def _tell(self, make: Callable[[], records.Record]) -> None:
        try:
            self.report(make())
        except Exception as error:  # noqa: BLE001 - a record may be lost, the exchange is over
            guard.report("record", error)


def measured(record: records.Record, flow: http.HTTPFlow) -> records.Record:
    """Return a record with size and digest of bodies that passed without being read."""
    for direction, message in (("request", flow.request), ("response", flow.response)):
        measure = message.stream if message else None
        if isinstance(measure, Measure):
            record[f"{direction}_bytes"] = measure.size
            record.setdefault("attributes", {})[f"milecastle.{direction}.sha256"] = measure.sha256
    return record


def exchange_record(
    flow: http.HTTPFlow, way: Passage, ended: float, status: int | None
) -> records.Record:
    """Return the record of an exchange: what was said, where it was inspected."""
    if way.inspection is not None:
        record = way.inspection.record(ended, way.first_byte_ms)
        record["status"] = status
        if way.error:
            record.setdefault("attributes", {}).setdefault("error.type", way.error)
        return measured(record, flow)
    record = records.bare(
        cookie=way.cookie,
        exchange=way.exchange,
        started=way.started,
        ended=ended,
        host=way.host,
        service=way.service.id if way.service else None,
        error=way.error,
        reason=f"not inspected: {way.error}",
        action="block" if way.refusal else "alert",
        method=flow.request.method,
        path=flow.request.path.partition("?")[0][:1024],
        status=status,
    )
    return measured(record, flow)

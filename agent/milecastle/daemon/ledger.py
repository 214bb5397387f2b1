"""The ledger: every connection to an AI service, and how much of it was seen.

The kernel tells of a connection at connect(), the worker of its name a moment later, exchanges come
when they are over. They are put together here for a second, handed over in batches, and written by
a thread with a database of its own: nothing on the event loop waits for a disk. What doesn't fit
is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from milecastle.catalogue import SELFTEST, UNKNOWN_AI
from milecastle.daemon.desk import Desk, settled
from milecastle.daemon.tasks import bug
from milecastle.host import Held
from milecastle.kernel import Flow
from milecastle.kernel.flows import UDP
from milecastle.kernel.layout import Outcome, Reason
from milecastle.model import Attribution, Owner, Service
from milecastle.store import Register, coverage, listing
from milecastle.store.entries import Account, Called, Entry, Named, Noted, Opened, Shared

log = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0
"""How long a connection waits before it is handed over."""
NAME_SECONDS = 10.0
"""How long one waits whose client has not said yet which name it wants."""
PATIENT = 1024
"""Connections that may wait so long, all at once."""
TICK_SECONDS = 0.25
LIFE_SECONDS = 10.0
"""How often it is noted that the daemon lives: as exact as a gap can be known."""
PRUNE_SECONDS = 3600.0
WRITE_SECONDS = 5.0
"""How long somebody waits for what has to be written before it counts."""
MOST_WAITING = 20_000
"""Entries that may wait for the disk: four seconds at 5,000 connections a second."""

INFINITY = float("inf")

OUTCOMES: Mapping[Outcome, str] = {
    Outcome.REDIRECTED: "redirected",
    Outcome.DIRECT: "direct",
    Outcome.REFUSED: "refused",
}
CODES: Mapping[Reason, str] = {
    Reason.NONE: "",
    Reason.POLICY: "policy",
    Reason.BOUND_DEVICE: "bound_device",
    Reason.HEARTBEAT: "heartbeat",
    Reason.NO_LISTENER: "no_listener",
    Reason.QUIC: "quic",
    Reason.LATE_NAME: "late_name",
    Reason.LOCAL: "local",
    Reason.EXCLUDED: "excluded",
}
SEEN: Mapping[str, tuple[str, str]] = {
    "decrypted": ("redirected", ""),
    "passed": ("passed through", "policy"),
    "no_name": ("passed through", "no_name"),
    "not_http": ("passed through", "not_http"),
    "refused_ca": ("passed through", "client_refused_certificate"),
    "wants_certificate": ("passed through", "upstream_refused"),
}
"""What a worker may say of a connection: the outcome, and the reason for it."""
UNREAD = frozenset({"unknown_shape", "upstream_refused"})
"""What a worker may say of something that it passed on unread."""


class Ledger:
    """Collects on the event loop, writes in a thread."""

    def __init__(
        self,
        register: Register,
        match: Callable[[str], Service | None],
        recall: Callable[[int], Attribution | None],
        *,
        keep_days: float,
    ) -> None:
        self._register = register
        self._match = match
        self._recall = recall
        self._keep_days = keep_days
        self._pending: OrderedDict[int, tuple[float, Opened]] = OrderedDict()
        """By cookie, with the monotonic time at which it settles."""
        self._batch: list[Entry] = []
        self._desk = Desk(register)
        self._writing: asyncio.Future[None] | None = None
        self._began: float | None = None
        self.dropped = 0
        """Entries that did not fit."""

    # --- what happens -----------------------------------------------------------------------

    def opened(self, flow: Flow, attribution: Attribution) -> None:
        """Take a connection as the kernel reported it; the same one again changes nothing."""
        if attribution.service == SELFTEST.id:
            return
        now = time.monotonic()
        known = self._pending.get(flow.cookie)
        if known and known[1].code == CODES[flow.reason] and known[1].address == flow.address:
            return  # QUIC tells of each datagram
        if len(self._pending) + len(self._batch) >= MOST_WAITING:
            self.dropped += 1
            return
        if known:
            self._settle(self._pending.pop(flow.cookie)[1])
        entry = Opened(
            at=time.time() - (time.monotonic_ns() - flow.opened_ns) / 1e9,
            cookie=flow.cookie,
            process=attribution.process,
            service=attribution.service,
            address=flow.address,
            port=flow.port,
            protocol="udp" if flow.protocol == UDP else "tcp",
            grade=attribution.grade.value,
            outcome=OUTCOMES[flow.outcome],
            code=CODES[flow.reason],
            server=attribution.server,
        )
        if entry.outcome == "redirected":
            entry.code = ""
        elif entry.protocol == "udp" and entry.outcome == "direct":
            entry.code = "quic"
        self._pending[flow.cookie] = (now + SETTLE_SECONDS, entry)

    def older(self, held: Held, attribution: Attribution) -> None:
        """Take a connection that was there before it could be seen."""
        self._add(
            Opened(
                at=time.time(),
                cookie=held.cookie,
                process=attribution.process,
                service=attribution.service,
                address=held.address,
                port=held.port,
                protocol="tcp",
                grade=attribution.grade.value,
                outcome="direct",
                code="older",
                owners=attribution.owners,
            )
        )

    def shared(self, cookie: int, owners: tuple[Owner, ...]) -> None:
        """Take note that several processes hold the socket of a connection."""
        waiting = self._pending.get(cookie)
        if waiting is None:
            self._add(Shared(cookie, owners))
        else:
            waiting[1].owners = owners

    def seen(self, cookie: int, name: str, what: str) -> None:
        """Take a worker's word on a redirected connection. ValueError: it is no such word."""
        known = self._recall(cookie)
        if known is None or known.service == SELFTEST.id:
            return
        service = self._service(name, known)
        if what in UNREAD:
            if service:
                at, host = time.time(), host_of(service, name)
                self._add(Noted(at, known.process, service, coverage.METADATA, what, host))
            return
        if what not in SEEN:
            raise ValueError(f"{what[:40]!r} is not what happens to a connection")
        outcome, code = SEEN[what]
        if what == "passed" and service is None:
            code = "not_listed"
        of = service or (None if name else known.service)
        late = cookie not in self._pending
        self._correct(Named(cookie, of, name, outcome, code))
        if code == "not_listed":  # how often a service's address is another's, too
            self._add(Noted(time.time(), known.process, "", coverage.METADATA, code))
        if late and of and (state := coverage.of_connection(outcome, code)):
            self._add(Noted(time.time(), known.process, of, state, code, host_of(of, name)))

    def called(self, record: Mapping[str, Any], attribution: Attribution | None) -> None:
        """Take an exchange that the store has accepted."""
        service = self._service(record["host"], attribution)
        if service is None or service == SELFTEST.id:
            return
        process = attribution.process if attribution else None
        at, attributes = record["ended"], record["attributes"]
        cookie = record.get("cookie")
        host = host_of(service, record["host"])
        if seen := coverage.of_exchange(record):
            self._add(Noted(at, process, service, *seen, host))
        if not record.get("method"):
            return  # it tells of a connection on which nothing was called
        if isinstance(cookie, int):
            name = Named(cookie, service, record["host"], "redirected", calls=1)
            self._correct(name)
        client, evidence = client_of(record)
        self._add(
            Called(
                at=at,
                process=process,
                service=service,
                host=host,
                client=client,
                evidence=evidence,
                account=account_of(record),
                request_bytes=record.get("request_bytes") or 0,
                response_bytes=record.get("response_bytes") or 0,
                input_tokens=attributes.get("gen_ai.usage.input_tokens") or 0,
                output_tokens=attributes.get("gen_ai.usage.output_tokens") or 0,
            )
        )

    def _service(self, name: str, known: Attribution | None) -> str | None:
        """Return the service by the name that was said; a server of this host has none."""
        if known is not None and known.local:
            return known.service
        service = self._match(name) if name else None
        return service.id if service else None

    def _correct(self, named: Named) -> None:
        """Complete a connection where it waits, or else where it is written down."""
        waiting = self._pending.get(named.cookie)
        if waiting is None:
            self._add(named)
        elif waiting[1].outcome in ("redirected", "passed through"):
            entry = waiting[1]
            entry.service, entry.name = named.service, named.name
            entry.host = host_of(named.service, named.name)
            entry.outcome, entry.code = named.outcome, named.code
            entry.calls += named.calls

    def _add(self, entry: Entry) -> None:
        if len(self._pending) + len(self._batch) >= MOST_WAITING:
            self.dropped += 1
        else:
            self._batch.append(entry)

    # --- handing over ---------------------------------------------------------------------------

    async def keep(self) -> None:
        """Hand batches over for ever; note that the daemon lives, and forget what is old."""
        self._began = time.time()
        await self.write(lambda register: register.begin_life(time.time()))
        lived = pruned = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self._hand_over(now)
            if self._desk.busy:
                continue  # perhaps for long: nothing may pile up behind it
            if now - lived > LIFE_SECONDS:
                lived = now
                self._submit(lambda register: register.live(time.time()))
            elif now - pruned > PRUNE_SECONDS:
                pruned = now
                self._submit(lambda register: register.prune(time.time(), self._keep_days))

    def _hand_over(self, now: float) -> None:
        """Give the thread what has settled, if it has written what it was given before."""
        silent: dict[int, tuple[float, Opened]] = {}
        while self._pending:
            cookie, (due, entry) = next(iter(self._pending.items()))
            if due > now:
                break
            del self._pending[cookie]
            nameless = entry.outcome == "redirected" and not entry.name and len(silent) < PATIENT
            if nameless and time.time() - entry.at < NAME_SECONDS and now < INFINITY:
                silent[cookie] = (now + SETTLE_SECONDS, entry)
            else:
                self._settle(entry)
        self._pending |= silent
        if self._batch and (self._writing is None or self._writing.done()):
            batch, self._batch = self._batch, []
            self._writing = self._submit(lambda register: register.write(batch, time.time()))

    def _settle(self, entry: Opened) -> None:
        known = self._recall(entry.cookie)
        if known is not None and known.process.pid == entry.process.pid:
            entry.process = known.process  # by now with the executable's hash
        self._batch.append(entry)

    def _submit[T](self, act: Callable[[Register], T]) -> asyncio.Future[T]:
        future = self._desk.write(act)
        future.add_done_callback(complain)
        return future

    async def write[T](self, act: Callable[[Register], T]) -> T:
        """Have something written besides, and return what came of it; OSError without an answer
        in time.
        """
        future = self._submit(act)
        if not await settled(future, WRITE_SECONDS):
            raise OSError("the ledger is not written: the disk does not answer")
        return future.result()

    async def ask[T](self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return what the ledger answers, with all in it that has happened until now.

        Where the disk stalls, without the latest. OSError where it can't be read.
        """
        if self._writing is None or await settled(self._writing):
            self._hand_over(INFINITY)
            if self._writing is not None:
                await settled(self._writing)
        return await self._desk.ask(question)

    def unreported(self, lost_by_the_kernel: int) -> list[dict[str, Any]]:
        """Return a row of the coverage for what was seen by nobody in this run."""
        lost = lost_by_the_kernel + self.dropped + self._register.lost
        if not lost or self._began is None:
            return []
        return [listing.blind("unreported", self._began, time.time(), lost)]

    @property
    def health(self) -> dict[str, Any]:
        """Return what ``status`` says of the ledger."""
        waiting = len(self._pending) + len(self._batch)
        lost = self.dropped + self._register.lost
        return {"waiting": waiting, "lost": lost, "fault": self._desk.fault}

    def close(self) -> None:
        """Write down what is left, and that the daemon ends in good order."""
        self._batch += [entry for _, entry in self._pending.values()]
        self._pending.clear()
        self._desk.close(self._end)

    def _end(self, register: Register) -> None:
        register.write(self._batch, time.time())
        if self._began is not None:
            register.live(time.time(), last=True)


def complain(future: asyncio.Future[Any]) -> None:
    """Log what the thread could not do; the daemon goes on."""
    if not future.cancelled() and (error := future.exception()) and not isinstance(error, OSError):
        log.error("the ledger failed: %s", bug(error))


def host_of(service: str | None, name: str) -> str:
    """Return what the inventory tells apart within a service: hosts of unknown ones."""
    return name if service == UNKNOWN_AI else ""


def client_of(record: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the AI client that an exchange came from and what gave it away.

    Both stand in the attribution, as the recorder has completed it.
    """
    process = (record.get("attribution") or {}).get("process") or {}
    return process.get("client"), process.get("client_evidence") or ""


def account_of(record: Mapping[str, Any]) -> Account | None:
    """Return whose account was used, as far as a worker tells."""
    match record.get("account"):
        case {"kind": str(kind), **rest}:
            told = (rest.get("fingerprint"), rest.get("organisation"))
            fingerprint, organisation = (str(each or "")[:128] for each in told)
            return Account(kind[:64], fingerprint, organisation)
    return None

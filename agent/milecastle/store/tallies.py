"""What a batch of entries adds up to: summed here first, so that a busy process costs one row.

Numbers that a worker told are bounded before they are summed: they must not overflow a column.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import orjson

from milecastle.model import Process
from milecastle.store import coverage
from milecastle.store.entries import LONGEST, Account, Called, Noted, Opened, program_key

MOST = 1 << 60
AMOUNTS = ("request_bytes", "response_bytes", "input_tokens", "output_tokens")
ACCOUNTS = 32
"""Most accounts that are kept for one row of the inventory."""

USE = """
INSERT INTO inventory (key, service, host, uid, process, client, evidence, first, last, connections,
    calls, request_bytes, response_bytes, input_tokens, output_tokens, server)
VALUES (:key, :service, :host, :uid, :process, :client, :evidence, :first, :last, :connections,
    :calls, :request_bytes, :response_bytes, :input_tokens, :output_tokens, :server)
ON CONFLICT (key) DO UPDATE SET
    process = excluded.process,
    server = coalesce(excluded.server, server),
    evidence = CASE WHEN :calls AND :client THEN :evidence ELSE evidence END,
    client = CASE WHEN :calls THEN coalesce(:client, client) ELSE coalesce(client, :client) END,
    first = min(first, excluded.first),
    last = max(last, excluded.last),
    connections = connections + excluded.connections,
    calls = calls + excluded.calls,
    request_bytes = min(request_bytes + excluded.request_bytes, 1 << 60),
    response_bytes = min(response_bytes + excluded.response_bytes, 1 << 60),
    input_tokens = min(input_tokens + excluded.input_tokens, 1 << 60),
    output_tokens = min(output_tokens + excluded.output_tokens, 1 << 60)
RETURNING number
"""
SEEN = """
INSERT INTO coverage VALUES (?,?,?,?,?,?)
ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last),
    count = count + excluded.count
"""
USED = """
INSERT INTO accounts SELECT :row, :kind, :fingerprint, :organisation, :first, :last
WHERE (SELECT count(*) FROM accounts WHERE inventory = :row) < :most
    OR EXISTS (SELECT 1 FROM accounts WHERE inventory = :row AND kind = :kind
        AND fingerprint = :fingerprint AND organisation = :organisation)
ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)
"""


@dataclass(slots=True)
class Span:
    """From when to when, and how often."""

    first: float
    last: float
    count: int = 0

    def add(self, at: float) -> None:
        self.first, self.last = min(self.first, at), max(self.last, at)
        self.count += 1


class Use:
    """How one program uses one service, as far as this batch tells."""

    def __init__(self, service: str, host: str, process: Process | None, at: float) -> None:
        self.service = service
        self.host = host
        self.process = process
        self.client = process.client if process else None
        self.evidence = process.client_evidence if process else ""
        self.span = Span(at, at)
        self.connections = 0
        self.calls = 0
        self.amounts = [0] * len(AMOUNTS)
        self.states: dict[tuple[str, str], Span] = {}
        self.accounts: dict[Account, Span] = {}
        self.server: Process | None = None

    def state(self, state: str, code: str, at: float) -> None:
        self.states.setdefault((state, code), Span(at, at)).add(at)


class Tallies:
    """Sums of one batch."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, ...], Use] = {}

    def opened(self, entry: Opened) -> None:
        """Count a connection."""
        if entry.service is None:
            return
        use = self._use(entry, entry.service)
        use.connections += 1
        use.server = entry.server or use.server
        if state := coverage.of_connection(entry.outcome, entry.code):
            use.state(state, entry.code, entry.at)

    def noted(self, entry: Noted) -> None:
        """Count how much was seen of something."""
        use = self._use(entry, entry.service)
        use.state(entry.state, entry.code, entry.at)

    def called(self, entry: Called) -> None:
        """Count an exchange."""
        use = self._use(entry, entry.service)
        use.calls += 1
        if entry.client:
            use.client, use.evidence = entry.client, entry.evidence
        told = (getattr(entry, amount) for amount in AMOUNTS)
        use.amounts = [min(a + b, MOST) for a, b in zip(use.amounts, told, strict=True)]
        if entry.account:
            use.accounts.setdefault(entry.account, Span(entry.at, entry.at)).add(entry.at)

    def _use(self, entry: Opened | Noted | Called, service: str) -> Use:
        key = program_key(entry.process, service, entry.host)
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = Use(service, entry.host, entry.process, entry.at)
        use.span.add(entry.at)
        return use

    def write(self, connection: sqlite3.Connection) -> None:
        """Add the sums to what is kept."""
        for key, use in self._uses.items():
            process = use.process
            row = {
                "key": "\x1f".join(key),
                "service": use.service,
                "host": use.host,
                "uid": process.uid if process else None,
                "process": orjson.dumps(program(process)).decode(),
                "server": orjson.dumps(program(use.server)).decode() if use.server else None,
                "client": use.client,
                "evidence": use.evidence,
                "first": use.span.first,
                "last": use.span.last,
                "connections": use.connections,
                "calls": use.calls,
                **dict(zip(AMOUNTS, use.amounts, strict=True)),
            }
            ((number,),) = connection.execute(USE, row).fetchall()
            connection.executemany(
                SEEN,
                [
                    (number, state, code, span.first, span.last, span.count)
                    for (state, code), span in use.states.items()
                ],
            )
            for account, span in use.accounts.items():
                told = {
                    "row": number, "kind": account.kind, "fingerprint": account.fingerprint,
                    "organisation": account.organisation, "first": span.first, "last": span.last,
                    "most": ACCOUNTS,
                }  # fmt: skip
                connection.execute(USED, told)


def program(process: Process | None) -> dict[str, object]:
    """Return what an inventory says of a process: the program, not the pid."""
    if process is None:
        return {}
    pod = process.pod
    return {
        "exe": process.exe[:LONGEST] if process.exe else None,
        "script": process.script[:LONGEST] if process.script else None,
        "comm": process.comm,
        "user": process.user,
        "container": process.container,
        "runtime": process.runtime,
        "pod": {"namespace": pod.namespace, "name": pod.name} if pod and pod.name else None,
        "sha256": process.sha256,
    }

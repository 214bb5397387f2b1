"""Questions to the ledger: connections, inventory, coverage.

``uid`` limits every answer to what one user's processes did. The shapes are a contract
with the CLI and with whoever reads its JSON.
"""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import Any

import orjson

from milecastle.store import coverage
from milecastle.store.database import reading

ANSWER = 10 << 20
"""Bytes of JSON in one answer; as msgpack it stays well inside a frame of the control socket."""
PAGE = 10_000
"""Most rows of one answer."""

CONNECTIONS = """
SELECT c.number, c.at, p.process, c.service, c.name, c.address, c.port, c.protocol, c.grade,
    c.outcome, c.code, c.calls, c.owners, s.process
FROM connections c JOIN processes p ON p.number = c.process
    LEFT JOIN processes s ON s.number = c.server
WHERE c.number < :before AND (:uid IS NULL OR p.uid = :uid) ORDER BY c.number DESC LIMIT :limit
"""
INVENTORY = """
SELECT number, service, host, uid, process, client, evidence, first, last, connections, calls,
    request_bytes, response_bytes, input_tokens, output_tokens, server
FROM inventory
WHERE service != '' AND (:uid IS NULL OR uid = :uid) ORDER BY last DESC LIMIT :limit
"""
ACCOUNTS = """
SELECT inventory, kind, fingerprint, organisation, first, last FROM accounts ORDER BY last DESC
"""
COVERAGE = """
SELECT i.service, i.host, i.uid, i.process, i.client, i.evidence, c.state, c.code, c.first, c.last,
    c.count
FROM coverage c JOIN inventory i ON i.number = c.inventory
WHERE :uid IS NULL OR i.uid = :uid ORDER BY c.last DESC LIMIT :limit
"""
LIVES = "SELECT began, lived, clean FROM lives ORDER BY number DESC LIMIT :limit"


def connections(
    db: sqlite3.Connection, limit: int, before: int = 0, uid: int | None = None
) -> list[dict[str, Any]]:
    """Return connections, latest first; from the one with the id ``before`` on backwards."""
    values = {"before": before or 1 << 62, "uid": uid, "limit": max(0, min(limit, PAGE))}
    found: list[dict[str, Any]] = []
    size = 0
    with reading():
        for row in db.execute(CONNECTIONS, values):
            size += len(row[2]) + len(row[12]) + len(row[13] or "") + 512
            if size > ANSWER:
                break
            found.append(connection(row))
    return found


def connection(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a row in the shape of ``connections --json``."""
    (number, at, process, service, name, address, port, protocol, grade, outcome, code,
     calls, owners, server) = row  # fmt: skip
    who = orjson.loads(process)
    return {
        "id": number,
        "time": at,
        "process": who,
        "user": who.get("user"),
        "container": who.get("container"),
        "service": service,
        "name": name or None,
        "destination": {"address": address, "port": port},
        "protocol": protocol,
        "owners": orjson.loads(owners),
        "grade": grade,
        "outcome": outcome,
        "reason": coverage.CODES.get(code, code) or None,
        "calls": calls,
        "server": orjson.loads(server) if server else None,
    }


def inventory(db: sqlite3.Connection, uid: int | None = None) -> list[dict[str, Any]]:
    """Return who uses which service, the latest used first. The standing is for others to add."""
    with reading():
        rows = db.execute(INVENTORY, {"uid": uid, "limit": PAGE}).fetchall()
        used: dict[int, list[dict[str, Any]]] = {}
        for row, kind, fingerprint, organisation, first, last in db.execute(ACCOUNTS):
            told = {
                "kind": kind,
                "fingerprint": fingerprint or None,
                "organisation": organisation or None,
                "first": first,
                "last": last,
            }
            used.setdefault(row, []).append(told)
    return [
        {
            **used_by(service, host, number_of_user, process, client, evidence),
            "first": first,
            "last": last,
            "connections": opened,
            "calls": calls,
            "bytes": {"request": request, "response": response},
            "tokens": {"input": asked, "output": answered},
            "accounts": used.get(number, []),
            "server": orjson.loads(server) if server else None,
        }
        for (
            number, service, host, number_of_user, process, client, evidence, first, last, opened,
            calls, request, response, asked, answered, server,
        ) in rows
    ]  # fmt: skip


def used_by(
    service: str, host: str, uid: int | None, process: str, client: str | None, evidence: str
) -> dict[str, Any]:
    """Return what inventory and coverage say alike: which program of which user, which service."""
    who = orjson.loads(process)
    user, container = who.pop("user", None), who.pop("container", None)
    program = {**who, "client": client, "client_evidence": evidence}
    return {
        "service": service or None,
        "host": host or None,
        "user": user,
        "uid": uid,
        "container": container,
        "process": program,
    }


def seen(db: sqlite3.Connection, uid: int | None = None) -> list[dict[str, Any]]:
    """Return how much was seen of each program's use of each service, latest first."""
    with reading():
        rows = db.execute(COVERAGE, {"uid": uid, "limit": PAGE}).fetchall()
    return [
        {
            **used_by(service, host, user, process, client, evidence),
            "state": state,
            "reason": coverage.CODES.get(code, code) or None,
            "from": first,
            "to": last,
            "count": count,
        }
        for service, host, user, process, client, evidence, state, code, first, last, count in rows
    ]


def gaps(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the times between two runs of the daemon, latest first."""
    with reading():
        lives = db.execute(LIVES, {"limit": PAGE}).fetchall()
    return [
        blind("agent_down" if clean else "agent_died", lived, began)
        for (began, _, _), (_, lived, clean) in pairwise(lives)
        if lived < began
    ]


def blind(code: str, begin: float, end: float, count: int | None = None) -> dict[str, Any]:
    """Return a row of the coverage that is about nobody in particular."""
    return {
        "service": None,
        "host": None,
        "user": None,
        "uid": None,
        "container": None,
        "process": None,
        "state": coverage.BLIND,
        "reason": coverage.CODES[code],
        "from": begin,
        "to": end,
        "count": count,
    }

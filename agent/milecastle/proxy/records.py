"""What is reported about an exchange, where the inspection itself can't: ids, bare records, size.

Pure: time and randomness are arguments. The shape of a record is that of the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

type Record = dict[str, Any]

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U."""
DEEPEST = 64
CONTENT = (
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.definitions",
)
FINDINGS_KEPT = 200


def exchange_id(now: float, randomness: bytes) -> str:
    """Return 26 characters that sort by time: 48 bits of milliseconds, 80 of randomness (ULID)."""
    number = int(now * 1000) << 80 | int.from_bytes(randomness[:10], "big")
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def bare(
    *,
    cookie: int,
    exchange: str,
    started: float,
    ended: float,
    host: str,
    service: str | None,
    error: str,
    reason: str,
    action: str = "allow",
    method: str = "",
    path: str = "",
    status: int | None = None,
) -> Record:
    """Return the record of something that was not inspected: who, where, when, and why not."""
    return {
        "cookie": cookie,
        "exchange": exchange,
        "started": started,
        "ended": ended,
        "first_byte_ms": None,
        "host": host,
        "method": method,
        "path": path,
        "status": status,
        "service": service,
        "attributes": {"error.type": error},
        "findings": [],
        "verdict": {
            "action": action,
            "applied": action,
            "rule": None,
            "reason": reason,
            "mode": "enforce",
        },
        "steps": [],
        "request_bytes": 0,
        "response_bytes": 0,
    }


def clean(record: Record) -> Record:
    """Return the record with what msgpack can't hold replaced: lone surrogates, huge numbers."""
    cleaned = _clean(record, DEEPEST)
    assert isinstance(cleaned, dict)
    return cleaned


def _clean(value: object, depth: int) -> object:
    if depth == 0:
        return None
    match value:
        case None | bool() | float() | bytes():
            return value
        case int():
            return value if -(1 << 63) <= value < 1 << 63 else float(value)
        case str():
            return value.encode(errors="replace").decode()
        case Mapping():
            return {
                str(_clean(str(key), 1)): _clean(each, depth - 1) for key, each in value.items()
            }
        case list() | tuple():
            return [_clean(each, depth - 1) for each in value]
    return str(value)[:200]


def slim(record: Record) -> Record:
    """Return the record without its text: what is left fits into a frame."""
    kept = {name: value for name, value in record.items() if name != "steps"}
    attributes = {
        name: value for name, value in record.get("attributes", {}).items() if name not in CONTENT
    }
    attributes.setdefault("error.type", "record_too_large")
    kept |= {
        "attributes": attributes,
        "steps": [],
        "findings": list(record.get("findings", ()))[:FINDINGS_KEPT],
    }
    return clean(kept)

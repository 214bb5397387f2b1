"""What a record must look like before it is kept.

A record comes from an unprivileged worker that may have been taken over by what it parses, so
nothing in it is believed: wrong types, sizes and times are ParseError, and never anything else.
The tables below are the whole contract. Pure: no database, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from milecastle.model import Action, Grade, ParseError, Severity, Standing
from milecastle.store import shape

type Record = dict[str, Any]

LARGEST = 5 << 20
"""Bytes of one record as JSON: a ``record`` frame (4 MiB) and the daemon's attribution."""
FINDINGS = 1000
MESSAGES = 50_000
CLOCK_SLACK = 86_400.0
"""Seconds that a record's times may be ahead of ours: the host's clock can be set back."""

_NAME = shape.optional(shape.text(512))
_SENTENCE = shape.text(4096)
_TOKENS = shape.optional(shape.whole(0, 1 << 53))
_BYTES = shape.whole(0, 1 << 53)
_TIME = shape.number(0, 1e11)

_PART = shape.mapping({"type": shape.text(64)})
_MESSAGE = shape.mapping(
    {"role": shape.text(64), "parts": shape.listed(_PART, MESSAGES)},
    {"finish_reason": _NAME},
)

ATTRIBUTES: Mapping[str, shape.Check] = {
    "gen_ai.operation.name": _NAME,
    "gen_ai.provider.name": _NAME,
    "gen_ai.conversation.id": _NAME,
    "gen_ai.request.model": _NAME,
    "gen_ai.response.model": _NAME,
    "gen_ai.response.id": _NAME,
    "gen_ai.response.finish_reasons": shape.optional(shape.listed(shape.text(64), 256)),
    "gen_ai.system_instructions": shape.optional(shape.listed(_PART, MESSAGES)),
    "gen_ai.input.messages": shape.optional(shape.listed(_MESSAGE, MESSAGES)),
    "milecastle.input.instructions": shape.optional(
        shape.listed(
            shape.mapping(
                {
                    "at": shape.whole(0, MESSAGES),
                    "role": shape.text(64),
                    "parts": shape.listed(_PART, MESSAGES),
                }
            ),
            MESSAGES,
        )
    ),
    "gen_ai.output.messages": shape.optional(shape.listed(_MESSAGE, MESSAGES)),
    "gen_ai.tool.definitions": shape.optional(shape.listed(shape.mapping({}), MESSAGES)),
    "gen_ai.usage.input_tokens": _TOKENS,
    "gen_ai.usage.output_tokens": _TOKENS,
    "error.type": _NAME,
}
"""Attributes that are read here or by the CLI; others are kept if their name is an attribute's."""

FINDING = shape.mapping(
    {
        "category": shape.text(64),
        "rule": shape.text(128),
        "severity": shape.one_of(Severity),
    },
    {
        "where": shape.optional(shape.text(1024)),
        "excerpt": shape.optional(shape.text(1024)),
        "start": _BYTES,
        "end": _BYTES,
        "score": shape.number(0, 1),
        "evidence": shape.optional(_SENTENCE),
        "digest": _NAME,
        "provenance": _NAME,
        "direction": _NAME,
        "message": shape.optional(shape.whole(0, MESSAGES)),
        "owasp": shape.listed(shape.text(64), 32),
        "atlas": shape.listed(shape.text(64), 32),
    },
)

VERDICT = shape.mapping(
    {"action": shape.one_of(Action), "reason": _SENTENCE},
    {"applied": shape.one_of(Action), "rule": _NAME, "mode": shape.text(16)},
)

ANCESTOR = shape.mapping({"pid": shape.whole(0, 1 << 31)}, {"exe": shape.optional(_SENTENCE)})
LABELS = 256
POD = shape.mapping(
    {"uid": shape.text(64)},
    {
        "qos": shape.text(16),
        "namespace": _NAME,
        "name": _NAME,
        "labels": shape.mapping({}, limit=LABELS),
        "container": _NAME,
    },
)
PROCESS = shape.mapping(
    {"pid": shape.whole(0, 1 << 31)},
    {
        "comm": _NAME,
        "exe": shape.optional(_SENTENCE),
        "uid": shape.optional(shape.whole(0, 1 << 32)),
        "user": _NAME,
        "started": shape.optional(_TIME),
        "container": _NAME,
        "runtime": _NAME,
        "pod": shape.optional(POD),
        "ancestry": shape.optional(shape.listed(ANCESTOR, 1024)),
    },
)

ATTRIBUTION = shape.mapping(
    {"grade": shape.one_of(Grade)},
    {
        "why": _SENTENCE,
        "service": _NAME,
        "standing": shape.optional(shape.one_of(Standing)),
        "process": shape.optional(PROCESS),
    },
)

_DIGEST = shape.matching("(?:[0-9a-f]{16,64})?")
THREAD = shape.mapping(
    {"messages": shape.whole(1, MESSAGES), "prefix": shape.listed(_DIGEST, 65)},
    {
        "head": shape.optional(_DIGEST),
        "system": shape.optional(_DIGEST),
        "new": shape.whole(0, MESSAGES),
    },
)

RECORD = shape.mapping(
    {
        "exchange": shape.matching("[0-9A-Za-z_-]{8,64}"),
        "started": _TIME,
        "ended": _TIME,
        "host": shape.text(512),
        "attributes": shape.mapping({}, ATTRIBUTES, limit=128),
        "findings": shape.listed(FINDING, FINDINGS),
        "verdict": VERDICT,
    },
    {
        "cookie": shape.whole(0, (1 << 64) - 1),
        "first_byte_ms": shape.optional(shape.number(0, 1e9)),
        "method": shape.text(32),
        "path": shape.text(8192),
        "status": shape.optional(shape.whole(0, 999)),
        "service": _NAME,
        "failures": shape.mapping({}, {"request": _SENTENCE, "response": _SENTENCE}),
        "steps": shape.optional(shape.listed(shape.anything, 10_000)),
        "thread": shape.optional(THREAD),
        "shape": shape.text(64),
        "strange": shape.text(64),
        "request_bytes": _BYTES,
        "response_bytes": _BYTES,
        "attribution": shape.optional(ATTRIBUTION),
    },
)

_ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z0-9_]{1,64}){1,8}")


def parse(record: object, now: float) -> tuple[Record, bytes]:
    """Return the record, checked, and its bytes as JSON. ParseError where it is not a record.

    ``now`` is Unix time in seconds. The bytes also prove what the tables leave open: that every
    value is JSON, nested less than 250 deep.
    """
    if not isinstance(record, dict):
        raise ParseError("is not a mapping")
    kept = dict(record)
    try:
        orjson.dumps(kept.get("attribution"))
    except TypeError:
        # argv, paths and names of processes may hold bytes that are not UTF-8 (surrogates here)
        kept["attribution"] = printable(kept["attribution"])
    RECORD(kept)
    for name in kept["attributes"]:
        # dotted, so that attributes can stand flat beside an exchange's own fields
        if not _ATTRIBUTE_NAME.fullmatch(name):
            raise ParseError("attributes: has a name that is not an attribute's")
    if not kept["started"] <= kept["ended"] <= now + CLOCK_SLACK:
        raise ParseError("started, ended and now are not in order")
    try:
        encoded = orjson.dumps(kept)
    except (TypeError, RecursionError) as error:  # JSONEncodeError is a TypeError
        raise ParseError(f"a record that is not JSON: {type(error).__name__}") from None
    if len(encoded) > LARGEST:
        raise ParseError(f"a record of {len(encoded)} bytes, the limit is {LARGEST}")
    return kept, encoded


def printable(value: object, depth: int = 8) -> object:
    """Return the value with strings that UTF-8 can hold; ParseError where it nests deeper."""
    if depth < 0:
        raise ParseError("attribution: is nested too deeply")
    match value:
        case str():
            return value.encode("utf-8", "replace").decode("utf-8")
        case dict():
            return {printable(key, 0): printable(item, depth - 1) for key, item in value.items()}
        case list() | tuple():
            return [printable(item, depth - 1) for item in value]
        case _:
            return value


def applied(verdict: Mapping[str, Any]) -> Action:
    """Return what was really done; a record without the word did what the verdict says."""
    return Action(verdict.get("applied") or verdict["action"])


def model_of(record: Record) -> str | None:
    """Return the model that was asked for, or else the one that answered."""
    attributes = record["attributes"]
    model = attributes.get("gen_ai.request.model") or attributes.get("gen_ai.response.model")
    return model if isinstance(model, str) else None


def service_of(record: Record) -> str | None:
    """Return the service by name, or else the one that the address stood for."""
    named = record.get("service") or (record.get("attribution") or {}).get("service")
    return named if isinstance(named, str) else None

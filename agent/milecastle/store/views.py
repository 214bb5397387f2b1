"""What readers are shown: the shapes of a session, an exchange and a line of ``tail``. Pure.

The keys are a contract with the CLI and with whoever reads its JSON.
"""

from __future__ import annotations

import json
from typing import Any

from milecastle.model import Action, Grade, Standing
from milecastle.store.records import Record, applied, model_of, service_of

type Row = tuple[Any, ...]


def session(row: Row) -> dict[str, Any]:
    """Return a row of a session query (``reading.LATEST``) in the shape of ``sessions --json``."""
    (_, name, started, ended, service, host, standing, grade, conversation,
     process, exchanges, findings, actions, input_tokens, output_tokens, parent,
     model) = row  # fmt: skip
    who = json.loads(process)
    return {
        "id": name,
        "started": started,
        "ended": ended,
        "service": service,
        "host": host,
        "model": model,
        "process": who,
        "user": who.get("user"),
        "container": who.get("container"),
        "client": who.get("client"),
        "client_evidence": who.get("client_evidence") or None,
        "grade": grade,
        "standing": standing,
        "sanctioned": standing == Standing.SANCTIONED,
        "exchanges": exchanges,
        "findings": int(findings),
        "action": max(map(Action, actions.split(",")), key=lambda each: each.rank).value,
        "tokens": {"input": int(input_tokens), "output": int(output_tokens)},
        "conversation": conversation,
        "parent": parent,
    }


def exchange(record: Record, session: str) -> dict[str, Any]:
    """Return the exchange as it is shown: its own fields, with the attributes flat beside them."""
    rest = {key: value for key, value in record.items() if key not in ("exchange", "attributes")}
    return {"id": record["exchange"], "session": session, **rest, **record["attributes"]}


def summary(record: Record, session: str) -> dict[str, Any]:
    """Return the exchange in one line's worth: what ``tail`` shows. No content."""
    attribution = record.get("attribution") or {}
    attributes, verdict, findings = record["attributes"], record["verdict"], record["findings"]
    return {
        "kind": "exchange",
        "id": record["exchange"],
        "session": session,
        "started": record["started"],
        "ended": record["ended"],
        "service": service_of(record),
        "host": record["host"],
        "operation": attributes.get("gen_ai.operation.name"),
        "model": model_of(record),
        "process": attribution.get("process") or {},
        "grade": attribution.get("grade", Grade.UNKNOWN.value),
        "standing": attribution.get("standing"),
        "sanctioned": attribution.get("standing") == Standing.SANCTIONED,
        "status": record.get("status"),
        "findings": len(findings),
        "rules": sorted({finding["rule"] for finding in findings})[:8],
        "action": applied(verdict).value,
        "rule": verdict.get("rule"),
        "reason": verdict["reason"],
        "input_tokens": attributes.get("gen_ai.usage.input_tokens"),
        "output_tokens": attributes.get("gen_ai.usage.output_tokens"),
    }

"""What was said before, as a policy looks at it: from recordings, or from the daemon's store.

Only who spoke, to which service, and what was found is taken; no text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from milecastle.catalogue import Catalogue
from milecastle.cli import har, offline
from milecastle.cli.control import Control
from milecastle.cli.replay import as_request, follow
from milecastle.inspection import Context, Inspection, Inspector
from milecastle.model import (
    Ancestor,
    Direction,
    Finding,
    Pod,
    Process,
    Severity,
    Standing,
    Subject,
)
from milecastle.policy import Policy, Seen

SESSIONS = 1000
"""Stored sessions that are looked at: the latest."""
WAYS: tuple[Direction, ...] = ("request", "response")
OF_PROCESS = {field.name for field in fields(Process)}
OF_FINDING = ("category", "rule", "score", "provenance", "count")


def recorded(files: Sequence[Path], catalogue: Catalogue, rules: Sequence[Path]) -> Iterator[Seen]:
    """Yield the messages of HAR files, read and searched anew; broken entries are left out."""
    inspector = Inspector(catalogue, offline.engine(rules), Policy())
    for file in files:
        for entry in har.read(file):
            if isinstance(entry, har.Broken):
                continue
            label = f"{file.name}:{entry.number}"
            inspection = inspector.begin(
                as_request(entry), Context(label, entry.started), entry.body
            )
            if inspection is not None:
                follow(inspection, entry)
                yield from messages(inspection)


def messages(inspection: Inspection) -> Iterator[Seen]:
    """Yield what a policy looks at of each message that was judged."""
    context = inspection.context
    for way in WAYS:
        if way in inspection.told.verdicts:
            found = inspection.told.findings.get(way, ())
            yield Seen(context.exchange, inspection.subject(way), found, context.started)


def stored(control: Control, catalogue: Catalogue) -> Iterator[Seen]:
    """Yield the messages of the daemon's latest sessions, as they were recorded."""
    for session in control.request("sessions", limit=SESSIONS):
        yield from exchanges(control, session["id"], catalogue)


def exchanges(control: Control, name: str, catalogue: Catalogue) -> Iterator[Seen]:
    """Yield the messages of one session, or of one exchange, by its id or the id's beginning."""
    for exchange in control.request("explain", exchange=name).get("exchanges") or ():
        for way in WAYS:
            found = tuple(
                finding(each)
                for each in exchange.get("findings") or ()
                if each.get("direction", "request") == way
            )
            who = subject(exchange, way, catalogue)
            yield Seen(str(exchange.get("id")), who, found, exchange.get("started"))


def finding(told: Mapping[str, Any]) -> Finding:
    """Return a stored finding, as far as a rule looks at it."""
    kept = {key: told[key] for key in OF_FINDING if told.get(key) is not None}
    return Finding(**kept, severity=Severity(told["severity"]), start=0, end=0, excerpt="")


def subject(exchange: Mapping[str, Any], way: Direction, catalogue: Catalogue) -> Subject:
    """Return whom and what a stored exchange was about."""
    service = catalogue.services.get(exchange.get("service") or "")
    spent = [exchange.get(f"gen_ai.usage.{each}_tokens") for each in ("input", "output")]
    size = exchange.get(f"{way}_bytes")
    used = None if spent == [None, None] else sum(each or 0 for each in spent)
    return Subject(
        service=service.id if service else None,
        category=service.category if service else "",
        standing=Standing.UNSANCTIONED,  # each policy has its own opinion: see `seen_by`
        operation=exchange.get("gen_ai.operation.name") or "",
        model=exchange.get("gen_ai.response.model") or exchange.get("gen_ai.request.model") or "",
        process=process((exchange.get("attribution") or {}).get("process")),
        direction=way,
        account=str((exchange.get("account") or {}).get("kind") or ""),
        destination=exchange.get("host") or "",
        size=size,
        tokens=used if way == "response" else size // 4 if size is not None else None,
    )


def process(told: Mapping[str, Any] | None) -> Process | None:
    """Return a stored process."""
    if not told:
        return None
    known = {key: value for key, value in told.items() if key in OF_PROCESS}
    for name in ("argv", "groups", "marks"):
        known[name] = tuple(known.get(name) or ())
    known["ancestry"] = tuple(
        Ancestor(each.get("pid", 0), each.get("comm") or "", each.get("exe"))
        for each in known.get("ancestry") or ()
    )
    if pod := known.get("pod"):
        names = {field.name for field in fields(Pod)}
        known["pod"] = Pod(**{key: value for key, value in pod.items() if key in names})
    return Process(**{"pid": 0, "comm": "", "uid": -1, **known})

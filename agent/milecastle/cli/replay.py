"""`milecastle replay`: recorded traffic through the same inspection as live traffic.

Needs no root and no daemon. Texts are printed whole and unmasked: they stand in the file that was
given, and whoever asks what was found wants to see where.
"""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milecastle.catalogue import Catalogue
from milecastle.cli import faults, har, offline
from milecastle.cli.command import Verb, json_option
from milecastle.cli.policy import catalogue_option, rules_option
from milecastle.cli.terminal import BY_ACTION, Column, Terminal, plural
from milecastle.inspection import Context, Inspection, Inspector, attributes
from milecastle.model import RequestHead

KEYS = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.definitions",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
)
"""Attributes that are always there, null where unknown; others where they have a value."""
COLUMNS = (
    Column("ENTRY", right=True),
    Column("SERVICE", least=8),
    Column("OPERATION", least=6),
    Column("MODEL", least=10),
    Column("TOKENS", right=True),
    Column("FOUND", right=True),
    Column("VERDICT"),
)

type Told = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``replay``."""
    json_option(parser, "one JSON object a line, one for every entry of the files")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.har")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="judge by this policy")
    catalogue_option(parser)
    rules_option(parser)


def replay(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print what each entry is. Exit code 2 if one can't be read, else 1 if one has findings."""
    inspector = Inspector(
        offline.catalogue(options.catalogue),
        offline.engine(options.rules),
        offline.policy(options.policy),
        capture="full",
    )
    count = Count()
    for file in options.files:
        several = {"file": str(file)} if len(options.files) > 1 else {}
        told = (count.counted({**several, **each}) for each in entries(inspector, file))
        if options.json:
            for each in told:
                terminal.json(each)
        else:
            rows = [each for each in told if each["service"] or each.get("error")]
            if several:
                terminal.block("", 0, str(file))
            colours = [BY_ACTION.get(str(row(each)[-1])) for each in rows]
            terminal.table(COLUMNS, map(row, rows), colours)
    if not options.json:
        terminal.line(count.sentence())
    if count.broken:
        return faults.BAD_INPUT
    return faults.FINDINGS if count.findings else faults.FINE


def entries(inspector: Inspector, file: Path) -> Iterator[Told]:
    """Yield what each entry of a file is."""
    for entry in har.read(file):
        if isinstance(entry, har.Broken):
            yield {"entry": entry.number, "service": None, "error": entry.error}
            continue
        try:
            yield judged(inspector, entry)
        except Exception as error:  # noqa: BLE001 - one entry must not cost the others
            what = f"a fault of milecastle: {type(error).__name__}: {error}"
            yield {"entry": entry.number, "service": None, "error": what[:500]}


def judged(inspector: Inspector, entry: har.Entry) -> Told:
    """Return what one entry is: its attributes, what was found, and the verdict."""
    head = as_request(entry)
    context = Context(exchange=f"entry-{entry.number}", started=entry.started)
    inspection = inspector.begin(head, context, entry.body)
    if inspection is None:
        return {"entry": entry.number, "service": None, "findings": [], "verdict": None}
    follow(inspection, entry)
    record = inspection.record(entry.started)
    told = attributes(inspection.exchange, keep=str)
    failures = {"failures": record["failures"]} if record.get("failures") else {}
    return {
        "entry": entry.number,
        "service": service_of(inspection, inspector.catalogue, entry),
        **dict.fromkeys(KEYS),
        **told,
        "findings": record["findings"],
        "verdict": record["verdict"],
        **failures,
    }


def follow(inspection: Inspection, entry: har.Entry) -> None:
    """Lead an inspection through an entry, the answer after a block too: it is worth reading."""
    inspection.request(entry.body)
    if entry.answer is None:
        return
    if inspection.respond(entry.answer) == "stream":
        inspection.feed(entry.content)
        inspection.finish()
    else:
        inspection.response(entry.content)


def as_request(entry: har.Entry) -> RequestHead:
    """Return the head to recognise an entry by; a WebSocket session's opens one."""
    if not entry.socket:
        return entry.head
    kept = {"upgrade": "websocket", "content-type": "application/json"}
    headers = {**entry.head.headers, **kept}
    return RequestHead("GET", entry.head.host, entry.head.path, headers)


def service_of(inspection: Inspection, catalogue: Catalogue, entry: har.Entry) -> str:
    """Return the catalogue's id, or for other hosts ``local`` or the wire format's name."""
    if inspection.service is not None:
        return inspection.service.id
    if not local(entry.head.host):
        return inspection.format.name
    servers = catalogue.on_port(entry.port)
    return servers[0].id if len(servers) == 1 else "local"


def local(host: str) -> bool:
    """Tell whether a host is this machine or its own network."""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


@dataclass(slots=True)
class Count:
    """What a replay came to."""

    entries: int = 0
    calls: int = 0
    findings: int = 0
    broken: int = 0

    def counted(self, told: Told) -> Told:
        """Count one entry and return it."""
        self.entries += 1
        self.calls += told["service"] is not None
        self.findings += len(told.get("findings") or ())
        self.broken += "error" in told
        return told

    def sentence(self) -> str:
        """Return it in words."""
        all_of_them = plural(self.entries, "entry", "entries")
        calls = f"{plural(self.calls, 'call')} to AI services"
        broken = f", {self.broken} unreadable" if self.broken else ""
        return f"{all_of_them}, {calls}, {plural(self.findings, 'finding')}{broken}"


def row(told: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one entry."""
    if told.get("error"):
        return (told["entry"], "unreadable", "", told["error"], "", "", "")
    used = [told.get("gen_ai.usage.input_tokens"), told.get("gen_ai.usage.output_tokens")]
    tokens = ">".join("-" if each is None else str(each) for each in used)
    verdict = told.get("verdict") or {}
    return (
        told["entry"],
        told["service"],
        told.get("gen_ai.operation.name"),
        told.get("gen_ai.request.model") or told.get("gen_ai.response.model") or "-",
        tokens,
        len(told["findings"]),
        verdict.get("action"),
    )


VERBS = {
    "replay": Verb(
        arguments,
        replay,
        "  milecastle replay traffic.har\n"
        "  milecastle replay traffic.har --policy strict.yaml --json | jq .verdict",
    )
}

"""`milecastle explain`: why a verdict fell, rule by rule, and how the process is known."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from milecastle.cli import escaping, faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import BY_ACTION, BY_SEVERITY, Terminal, clock
from milecastle.cli.wording import described, judged, named


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``explain``."""
    json_option(parser)
    parser.add_argument(
        "id", metavar="ID", help="an exchange's or a session's id, or its beginning"
    )


def explain(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the evidence for one exchange, or for all of a session."""
    with Control(options.run_dir) as control:
        told = control.request("explain", exchange=options.id)
    if options.json:
        terminal.json(told)
        return faults.FINE
    for number, exchange in enumerate(told.get("exchanges") or ()):
        if number:
            terminal.line()
        evidence(exchange, terminal)
    return faults.FINE


def evidence(exchange: Mapping[str, Any], terminal: Terminal) -> None:
    """Print one exchange: who, what was found, how each rule saw it, what was done."""
    title = f"exchange {exchange.get('id')} at {clock(exchange.get('started'))}"
    terminal.line(terminal.paint(escaping.line(title), "bold"))
    call = f"{exchange.get('method', '')} {exchange.get('host')}{exchange.get('path', '')}"
    terminal.label("call", f"{call}, status {exchange.get('status') or '-'}")
    attribution = exchange.get("attribution") or {}
    process = attribution.get("process") or {}
    terminal.label("process", f"{named(process)} {process.get('exe') or ''}")
    grade, why = attribution.get("grade", "unknown"), attribution.get("why", "")
    terminal.label("known", f"{grade}: {why}")
    if connection := attribution.get("connection"):
        terminal.label("connection", connected(connection))
    standing = attribution.get("standing") or "standing unknown"
    service = exchange.get("service") or "no service of the catalogue"
    terminal.label("service", f"{service}, {standing}")
    for stage, why in (exchange.get("failures") or {}).items():
        terminal.label("failure", f"{stage}: {why}", "red")
    for finding in exchange.get("findings") or ():
        terminal.label("found", described(finding), BY_SEVERITY.get(finding.get("severity")))
    steps = [step for step in exchange.get("steps") or () if isinstance(step, dict)]
    for step in steps:
        terminal.label("rule", reasoned(step), "yellow" if step.get("matched") else "dim")
    if not steps:
        terminal.label("rule", "not recorded one by one: there was no finding", "dim")
    verdict = exchange.get("verdict") or {}
    done = verdict.get("applied") or verdict.get("action")
    terminal.label("done", judged(verdict), BY_ACTION.get(str(done)))


def connected(connection: Mapping[str, Any]) -> str:
    """Return what the kernel recorded of a connection."""
    to = connection.get("destination") or {}
    return (
        f"to {to.get('address')} port {to.get('port')}, by thread {connection.get('tid')}, "
        f"network namespace {connection.get('netns')}, cgroup {connection.get('cgroup_id')}, "
        f"cookie {connection.get('cookie')}"
    )


def reasoned(step: Mapping[str, Any]) -> str:
    """Return one of the policy's steps in a line."""
    word = "matched" if step.get("matched") else "did not match"
    direction = f" ({step['direction']})" if step.get("direction") else ""
    action = f", {step['action']}" if step.get("action") and step.get("matched") else ""
    why = step.get("why") or step.get("reason") or ""
    return f"{step.get('rule')}{direction} {word}{action}: {why}"


VERBS = {
    "explain": Verb(
        arguments,
        explain,
        "  milecastle explain 01JD3V\n  milecastle explain 3f2a      every exchange of a session",
    )
}

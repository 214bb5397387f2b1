"""`milecastle sessions`: who talked to which AI service, a line each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from milecastle.cli import faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import BY_ACTION, Column, Terminal, clock
from milecastle.cli.wording import called

COLUMNS = (
    Column("SESSION"),
    Column("LAST"),
    Column("SERVICE", least=8),
    Column("MODEL", least=8),
    Column("PROCESS", least=8),
    Column("USER", least=4),
    Column("CALLS", right=True),
    Column("FOUND", right=True),
    Column("DONE"),
)
ID = 8
"""Digits of an id that are shown; the daemon says so should they not be enough."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``sessions``."""
    json_option(parser, "one JSON object a line")
    parser.add_argument(
        "-n", "--limit", type=int, default=50, metavar="N", help="how many at most (50)"
    )


def sessions(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the latest sessions, latest first."""
    if options.limit < 1:
        raise faults.InputError("--limit is a number from 1 on")
    with Control(options.run_dir) as control:
        told = control.request("sessions", limit=options.limit)
    if options.json:
        for each in told:
            terminal.json(each)
    elif not told:
        terminal.line("no session yet: nothing on this host has called an AI service")
    else:
        colours = [BY_ACTION.get(each.get("action", "")) for each in told]
        terminal.table(COLUMNS, [row(each) for each in told], colours)
        if any(not each.get("sanctioned") for each in told):
            terminal.line(terminal.paint("! a service that is not sanctioned", "dim"))
    return faults.FINE


def row(session: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one session."""
    process = session.get("process") or {}
    service = session.get("service") or session.get("host") or "?"
    return (
        str(session.get("id", ""))[:ID],
        clock(session.get("ended") or session.get("started")),
        service if session.get("sanctioned") else f"!{service}",
        session.get("model") or "-",
        called(process),
        process.get("user") or process.get("uid", "?"),
        session.get("exchanges"),
        session.get("findings"),
        session.get("action"),
    )


VERBS = {
    "sessions": Verb(
        arguments,
        sessions,
        "  milecastle sessions -n 10\n"
        "  milecastle sessions --json | jq 'select(.sanctioned | not) | .process.exe'",
    )
}

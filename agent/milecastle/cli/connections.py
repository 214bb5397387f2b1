"""`milecastle connections`: every connection to an AI service, a line each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from milecastle.cli import faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import Colour, Column, Terminal, clock
from milecastle.cli.wording import called

COLUMNS = (
    Column("TIME"),
    Column("SERVICE", least=8),
    Column("TO", least=12),
    Column("PROCESS", least=8),
    Column("USER", least=4),
    Column("CALLS", right=True),
    Column("OUTCOME"),
)
BY_OUTCOME: Mapping[str, Colour] = {"refused": "red", "direct": "yellow", "passed through": "dim"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``connections``."""
    json_option(parser, "one JSON object a line")
    parser.add_argument(
        "-n", "--limit", type=int, default=50, metavar="N", help="how many at most (50)"
    )


def connections(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the latest connections, latest first."""
    if options.limit < 1:
        raise faults.InputError("--limit is a number from 1 on")
    with Control(options.run_dir) as control:
        told = pages(control, options.limit)
        if options.json:
            for each in told:
                terminal.json(each)
            return faults.FINE
        listed = list(told)
    if not listed:
        terminal.line("no connection yet: nothing on this host has called an AI service")
    else:
        colours = [BY_OUTCOME.get(each.get("outcome", "")) for each in listed]
        terminal.table(COLUMNS, [row(each) for each in listed], colours)
    return faults.FINE


def pages(control: Control, limit: int) -> Iterator[dict[str, Any]]:
    """Yield connections, latest first, in as many answers as they take."""
    before = 0
    while limit > 0:
        told = control.request("connections", limit=limit, before=before)
        if not told:
            return
        yield from told
        limit -= len(told)
        before = told[-1]["id"]


def row(connection: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one connection."""
    process = connection.get("process") or {}
    destination = connection.get("destination") or {}
    server = called(connection["server"]) if connection.get("server") else None
    return (
        clock(connection.get("time")),
        connection.get("service") or "-",
        connection.get("name") or server or destination.get("address") or "?",
        called(process),
        process.get("user") or process.get("uid", "?"),
        connection.get("calls"),
        connection.get("outcome"),
    )


VERBS = {
    "connections": Verb(
        arguments,
        connections,
        "  milecastle connections -n 10\n"
        "  milecastle connections -n 100000 --json | jq 'select(.outcome == \"direct\")'",
    )
}

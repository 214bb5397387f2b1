"""`milecastle tools`: what servers offered first, and what changed and waits for a word."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from milecastle.cli import escaping, faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import Colour, Column, Terminal, clock, plural

COLUMNS = (
    Column("SERVER", least=20),
    Column("TOOLS", right=True),
    Column("LAST"),
    Column("CHANGED", least=8),
)


def list_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``tools list``."""
    json_option(parser, "one JSON object a line")


def show(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print every server, and which of its tools are not what they were."""
    with Control(options.run_dir) as control:
        told = control.request("tools")
    if options.json:
        for each in told:
            terminal.json(each)
    elif not told:
        terminal.line("nothing yet: no client on this host has been offered tools of a server")
    else:
        colours: list[Colour | None] = ["yellow" if each["changed"] else None for each in told]
        terminal.table(COLUMNS, [row(each) for each in told], colours)
        if any(each["changed"] for each in told):
            terminal.line("'milecastle tools accept SERVER' agrees to what changed")
    return faults.FINE


def row(server: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one server."""
    changed = ", ".join(map(escaping.line, server["changed"])) or "-"
    return escaping.line(server["server"]), server["tools"], clock(server["last"]), changed


def accept_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``tools accept``."""
    json_option(parser)
    parser.add_argument("server", metavar="SERVER", help="as 'tools list' shows it")
    parser.add_argument("name", nargs="?", default="", metavar="TOOL", help="this one alone")


def accept(options: argparse.Namespace, terminal: Terminal) -> int:
    """Agree to changed definitions; they are not told of any more."""
    with Control(options.run_dir) as control:
        told = control.request("accept", server=options.server, name=options.name)
    if options.json:
        terminal.json(told)
    else:
        names = ", ".join(map(escaping.line, told["tools"]))
        terminal.line(f"agreed to {plural(len(told['tools']), 'tool')}: {names}")
    return faults.FINE


VERBS = {
    "tools list": Verb(
        list_arguments, show, "  milecastle tools list --json | jq 'select(.changed != [])'"
    ),
    "tools accept": Verb(
        accept_arguments, accept, "  sudo milecastle tools accept '1000 claude-code prompt'"
    ),
}

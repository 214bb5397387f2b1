"""`milecastle usage`: how much each program uses each service, and what is usual for it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from milecastle.cli import escaping, faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.inventory import short
from milecastle.cli.terminal import Column, Terminal, clock

COLUMNS = (
    Column("SERVICE", least=8),
    Column("UID", right=True),
    Column("PROGRAM", least=8),
    Column("LAST"),
    Column("CALLS/H", right=True),
    Column("USUAL", right=True),
    Column("TOKENS/D", right=True),
    Column("USUAL", right=True),
    Column("TOLD", least=6),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``usage``."""
    json_option(parser, "one JSON object a line")


def usage(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print what is used now beside what is usual, the latest used first."""
    with Control(options.run_dir) as control:
        told = control.request("usage")
    if options.json:
        for each in told:
            terminal.json(each)
    elif not told:
        terminal.line("nothing yet: no program on this host has called an AI service")
    else:
        terminal.table(COLUMNS, [row(each) for each in told])
        if not all(each["learned"] for each in told):
            terminal.line(terminal.paint("~ too little was seen to tell what is usual", "dim"))
    return faults.FINE


def row(use: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one program's use of one service."""
    sign = "" if use["learned"] else "~"
    program = escaping.line(use["program"]).rstrip("/").rpartition("/")[2]
    return (
        use["service"],
        use["uid"],
        program,
        clock(use["last"]),
        use["calls"]["hour"],
        f"{sign}{short(use['calls']['usual'])}",
        short(use["tokens"]["today"]),
        f"{sign}{short(use['tokens']['usual'])}",
        ", ".join(use["told"]) or "-",
    )


VERBS = {
    "usage": Verb(
        arguments,
        usage,
        "  milecastle usage\n  milecastle usage --json | jq 'select(.told != [])'",
    )
}

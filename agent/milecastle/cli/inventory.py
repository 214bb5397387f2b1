"""`milecastle inventory`: which program of which user uses which AI service, and how much."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from milecastle.cli import faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import Colour, Column, Terminal, clock, size
from milecastle.cli.wording import pod, program, service

COLUMNS: tuple[Column, ...] = (
    Column("SERVICE", least=8),
    Column("USER", least=4),
    Column("PROGRAM", least=8),
    Column("LAST"),
    Column("CALLS", right=True),
    Column("BYTES", right=True),
    Column("TOKENS", right=True),
    Column("ACCOUNT", least=6),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``inventory``."""
    json_option(parser, "one JSON object a line")


def inventory(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print who uses what, the latest used first."""
    with Control(options.run_dir) as control:
        told = control.request("inventory")
    if options.json:
        for each in told:
            terminal.json(each)
    elif not told:
        terminal.line("nothing yet: no program on this host has called an AI service")
    else:
        colours: list[Colour | None] = [
            None if each.get("sanctioned") else "yellow" for each in told
        ]
        terminal.table(COLUMNS, [row(each) for each in told], colours)
        if any(not each.get("sanctioned") for each in told):
            terminal.line(terminal.paint("! a service that is not sanctioned", "dim"))
    return faults.FINE


def row(use: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one program's use of one service."""
    spent = use.get("tokens") or {}
    moved = use.get("bytes") or {}
    process = use.get("process") or {}
    where = pod(process) or str(use.get("container") or "")[:8]
    kinds = {str(each.get("kind")): None for each in use.get("accounts") or ()}
    return (
        service(use) if use.get("sanctioned") else f"!{service(use)}",
        use.get("user") or use.get("uid", "?"),
        program(process) + (f"@{where}" if where else ""),
        clock(use.get("last")),
        use.get("calls"),
        size(sum(moved.values())),
        short(sum(spent.values())),
        ", ".join(kinds) or "-",
    )


def short(count: int) -> str:
    """Return a number in at most five characters: 12345 is 12k."""
    for unit in ("", "k", "M", "G", "T"):
        if count < 10_000:
            return f"{count}{unit}"
        count //= 1000
    return f"{count}P"


VERBS = {
    "inventory": Verb(
        arguments,
        inventory,
        "  milecastle inventory\n"
        "  milecastle inventory --json | jq 'select(.sanctioned | not) | .service'",
    )
}

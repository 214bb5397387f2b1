"""`milecastle coverage`: how much is seen of what each program says to each service."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from milecastle.cli import faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import Colour, Column, Terminal, clock, duration
from milecastle.cli.wording import program

COLUMNS = (
    Column("STATE"),
    Column("SERVICE", least=8),
    Column("PROGRAM", least=8),
    Column("USER", least=4),
    Column("LAST"),
    Column("COUNT", right=True),
    Column("WHY", least=12),
)
BY_STATE: Mapping[str, Colour] = {"inspected": "green", "metadata only": "yellow", "blind": "red"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``coverage``."""
    json_option(parser, "one JSON object a line")


def coverage(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print what was seen, and what was not and why."""
    with Control(options.run_dir) as control:
        told = control.request("coverage")
    if options.json:
        for each in told:
            terminal.json(each)
    elif not told:
        terminal.line("nothing yet: no program on this host has called an AI service")
    else:
        colours = [BY_STATE.get(each.get("state", "")) for each in told]
        terminal.table(COLUMNS, [row(each) for each in told], colours)
    return faults.FINE


def row(seen: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one state; one that is about everybody names nobody."""
    somebody = seen.get("process") is not None
    return (
        seen.get("state"),
        seen.get("service") or "-",
        program(seen.get("process") or {}) if somebody else "-",
        (seen.get("user") or seen.get("uid", "?")) if somebody else "-",
        clock(seen.get("to")),
        seen.get("count"),
        seen.get("reason") if somebody else lasted(seen),
    )


def lasted(gap: Mapping[str, Any]) -> str:
    """Return why there is a gap, and how long it was; the column before says when it ended."""
    length = (gap.get("to") or 0) - (gap.get("from") or 0)
    return f"{gap.get('reason')} for {duration(max(0, length))}"


VERBS = {
    "coverage": Verb(
        arguments,
        coverage,
        "  milecastle coverage\n"
        "  milecastle coverage --json | jq 'select(.state != \"inspected\")'",
    )
}

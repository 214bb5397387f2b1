"""`milecastle coverage`: how much is seen of what each program says to each service."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from milecastle.cli import faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import Colour, Column, Terminal, clock, duration, plural
from milecastle.cli.wording import program, service

COLUMNS = (
    Column("STATE"),
    Column("SERVICE", least=8),
    Column("PROGRAM", least=8),
    Column("USER", least=4),
    Column("LAST"),
    Column("COUNT", right=True),
    Column("WHY", least=25),
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
        somebody = [each for each in told if each.get("process") is not None]
        if somebody:
            colours = [BY_STATE.get(each.get("state", "")) for each in somebody]
            terminal.table(COLUMNS, [row(each) for each in somebody], colours)
        for each in told:
            if each.get("process") is None:
                terminal.label("blind", gap(each), name_colour="red")
    return faults.FINE


def row(seen: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one state."""
    return (
        seen.get("state"),
        service(seen),
        program(seen.get("process") or {}),
        seen.get("user") or seen.get("uid", "?"),
        clock(seen.get("to")),
        seen.get("count"),
        seen.get("reason") or "",
    )


def gap(blind: Mapping[str, Any]) -> str:
    """Return in words when nothing was seen at all."""
    begin, end = blind.get("from") or 0, blind.get("to") or 0
    times = f"{clock(begin)} to {clock(end)} ({duration(max(0, end - begin))})"
    count = f", {plural(blind['count'], 'connection')}" if blind.get("count") else ""
    return f"{times}: {blind.get('reason')}{count}"


VERBS = {
    "coverage": Verb(
        arguments,
        coverage,
        "  milecastle coverage\n"
        "  milecastle coverage --json | jq 'select(.state != \"inspected\")'",
    )
}

"""`milecastle refuse` and `milecastle permit`: keep a service from all or some, by hand."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from milecastle.cli import escaping, faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import Column, Terminal, clock

UNITS: Mapping[str, int] = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
CALLER: Mapping[str, tuple[str, str]] = {
    "user": ("NAME", "only to this user, by name or number"),
    "exe": ("PATH", "only to this program; wildcards as in the policy"),
    "cgroup": ("PATH", "only to this cgroup and those below it, as in /proc/PID/cgroup"),
}
"""Whom a refusal can be about; several of them have to hold at once."""
COLUMNS = (
    Column("SERVICE", least=8),
    Column("TO", least=8),
    Column("REFUSED BY", least=10),
    Column("AT"),
    Column("UNTIL"),
)


def seconds(text: str) -> int:
    """Return a length of time such as ``90s``, ``30m``, ``1h``, ``2d`` in seconds."""
    found = re.fullmatch(r"([0-9]{1,6}) ?(s|m|min|h|d|w)", text)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time: say 90s, 30m, 1h or 2d")
    return int(found[1]) * UNITS[found[2]]


def refuse_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``refuse``."""
    json_option(parser, "JSON")
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE", help="a service's id; without it, list"
    )
    caller_arguments(parser)
    parser.add_argument(
        "--for", dest="time", type=seconds, default=0, metavar="TIME",
        help="for how long: 90s, 30m, 1h, 2d; without it, until it is permitted",
    )  # fmt: skip


def permit_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``permit``."""
    json_option(parser, "JSON")
    parser.add_argument("service", metavar="SERVICE", help="a service's id")
    caller_arguments(parser)


def caller_arguments(parser: argparse.ArgumentParser) -> None:
    """Read whom it is about; everybody where nothing is said."""
    for what, (metavar, meaning) in CALLER.items():
        parser.add_argument(f"--{what}", default="", metavar=metavar, help=meaning)


def caller(options: argparse.Namespace) -> dict[str, str]:
    """Return whom it is about, as the daemon is told."""
    return {what: getattr(options, what) for what in CALLER}


def whom(told: Mapping[str, Any]) -> str:
    """Return whom a refusal is about, in words."""
    said = [f"{what} {told[what]}" for what in CALLER if told.get(what)]
    return ", ".join(said) or "everybody"


def refuse(options: argparse.Namespace, terminal: Terminal) -> int:
    """Refuse new connections to a service, or list what is refused."""
    with Control(options.run_dir) as control:
        if options.service is None:
            return show(control.request("refusals"), options, terminal)
        told = control.request(
            "refuse", service=options.service, seconds=options.time, **caller(options)
        )
    if options.json:
        terminal.json(told)
    else:
        end = f"until {clock(told['until'])}" if told.get("until") else "until it is permitted"
        to = "" if (some := whom(told)) == "everybody" else f" to {some}"
        terminal.line(escaping.line(f"{told['service']} is refused{to} {end}"))
        terminal.line("connections that are open stay open")
    return faults.FINE


def permit(options: argparse.Namespace, terminal: Terminal) -> int:
    """End a refusal by hand."""
    with Control(options.run_dir) as control:
        told = control.request("permit", service=options.service, **caller(options))
    if options.json:
        terminal.json(told)
        return faults.FINE
    name = escaping.line(told["service"])
    if not told.get("was_refused"):
        terminal.line(f"{name} was not refused")
    elif told.get("rule"):
        terminal.line(f"{name} is still refused, by the policy's rule {told['rule']}")
    else:
        terminal.line(f"{name} is permitted again")
    return faults.FINE


def show(refusals: list[Mapping[str, Any]], options: argparse.Namespace, terminal: Terminal) -> int:
    """Print what is refused, and by what."""
    if options.json:
        for each in refusals:
            terminal.json(each)
    elif not refusals:
        terminal.line("no service is refused")
    else:
        terminal.table(COLUMNS, [row(each) for each in refusals])
    return faults.FINE


def row(refusal: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one refusal."""
    rule = refusal.get("rule")
    return (
        refusal.get("service"),
        whom(refusal),
        f"rule {rule}" if rule else refusal.get("by"),
        refusal.get("where"),
        clock(refusal.get("until")),
    )


VERBS = {
    "refuse": Verb(
        refuse_arguments,
        refuse,
        "  milecastle refuse deepseek --for 1h\n"
        "  milecastle refuse openai --user ci --exe /usr/bin/curl\n"
        "  milecastle refuse                      what is refused now",
    ),
    "permit": Verb(permit_arguments, permit, "  milecastle permit deepseek"),
}

"""`milecastle tail`: exchanges as they come, a line each, until Ctrl-C."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from milecastle.cli import escaping, faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.sessions import ID
from milecastle.cli.terminal import BY_ACTION, Terminal, clock
from milecastle.cli.wording import named


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``tail``."""
    json_option(parser, "one JSON object a line")
    parser.add_argument(
        "-n", "--history", type=int, default=10, metavar="N", help="past ones to begin with (10)"
    )


def tail(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print past exchanges, then each new one as it ends. Ends with the daemon, exit code 3."""
    with Control(options.run_dir) as control:
        for event in control.request("tail", history=max(0, options.history)):
            show(event, options.json, terminal)
        for event in control.events():
            show(event, options.json, terminal)
    raise faults.NoDaemonError("the daemon ended")


def show(event: Mapping[str, Any], as_json: bool, terminal: Terminal) -> None:
    """Print one event at once."""
    if as_json:
        terminal.json(event)
        return
    text = escaping.line(line(event))
    if terminal.person:
        text = escaping.cut(text, terminal.width)
    terminal.line(terminal.paint(text, BY_ACTION.get(event.get("action", ""))))
    terminal.out.flush()


def line(event: Mapping[str, Any]) -> str:
    """Return one exchange in a line: when, who, where, what, and what was done."""
    if event.get("kind", "exchange") != "exchange":
        return f"{clock(event.get('started'))} {event.get('kind')} {event.get('what', '')}"
    service = event.get("service") or event.get("host") or "?"
    tokens = f"{event.get('input_tokens') or 0}>{event.get('output_tokens') or 0}"
    words = [
        clock(event.get("ended") or event.get("started")),
        str(event.get("session", ""))[:ID],
        named(event.get("process") or {}),
        service if event.get("sanctioned") else f"!{service}",
        event.get("model") or event.get("operation") or "-",
        event.get("action", "") if event.get("action") != "allow" else "",
        " ".join(event.get("rules") or ()),
        str(event.get("status") or "-"),
        f"{tokens} tokens" if tokens != "0>0" else "",
    ]
    return " ".join(str(word) for word in words if word)


VERBS = {
    "tail": Verb(
        arguments,
        tail,
        "  milecastle tail\n"
        "  milecastle tail -n 0 --json | jq --unbuffered 'select(.findings > 0)'",
    )
}

"""`milecastle canary`: words that are planted where nobody should carry them away from.

A canary is a detection rule of the category ``marking`` in a file of root's. It is found in a
request and in an answer, in whatever encoding the detectors undo.
"""

from __future__ import annotations

import argparse
import json
import secrets
from datetime import UTC, datetime
from typing import Any

from milecastle.cli import escaping, faults, keeping
from milecastle.cli.command import Verb, json_option
from milecastle.cli.faults import InputError
from milecastle.cli.terminal import Column, Terminal, clock

FOLDER = "canaries"
LETTERS = "abcdefghjkmnpqrstvwxyz23456789"
"""None that looks like another one, so that a canary can be typed."""
LENGTH = 20
"""Characters: 98 bits."""
MOST = 300
COLUMNS = (Column("NAME", least=8), Column("TOKEN", least=24), Column("MADE"), Column("NOTE"))
FILE = """\
# milecastle canary add {name}
category: marking
severity: high
rules:
  - id: canary-{name}
    title: The canary {name}
    source: milecastle canary
    token: '{token}'
    certain: true
    matches: ['it says {token} there']
    ignores: ['ref-']
  - id: canary-{name}-capitals
    title: The canary {name} in capitals
    source: milecastle canary
    token: '{capitals}'
    certain: true
    matches: ['it says {capitals} there']
    ignores: ['REF-']
"""
"""A rule's plain beginning is what reversed and ROT13 text is looked through for, so that both
spellings are plain."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``canary add``."""
    json_option(parser)
    parser.add_argument("name", type=keeping.named, metavar="NAME", help="what findings call it")
    parser.add_argument("--note", default="", metavar="TEXT", help="where it is planted")
    keeping.state_option(parser)


def add(options: argparse.Namespace, terminal: Terminal) -> int:
    """Make a canary and print the word to plant."""
    folder = keeping.folder(options, FOLDER)
    file = folder / f"{options.name}.yaml"
    if file.exists():
        raise InputError(
            f"there is a canary {options.name} already: remove it, or take another name"
        )
    if len(list(folder.glob("*.yaml"))) >= MOST:
        raise InputError(f"there are {MOST} canaries: remove one first")
    token = "ref-" + "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    note = json.dumps({"token": token, "made": datetime.now(UTC).timestamp(), "note": options.note})
    keeping.write(
        file,
        [
            FILE.format(name=options.name, token=token, capitals=token.upper()).encode(),
            f"# {note}\n".encode(),
        ],
    )
    live = keeping.reloaded(options.run_dir)
    if options.json:
        terminal.json({"name": options.name, "token": token, "rule": f"canary-{options.name}"})
        return faults.FINE
    terminal.line(token)
    if not live:
        terminal.line("no daemon runs: it will be looked for when one does")
    return faults.FINE


def show(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print every canary."""
    found = [
        {"name": file.stem, **told(file.read_text())}
        for file in sorted(keeping.folder(options, FOLDER).glob("*.yaml"))
    ]
    if options.json:
        for each in found:
            terminal.json(each)
    elif not found:
        terminal.line("no canary: 'milecastle canary add NAME' makes one")
    else:
        rows = [(e["name"], e["token"], clock(e["made"]), escaping.line(e["note"])) for e in found]
        terminal.table(COLUMNS, rows)
    return faults.FINE


def told(text: str) -> dict[str, Any]:
    """Return what the last line of a canary's file says of it."""
    try:
        note = json.loads(text.rstrip().rpartition("\n")[2].removeprefix("# "))
        return {"token": note["token"], "made": note["made"], "note": str(note["note"])}
    except (ValueError, KeyError, TypeError):
        return {"token": "?", "made": None, "note": "a file that was changed by hand"}


def remove(options: argparse.Namespace, terminal: Terminal) -> int:
    """Look for a canary no longer."""
    file = keeping.folder(options, FOLDER) / f"{options.name}.yaml"
    return keeping.remove(options, terminal, file, f"canary {options.name}")


VERBS = {
    "canary add": Verb(
        add_arguments, add, "  sudo milecastle canary add payroll --note 'system prompt of payroll'"
    ),
    "canary list": Verb(keeping.list_arguments, show, "  sudo milecastle canary list"),
    "canary remove": Verb(
        keeping.remove_arguments, remove, "  sudo milecastle canary remove payroll"
    ),
}

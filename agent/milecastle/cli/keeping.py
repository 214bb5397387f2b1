"""Files that commands keep in the daemon's state directory, and how the daemon hears of them."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from milecastle.cli.command import json_option
from milecastle.cli.control import Control
from milecastle.cli.faults import FINE, InputError, NoDaemonError
from milecastle.cli.terminal import Terminal

STATE_DIR = Path("/var/lib/milecastle")
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")


def state_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--state-dir``."""
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR",
        help=f"without a daemon: its state directory ({STATE_DIR})",
    )  # fmt: skip


def named(text: str) -> str:
    """Return a name that may stand in a file's name and a rule's id."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name: small letters, digits and hyphens, 48 at most"
        )
    return text


def folder(options: argparse.Namespace, name: str) -> Path:
    """Return a folder of the state directory, made if need be. InputError where we may not."""
    if os.geteuid() != 0:
        raise InputError("only root may do this")
    state = options.state_dir or running(options.run_dir).get("state_dir") or STATE_DIR
    if not Path(state).is_dir():
        raise InputError(f"{state} is not there: start milecastled once, or say --state-dir")
    found = Path(state) / name
    found.mkdir(mode=0o700, exist_ok=True)
    return found


def running(run_dir: Path) -> dict[str, Any]:
    """Return what a running daemon says of itself; nothing where none runs."""
    try:
        with Control(run_dir) as daemon:
            return dict(daemon.request("status"))
    except NoDaemonError:
        return {}


def reloaded(run_dir: Path) -> bool:
    """Have a running daemon read its files again. False where none runs."""
    try:
        with Control(run_dir) as daemon:
            daemon.request("reload")
    except NoDaemonError:
        return False
    return True


def list_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of a command that lists what is kept."""
    json_option(parser, "one JSON object a line")
    state_option(parser)


def remove_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of a command that removes one thing that is kept."""
    json_option(parser)
    parser.add_argument("name", type=named, metavar="NAME")
    state_option(parser)


def remove(options: argparse.Namespace, terminal: Terminal, file: Path, what: str) -> int:
    """Remove a file that may be there, with what was noted beside it, and tell the daemon."""
    if not file.exists():
        raise InputError(f"there is no {what}: the command 'list' tells which there are")
    file.unlink()
    file.with_suffix(".json").unlink(missing_ok=True)
    reloaded(options.run_dir)
    if options.json:
        terminal.json({"name": options.name})
    else:
        terminal.line(f"{options.name} is not looked for any more")
    return FINE


def write(file: Path, pieces: Iterable[bytes]) -> int:
    """Put a file there whole or not at all, for its owner alone; return its size in bytes."""
    number, name = tempfile.mkstemp(dir=file.parent, prefix=".")
    new = Path(name)
    try:
        with os.fdopen(number, "wb") as opened:
            for piece in pieces:
                opened.write(piece)
            opened.flush()
            os.fsync(number)
            size = opened.tell()
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return size

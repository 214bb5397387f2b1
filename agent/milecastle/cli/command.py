"""What a command is made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from milecastle.cli.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Verb:
    """How one command reads its arguments and what it does."""

    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Terminal], int]
    """Returns the exit code. ``run_dir`` is always among its arguments."""
    examples: str
    """Shown at the end of --help, one a line."""


def json_option(parser: argparse.ArgumentParser, what: str = "one JSON object") -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print {what}")

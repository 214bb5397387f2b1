"""`milecastle policy learn`: a least-privilege policy from what was seen, as a proposal."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from milecastle.cli import faults, offline
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.faults import InputError
from milecastle.cli.terminal import Terminal

LARGEST = 10_000
"""Days until the exceptions end, at most."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``policy learn``."""
    json_option(parser)
    parser.add_argument(
        "--from", dest="inventory", type=Path, metavar="FILE",
        help="what `milecastle inventory --json` printed; without it, the daemon is asked",
    )  # fmt: skip
    parser.add_argument(
        "--days", type=int, default=90, metavar="N", help="until the exceptions end (90)"
    )
    parser.add_argument("--owner", default="", metavar="NAME", help="who answers for them")


def learn(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the proposed policy. Exit code 2 where nothing was seen to propose one from."""
    from milecastle.policy import check, learning

    if not 1 <= options.days <= LARGEST:
        raise InputError(f"--days is from 1 to {LARGEST}")
    catalogue = offline.catalogue()
    uses = [
        use
        for use in map(learning.used, rows(options))
        if use is not None and use.service in catalogue.services
    ]
    if not uses:
        raise InputError("nothing was seen yet that a policy could be made from")
    proposed = learning.propose(uses, now=time.time(), days=options.days, owner=options.owner[:200])
    compiled, problems = check(proposed, "(proposed)", catalogue=catalogue)
    assert compiled is not None, problems
    if options.json:
        terminal.json({"policy": proposed, "rules": [rule.id for rule in compiled.rules]})
    else:
        for line in proposed.splitlines():
            terminal.line(line)
    return faults.FINE


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of the inventory."""
    if options.inventory is None:
        with Control(options.run_dir) as control:
            yield from control.request("inventory")
        return
    for number, line in enumerate(offline.text(options.inventory).splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{options.inventory}:{number}: not JSON: {error}") from None
            if isinstance(row, dict):
                yield row


VERBS = {
    "policy learn": Verb(
        arguments,
        learn,
        "  milecastle policy learn --owner 'platform team' > learned.yaml\n"
        "  milecastle inventory --json > seen; milecastle policy learn --from seen",
    )
}

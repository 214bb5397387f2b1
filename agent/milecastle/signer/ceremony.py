"""Make, keep or renew the host's CA, in a process of its own that ends at once.

So the root's key and the intermediate's live for milliseconds, and the daemon loads no
cryptography. ``python -m milecastle.signer.ceremony`` prints one JSON line, the fields of
``Outcome``. A catalogue that outgrew the constraints is told in ``missing`` and changes nothing:
no client trusts a new root yet, so only ``--rotate`` makes one while the old still holds.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from milecastle.model import ParseError
from milecastle.signer import listed
from milecastle.signer.authority import (
    WARN,
    Authority,
    AuthorityError,
    Places,
    constrainable,
    create,
    key_fits,
    load,
)

BAD_INPUT = 2
NONE = "there was none"

type Task = Literal["ensure", "rotate", "check"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the ceremony found and did."""

    state: Literal["made", "renewed", "kept", "absent"]
    why: str
    """Why it was made or renewed, or what should be done about it; empty: all is well."""
    missing: tuple[str, ...]
    """Domains of the catalogue that the CA does not cover; their traffic passes uninspected."""
    expires: float
    """Unix time in seconds; 0 where there is no CA."""
    root: str
    """The file that clients have to trust."""


def hold(
    domains: Iterable[str],
    state: Path,
    *,
    host: str,
    now: datetime,
    owner: int | None,
    task: Task = "ensure",
) -> Outcome:
    """Leave a whole and valid CA behind (``check``: change nothing), and tell what was done."""
    wanted = tuple(domains)
    found, fault = inspect(state, now)

    def told(what: Literal["made", "renewed", "kept"], why: str, authority: Authority) -> Outcome:
        expires = authority.expires.timestamp()
        return Outcome(what, why, authority.missing(wanted), expires, str(Places(state).root))

    if task == "check" or (task == "ensure" and not fault):
        if found is None:
            return Outcome("absent", fault, constrainable(wanted), 0.0, str(Places(state).root))
        return told("kept", fault or advice(found, now), found)
    made = create(wanted, state, host=host, now=now, owner=owner)
    return told("made" if fault == NONE else "renewed", fault or "it was asked for", made)


def inspect(state: Path, now: datetime) -> tuple[Authority | None, str]:
    """Return the authority that is there, and what is wrong with it (empty: nothing)."""
    try:
        found = load(state)
    except FileNotFoundError:
        return None, "it was half made" if Places(state).key.exists() else NONE
    except AuthorityError as error:
        return None, str(error)
    if now >= found.expires:
        return found, "it had expired"
    if not key_fits(state, found):
        return found, "the signer's key was missing or another's"
    return found, ""


def advice(found: Authority, now: datetime) -> str:
    """Say that the end is near, in time to plan for it."""
    left = found.expires - now
    if left > WARN:
        return ""
    return f"it expires in {left.days} days: run 'milecastle ca rotate' and trust the new root"


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold the ceremony. Exits 2 with one line where it can't be held."""
    options = parser().parse_args(arguments)
    try:
        owner = pwd.getpwnam(options.owner).pw_uid if os.geteuid() == 0 else None
    except KeyError:
        print(f"there is no user {options.owner}: run 'make setup' as root", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    try:
        catalogue, problems = listed.catalogue(options.catalogue)
        for problem in problems:
            print(problem, file=sys.stderr)  # noqa: T201 - a command of one line
        outcome = hold(
            catalogue.domains(),
            options.state_dir,
            host=socket.gethostname(),
            now=datetime.fromtimestamp(int(time.time()), UTC),
            owner=owner,
            task=options.task,
        )
    except (ParseError, OSError) as error:
        print(f"the CA could not be made: {error}", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    print(json.dumps(asdict(outcome)))  # noqa: T201
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="milecastle.signer.ceremony", description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=Path("/var/lib/milecastle"))
    parser.add_argument("--catalogue", type=Path, action="append", default=[])
    parser.add_argument("--owner", default="milecastle-signer", help="who will own the key")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rotate", dest="task", action="store_const", const="rotate")
    which.add_argument("--check", dest="task", action="store_const", const="check")
    parser.set_defaults(task="ensure")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`milecastle ca`: the file that clients have to trust, and its renewal."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from milecastle.cli import faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.faults import InputError, NoDaemonError
from milecastle.cli.terminal import Terminal

STATE_DIR = Path("/var/lib/milecastle")
"""Where a daemon with default settings keeps its certificates; ``milecastle.settings`` says so."""
OWNER = "milecastle-signer"
"""The user who alone may read the intermediate's key."""
CERTIFICATE = Path("ca", "root.pem")
BUNDLE = Path("ca", "bundle.pem")


def files(run_dir: Path) -> tuple[Path, Path]:
    """Return the CA's certificate and the bundle, as the daemon says or at their usual place."""
    try:
        with Control(run_dir) as control:
            told = control.request("status").get("ca") or {}
        certificate, bundle = told.get("certificate"), told.get("bundle")
        if certificate:
            return Path(certificate), Path(bundle) if bundle else Path(
                certificate
            ).parent / BUNDLE.name
    except NoDaemonError:
        if not (STATE_DIR / CERTIFICATE).exists():
            raise
    return STATE_DIR / CERTIFICATE, STATE_DIR / BUNDLE


def path_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``ca path``."""
    json_option(parser)


def path(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the file of the CA's certificate."""
    certificate, bundle = files(options.run_dir)
    if not certificate.exists():
        raise InputError(f"{certificate} is not there: the daemon makes it when it starts")
    if options.json:
        terminal.json({"certificate": str(certificate), "bundle": str(bundle)})
    else:
        terminal.line(str(certificate))
    return faults.FINE


def rotate_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``ca rotate``."""
    json_option(parser)
    parser.add_argument(
        "--state-dir", type=Path,
        help=f"without a daemon: where the CA is kept ({STATE_DIR})",
    )  # fmt: skip
    parser.add_argument(
        "--catalogue", type=Path, action="append", default=[], metavar="FILE",
        help="without a daemon: a further catalogue file whose names it shall cover",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="do not ask")


def rotate(options: argparse.Namespace, terminal: Terminal) -> int:
    """Make a new CA in place of the present one: the running daemon does, or else we do."""
    if os.geteuid() != 0:
        raise InputError("only root can make a new CA")
    with daemon_of(options.run_dir, options.state_dir) as daemon:
        if daemon and options.catalogue:
            raise InputError("milecastled runs and has its catalogue: name FILE in its settings")
        state = state_dir(daemon) if daemon else options.state_dir or STATE_DIR
        if not options.yes and not agreed(state):
            raise InputError("nothing was changed")
        if daemon:
            outcome = {"state": "renewed", **daemon.request("rotate")}
        else:
            outcome = hold_ceremony(state, options.catalogue or published(options.run_dir))
    if options.json:
        terminal.json(outcome)
        return faults.FINE
    terminal.line(f"there is a new CA: {outcome['root']}")
    if outcome["missing"]:
        terminal.line(f"It cannot cover {', '.join(outcome['missing'][:5])}.")
    terminal.line("Restart everything that was told to trust the old one;")
    terminal.line("'milecastle trust env' prints how.")
    return faults.FINE


@contextmanager
def daemon_of(run_dir: Path, state: Path | None) -> Iterator[Control | None]:
    """Give the socket of the daemon that keeps its CA in ``state``, wherever that is if None.

    None where no daemon answers, or another's.
    """
    try:
        control = Control(run_dir)
    except NoDaemonError:
        yield None
        return
    with control:
        yield control if state is None or state_dir(control) == state.absolute() else None


def published(run_dir: Path) -> list[Path]:
    """Return the folder of catalogue files that a daemon has left for its signer, if any."""
    folder = run_dir / "catalogue"
    return [folder] if folder.is_dir() else []


def hold_ceremony(state: Path, catalogue: Sequence[Path]) -> dict[str, Any]:
    """Make the CA here. InputError where it can't be made."""
    # the ceremony holds the keys in a process of its own, as it does when the daemon starts
    command = [sys.executable, "-I", "-m", "milecastle.signer.ceremony", "--rotate"]
    command += ["--state-dir", str(state), "--owner", OWNER]
    for file in catalogue:
        command += ["--catalogue", str(file)]
    held = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if held.returncode:
        raise InputError(f"the CA in {state} was not renewed")
    return dict(json.loads(held.stdout))


def state_dir(daemon: Control) -> Path:
    """Return a running daemon's state directory."""
    return Path(daemon.request("status").get("state_dir") or STATE_DIR)


def agreed(state: Path) -> bool:
    """Ask the person at the keyboard; nobody there means no."""
    if not sys.stdin.isatty():
        raise InputError("say --yes: clients that trust the present CA will refuse the new one")
    print(f"The CA in {state} is replaced; clients that trust it will refuse the new one.")
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


VERBS = {
    "ca path": Verb(path_arguments, path, '  curl --cacert "$(milecastle ca path)" https://...'),
    "ca rotate": Verb(rotate_arguments, rotate, "  sudo milecastle ca rotate --yes"),
}

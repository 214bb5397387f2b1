"""`milecastle ca`: the file that clients have to trust, and its renewal."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

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
    parser.add_argument("--state-dir", type=Path, help=f"where the CA is kept ({STATE_DIR})")
    parser.add_argument(
        "--catalogue", type=Path, action="append", default=[], metavar="FILE",
        help="a further catalogue file whose names it shall cover (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="do not ask")


def rotate(options: argparse.Namespace, terminal: Terminal) -> int:
    """Make a new CA in place of the present one."""
    if os.geteuid() != 0:
        raise InputError("only root can make a new CA")
    state = options.state_dir or state_dir(options.run_dir)
    if not options.yes and not agreed(state):
        raise InputError("nothing was changed")
    # the ceremony holds the keys in a process of its own, as it does when the daemon starts
    command = [sys.executable, "-I", "-m", "milecastle.signer.ceremony", "--rotate"]
    command += ["--state-dir", str(state), "--owner", OWNER]
    for file in options.catalogue:
        command += ["--catalogue", str(file)]
    held = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if held.returncode:
        raise InputError(f"the CA in {state} was not renewed")
    outcome = json.loads(held.stdout)
    if options.json:
        terminal.json(outcome)
        return faults.FINE
    terminal.line(f"there is a new CA: {outcome['root']}")
    terminal.line("Restart milecastled, then everything that was told to trust the old one;")
    terminal.line("'milecastle trust env' prints how.")
    return faults.FINE


def state_dir(run_dir: Path) -> Path:
    """Return the running daemon's state directory, or the usual one."""
    try:
        with Control(run_dir) as control:
            return Path(control.request("status").get("state_dir") or STATE_DIR)
    except NoDaemonError:
        return STATE_DIR


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

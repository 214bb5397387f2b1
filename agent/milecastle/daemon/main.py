"""milecastled: read the configuration, say what is wrong with it, run."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from milecastle import __version__, catalogue, settings, shipped
from milecastle.daemon import preparing
from milecastle.daemon.daemon import Daemon
from milecastle.daemon.rules import Rules
from milecastle.daemon.status import Status
from milecastle.daemon.tasks import StartError
from milecastle.host import see_the_whole_tree
from milecastle.model import Problem

CANNOT_RUN = 1
"""The host is not ready for it, now: worth another try."""
BAD_INPUT = 2
"""The configuration is wrong: another try changes nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon until SIGINT or SIGTERM; where it can't, say why, one line a problem."""
    options = parser().parse_args(arguments)
    logging.basicConfig(
        format="milecastled: %(message)s",
        level=logging.DEBUG if options.verbose else logging.INFO,
        stream=sys.stderr,
    )
    if os.geteuid() != 0:
        return complain("milecastled needs root, to load BPF programs: run it with sudo")
    see_the_whole_tree()
    configured, problems = read_settings(options.config)
    if configured is None:
        return complain(*map(str, problems))
    services, problems = read_catalogue(configured)
    if services is None:
        return complain(*map(str, problems))
    rules = Rules(configured.policy, services, configured.overrides)
    if not rules.reload():
        return complain("there is no policy to begin with; see the lines above")
    try:
        asyncio.run(run(options, configured, services, rules))
    except StartError as error:
        complain(str(error))
        return CANNOT_RUN
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="milecastled",
        description="Attribute, inspect and enforce the traffic of this host to AI services.",
        epilog="example: milecastled --config /etc/milecastle/milecastled.yaml",
    )
    parser.add_argument("--config", type=Path, help="settings (YAML); without it, the defaults")
    parser.add_argument("--show", action="store_true", help="print exchanges as they come")
    parser.add_argument(
        "--external",
        action="store_true",
        help="signer and workers are started by the service manager, not by the daemon",
    )
    parser.add_argument("--verbose", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=f"milecastled {__version__}")
    return parser


async def run(
    options: argparse.Namespace,
    configured: settings.Settings,
    services: catalogue.Catalogue,
    rules: Rules,
) -> None:
    """Run one daemon in this event loop."""
    daemon = Daemon(
        configured,
        services,
        rules,
        external=options.external,
        announce=show if options.show else None,
        ready=say_ready,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, daemon.stop)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    await daemon.run()


def read_settings(path: Path | None) -> tuple[settings.Settings | None, list[Problem]]:
    """Read the settings file, or take the defaults."""
    if path is None:
        return settings.check("", "(defaults)")
    try:
        return settings.check(path.read_text(), str(path.absolute()))
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(str(path), 0, f"cannot be read: {error}")]


def read_catalogue(
    configured: settings.Settings,
) -> tuple[catalogue.Catalogue | None, list[Problem]]:
    """Read the shipped catalogue and the operator's additions."""
    try:
        extra = preparing.further_catalogue(configured)
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem("catalogue", 0, f"cannot be read: {error}")]
    loaded, problems = catalogue.load([*shipped.texts("config", "catalogue"), *extra])
    return (None, problems) if problems else (loaded, [])


def say_ready(status: Status) -> None:
    """Print that interception works, with the proof."""
    test, ca = status.outcome, status.ca.certificate
    print(f"self-test: {test.what} in {test.milliseconds:.0f} ms", flush=True)
    for sentence in status.degraded():
        print(f"degraded: {sentence}", flush=True)
    print(f"ready: {status.rules.policy.mode} mode, clients have to trust {ca}", flush=True)


def show(event: dict[str, Any]) -> None:
    """Print one event on one line; what came from the network is escaped."""
    if event["kind"] != "exchange":
        print(f"{event['kind']}: {event['what']}", flush=True)
        return
    process = event.get("process", {})
    who = process.get("comm") or "?"
    line = (
        f"{event['action']:<7} {event.get('service') or event.get('host')} "
        f"{event.get('model') or '-'} {who}[{process.get('pid', '?')}] "
        f"{event['findings']} findings {' '.join(event['rules'])}"
    )
    print(line.encode("unicode_escape").decode(), flush=True)


def complain(*lines: str) -> int:
    """Print each line to stderr, and return the exit code for bad input."""
    for line in lines:
        print(f"milecastled: {line}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())

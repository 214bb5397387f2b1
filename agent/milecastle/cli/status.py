"""`milecastle status`: what the daemon says of itself, in a screen."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from milecastle.cli import faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import Terminal, duration, plural, size


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``status``."""
    json_option(parser)
    parser.add_argument(
        "--ready", action="store_true", help="exit with 1 unless AI traffic is intercepted now"
    )


def status(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the daemon's state. Without --ready 0 also where it is not: the text says so."""
    with Control(options.run_dir) as control:
        told = control.request("status")
    ready = told.get("ready") is True
    code = faults.FINE if ready or not options.ready else faults.FINDINGS
    if options.json:
        terminal.json(told)
        return code
    word = terminal.paint("ready", "green") if ready else terminal.paint("not ready", "red")
    terminal.line(f"milecastle is {word}")
    terminal.fields(summary(told), indent=2)
    return code


def summary(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and sentences for what is there; another user is told less than root is."""
    if "version" in told:
        yield "version", f"{told['version']}, mode {told.get('mode', '?')}"
    if "uptime_s" in told:
        yield "up", f"{duration(told['uptime_s'])}, pid {told.get('pid')}"
    for sentence in told.get("degraded") or ():
        yield "attention", str(sentence)
    test = told.get("selftest") or {}
    if test:
        outcome = "passed" if test.get("passed") else "failed"
        yield "self-test", f"{outcome}: {test.get('what')}"
    policy = told.get("policy") or {}
    if policy:
        number = len(policy.get("overrides") or ())
        over = f", {plural(number, 'override')}" if number else ""
        yield "policy", f"{policy.get('file')}{over}, {plural(policy.get('rules', 0), 'rule')}"
    for worker in told.get("workers") or ():
        state = "serving" if worker.get("serving") else "not serving"
        yield "worker", f"{state}, pid {worker.get('pid')}, {worker.get('open')} open"
    for child in told.get("children") or ():
        again = child.get("starts", 1) - 1
        if again > 0:
            yield "restarts", f"{child.get('name')} was restarted {plural(again, 'time')}"
    if pods := told.get("kubernetes"):
        yield (
            "pods",
            f"{plural(pods.get('pods', 0), 'pod')} of {pods.get('node')}, by {pods.get('source')}",
        )
    namespaces = told.get("namespaces") or {}
    if excluded := namespaces.get("excluded"):
        yield "excluded", plural(excluded, "network namespace")
    yield from kept(told.get("store") or {}, told.get("records") or {})
    if lost := (told.get("ledger") or {}).get("lost"):
        yield "attention", f"{plural(lost, 'entry', 'entries')} of the ledger could not be kept"
    if servers := told.get("model_servers"):
        listed = (f"{one.get('service')} on port {one.get('port')}" for one in servers)
        yield "models here", ", ".join(listed)
    if told.get("ca"):
        yield "CA", str(told["ca"].get("certificate"))
    kernel = told.get("kernel") or {}
    counters = (f"{name} {value}" for name, value in kernel.items() if value)
    yield "kernel", ", ".join(counters)


def kept(store: Mapping[str, Any], records: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the store says."""
    if "exchanges" in store:
        sessions, exchanges = store.get("sessions", 0), store["exchanges"]
        taken = size(store.get("bytes", 0))
        amount = f"{plural(sessions, 'session')}, {plural(exchanges, 'exchange')}, {taken}"
        yield "store", amount
    if store.get("lost"):
        yield "attention", f"{plural(store['lost'], 'record')} could not be kept"
    if records.get("refused"):
        yield "attention", f"{plural(records['refused'], 'record')} of workers were refused"


VERBS = {
    "status": Verb(
        arguments,
        status,
        "  milecastle status\n  milecastle status --json | jq .ready",
    )
}

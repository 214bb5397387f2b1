"""`milecastle policy diff`: what two policies make of the same exchanges. Changes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from milecastle.catalogue import Catalogue
from milecastle.cli import faults, offline
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.policy import catalogue_option, rules_option
from milecastle.cli.terminal import BY_ACTION, Column, Terminal, plural
from milecastle.policy import Decision, Difference, Seen, diff

SESSIONS = "sessions"
COLUMNS = (
    Column("EXCHANGE", least=10),
    Column("WAY"),
    Column("SERVICE", least=8),
    Column("FOUND", right=True),
    Column("OLD", least=10),
    Column("NEW", least=10),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``policy diff``."""
    json_option(parser, "one JSON object a line, one for each message judged otherwise")
    parser.add_argument("old", type=Path, metavar="OLD", help="a policy file")
    parser.add_argument("new", type=Path, metavar="NEW", help="another")
    parser.add_argument(
        "--over", action="append", required=True, metavar="HAR|sessions",
        help="recorded traffic, or the daemon's latest sessions (may be repeated)",
    )  # fmt: skip
    catalogue_option(parser)
    rules_option(parser)


def compare(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the messages that would be judged otherwise. Exit code 1 if there are any."""
    catalogue = offline.catalogue(options.catalogue)
    old, new = (offline.policy(each, catalogue=catalogue) for each in (options.old, options.new))
    count = Count()
    differences = list(diff(old, new, count.counted(seen(options, catalogue))))
    if options.json:
        for each in differences:
            terminal.json(told(each))
    else:
        colours = [BY_ACTION.get(each.new.verdict.applied) for each in differences]
        if differences:
            terminal.table(COLUMNS, map(row, differences), colours)
        stricter = sum(weight(each.new) > weight(each.old) for each in differences)
        milder = sum(weight(each.new) < weight(each.old) for each in differences)
        terminal.line(
            f"{plural(count.messages, 'message')}, {len(differences)} judged otherwise: "
            f"{stricter} more strictly, {milder} less, {len(differences) - stricter - milder} "
            "by another rule or with other replacements"
        )
    return faults.FINDINGS if differences else faults.FINE


class Count:
    """How many messages were looked at."""

    messages = 0

    def counted(self, seen: Iterator[Seen]) -> Iterator[Seen]:
        """Yield them all."""
        for each in seen:
            self.messages += 1
            yield each


def seen(options: argparse.Namespace, catalogue: Catalogue) -> Iterator[Seen]:
    """Yield what the policies are tried on."""
    from milecastle.cli import past  # only here: it brings the detectors along

    files = [Path(each) for each in options.over if each != SESSIONS]
    if files:
        yield from past.recorded(files, catalogue, options.rules)
    if SESSIONS in options.over:
        with Control(options.run_dir) as control:
            yield from past.stored(control, catalogue)


def weight(decision: Decision) -> int:
    """Return how little of a message gets through."""
    return decision.verdict.applied.rank


def told(each: Difference) -> dict[str, Any]:
    """Return a difference as JSON."""
    who = each.subject
    return {
        "exchange": each.label,
        "direction": who.direction,
        "service": who.service,
        "model": who.model or None,
        "process": who.process.exe if who.process else None,
        "user": who.process.user if who.process else None,
        "findings": sorted({finding.rule for finding in each.findings}),
        "old": judged(each.old),
        "new": judged(each.new),
    }


def judged(decision: Decision) -> dict[str, Any]:
    """Return what a policy decided, as JSON."""
    verdict = decision.verdict
    return {
        "action": verdict.action.value,
        "applied": verdict.applied.value,
        "rule": verdict.rule,
        "mode": verdict.mode,
        "reason": verdict.reason,
        "would": decision.would.action.value if decision.would else None,
        "redacted": sorted({finding.rule for finding in decision.redact}),
        "pseudonymised": sorted({finding.rule for finding in decision.pseudonymise}),
        "neutralised": sorted({finding.rule for finding in decision.neutralise}),
    }


def row(each: Difference) -> tuple[object, ...]:
    """Return the cells of a difference."""
    service = each.subject.service or "-"
    found = sum(finding.count for finding in each.findings)
    before, after = map(in_words, (each.old, each.new))
    return (each.label, each.subject.direction, service, found, before, after)


def in_words(decision: Decision) -> str:
    """Return a verdict in some words: ``redact by keys``, ``alert by b (would block)``."""
    verdict = decision.verdict
    rule = f" by {verdict.rule}" if verdict.rule else ""
    stronger = verdict if verdict.action != verdict.applied else decision.would
    would = f" (would {stronger.action})" if stronger else ""
    return f"{verdict.applied}{rule}{would}"


VERBS = {
    "policy diff": Verb(
        arguments,
        compare,
        "  milecastle policy diff old.yaml new.yaml --over traffic.har\n"
        "  milecastle policy diff old.yaml new.yaml --over sessions --json",
    )
}

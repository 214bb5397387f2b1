"""`milecastle rules`: the detection rules, and whether each holds what its examples promise."""

from __future__ import annotations

import argparse
from pathlib import Path

from milecastle.cli import faults, offline
from milecastle.cli.command import Verb, json_option
from milecastle.cli.policy import report, rules_option
from milecastle.cli.terminal import BY_SEVERITY, Column, Terminal, plural

USUAL = Path("/etc/milecastle/rules.d")
"""Where the daemon looks for rules of the operator's own."""
COLUMNS = (
    Column("RULE", least=20),
    Column("CATEGORY", least=6),
    Column("SEVERITY"),
    Column("TITLE", least=20),
)


def list_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``rules list``."""
    json_option(parser, "one JSON object a line")
    rules_option(parser)


def show(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print every rule."""
    from milecastle.detect import check

    rules, problems = check(offline.rule_files(options.rules))
    if options.json:
        for rule in rules:
            terminal.json({
                "id": rule.id, "title": rule.title, "category": rule.category,
                "severity": rule.severity.value, "source": rule.source, "file": rule.file,
                "line": rule.line, "matches": len(rule.matches), "ignores": len(rule.ignores),
            })  # fmt: skip
    else:
        cells = [(rule.id, rule.category, rule.severity.value, rule.title) for rule in rules]
        terminal.table(COLUMNS, cells, [BY_SEVERITY.get(rule.severity) for rule in rules])
    offline.refuse(problems)
    return faults.FINE


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``rules check``."""
    json_option(parser)
    parser.add_argument(
        "files", type=Path, nargs="*", metavar="FILE", help=f"files or folders ({USUAL})"
    )


def check(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print what is wrong with own rules, beside the shipped ones: each is tried as well."""
    from milecastle import detect

    shipped, _ = detect.check(offline.rule_files())
    given = options.files or [USUAL]
    added, problems = detect.check(offline.files_of(given))
    _, twice = detect.rules.joined(shipped, added)
    problems = [*problems, *twice, *detect.try_rules(added)]
    if options.json:
        told = [{"file": each.file, "line": each.line, "what": each.what} for each in problems]
        terminal.json({"rules": len(added), "problems": told})
    elif problems:
        report(problems, terminal)
    else:
        examples = sum(len(rule.matches) + len(rule.ignores) for rule in added)
        count = f"{plural(len(added), 'rule')}, {plural(examples, 'example')}"
        terminal.line(f"{count}: nothing is wrong with them")
    return faults.BAD_INPUT if problems else faults.FINE


def test_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``rules test``."""
    json_option(parser)
    rules_option(parser)


def test(options: argparse.Namespace, terminal: Terminal) -> int:
    """Run every rule against its own examples. Exit code 2 where a file is wrong, 1 a rule."""
    from milecastle.detect import check, try_rules

    rules, problems = check(offline.rule_files(options.rules))
    offline.refuse(problems)
    failed = try_rules(rules)
    examples = sum(len(rule.matches) + len(rule.ignores) for rule in rules)
    if options.json:
        told = [{"file": each.file, "line": each.line, "what": each.what} for each in failed]
        terminal.json({"rules": len(rules), "examples": examples, "problems": told})
    elif failed:
        report(failed, terminal)
    else:
        terminal.line(f"{plural(len(rules), 'rule')}, {plural(examples, 'example')}: all as said")
    return faults.FINDINGS if failed else faults.FINE


VERBS = {
    "rules check": Verb(check_arguments, check, "  milecastle rules check own-rules.yaml"),
    "rules list": Verb(list_arguments, show, "  milecastle rules list --json | jq .id"),
    "rules test": Verb(
        test_arguments, test, "  milecastle rules test --rules /etc/milecastle/rules.d"
    ),
}

"""`milecastle policy`: is a policy right, and what would it decide? Works on files alone."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

from milecastle import settings
from milecastle.cli import escaping, faults, offline
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.faults import InputError
from milecastle.cli.terminal import BY_ACTION, Terminal, plural
from milecastle.model import Direction, Finding, Problem, Process, Severity, Subject
from milecastle.policy import Policy, Seen
from milecastle.policy.comparing import seen_by

ID = re.compile("[0-9A-Za-z-]{1,64}")
"""What may be the id of something recorded, and is no file's name."""


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``policy check``."""
    json_option(parser)
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="a policy file; without it, this host's"
    )
    catalogue_option(parser)
    rules_option(parser)


def catalogue_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--catalogue``."""
    parser.add_argument(
        "--catalogue", type=Path, action="append", default=[], metavar="FILE",
        help="a further catalogue file (may be repeated)",
    )  # fmt: skip


def rules_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--rules``."""
    parser.add_argument(
        "--rules", type=Path, action="append", default=[], metavar="FOLDER",
        help="further detection rules (may be repeated)",
    )  # fmt: skip


def check(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print every problem of a policy file and of what is laid over it, or what is in it."""
    from milecastle import policy
    from milecastle.detect import check as check_rules

    detectors, _ = check_rules(offline.rule_files(options.rules))
    file = options.file or settings.usual_policy()
    overrides = offline.overrides(file)
    compiled, problems = policy.check(
        offline.text(file),
        str(file),
        overrides=overrides,
        catalogue=offline.catalogue(options.catalogue),
        detectors=[rule.id for rule in detectors],
    )
    if options.json:
        terminal.json({
            "file": str(file),
            "overrides": [name for name, _ in overrides],
            "problems": [asdict(problem) for problem in problems],
            "rules": [rule.id for rule in compiled.rules] if compiled else None,
            "mode": compiled.mode if compiled else None,
        })  # fmt: skip
    elif compiled is None:
        report(problems, terminal)
    else:
        enforced = sum(rule.mode == "enforce" for rule in compiled.rules)
        rules = plural(len(compiled.rules), "rule")
        over = f" with {plural(len(overrides), 'override')}" if overrides else ""
        terminal.block("", 0, f"{file}{over} is in order: {rules}, {enforced} enforced")
    return faults.BAD_INPUT if compiled is None else faults.FINE


def report(problems: Sequence[Problem], terminal: Terminal) -> None:
    """Print problems, and how many there are. A line each, unbroken: editors jump to them."""
    for problem in problems:
        terminal.line(escaping.line(str(problem)))
    terminal.line(terminal.paint(plural(len(problems), "problem"), "red"))


def test_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``policy test``."""
    json_option(parser, "one JSON object a line")
    parser.add_argument("file", type=Path, metavar="FILE", help="a policy file")
    parser.add_argument(
        "cases", type=Path, nargs="?", metavar="CASES", help="its cases (FILE with .cases.yaml)"
    )
    catalogue_option(parser)


def test(options: argparse.Namespace, terminal: Terminal) -> int:
    """Run the cases that stand beside a policy. Exit code 1 where one comes out otherwise."""
    from milecastle.policy import run_cases

    cases = options.cases or options.file.with_suffix(".cases.yaml")
    catalogue = offline.catalogue(options.catalogue)
    compiled = offline.policy(options.file, catalogue=catalogue)
    outcomes, problems = run_cases(compiled, offline.text(cases), str(cases), catalogue=catalogue)
    offline.refuse(problems)
    failed = [each for each in outcomes if not each.holds]
    if options.json:
        for each in outcomes:
            told = {"case": each.case.name, "holds": each.holds, "differences": each.differences}
            terminal.json({**told, "action": each.decision.verdict.action.value})
        return faults.FINDINGS if failed else faults.FINE
    for each in failed:
        terminal.block("", 0, f"{each.case.name}: {'; '.join(each.differences)}", colour="red")
    terminal.line(f"{plural(len(outcomes), 'case')}, {len(failed)} otherwise than expected")
    return faults.FINDINGS if failed else faults.FINE


def explain_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``policy explain``."""
    json_option(parser)
    parser.add_argument(
        "what", nargs="?", metavar="FILE|ID",
        help="a policy (the shipped one), for the message that the options tell of; or the id of "
        "a recorded exchange or session, or its beginning",
    )  # fmt: skip
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="with ID: judge it by this policy, not as it was",
    )
    parser.add_argument("--service", metavar="ID", help="the service's id in the catalogue")
    parser.add_argument(
        "--finding", action="append", default=[], type=finding, metavar="CATEGORY/RULE/SEVERITY",
        help="what a detector found (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--direction", choices=get_args(Direction.__value__), default="request")
    parser.add_argument("--operation", default="chat")
    parser.add_argument("--model", default="")
    parser.add_argument("--exe", metavar="PATH", help="the process's executable")
    parser.add_argument("--user", metavar="NAME", help="the process's user")
    catalogue_option(parser)


def finding(words: str) -> Finding:
    """Return the finding that ``secret/aws-access-key/critical`` stands for."""
    category, _, rest = words.partition("/")
    rule, _, severity = rest.partition("/")
    try:
        grade = Severity(severity or "high")
    except ValueError:
        known = ", ".join(Severity)
        raise argparse.ArgumentTypeError(f"{severity!r} is none of {known}") from None
    return Finding(category, rule or "any", grade, 0, 1, "")


def explain(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the verdict on a message, imagined or recorded, and how each rule sees it."""
    recorded = options.what and not Path(options.what).exists() and ID.fullmatch(options.what)
    if not recorded:
        compiled = offline.policy(Path(options.what) if options.what else options.policy)
        imagining = Seen("", imagined(options, compiled), options.finding, time.time())
        return judged(compiled, imagining, options, terminal)
    if options.policy is None:
        from milecastle.cli.explain import explain as as_it_was

        options.id = options.what
        return as_it_was(options, terminal)
    from milecastle.cli import past

    compiled = offline.policy(options.policy)
    with Control(options.run_dir) as control:
        for each in past.exchanges(control, options.what, offline.catalogue(options.catalogue)):
            here = replace(each, subject=seen_by(compiled, each.subject))
            if not options.json:
                terminal.block("", 0, f"{each.label}, {each.subject.direction}")
            judged(compiled, here, options, terminal)
    return faults.FINE


def judged(compiled: Policy, seen: Seen, options: argparse.Namespace, terminal: Terminal) -> int:
    """Print what a policy makes of one message, rule by rule."""
    decision = compiled.decide(seen.subject, seen.findings, now=seen.at)
    explained = compiled.explain(seen.subject, seen.findings, now=seen.at)
    steps = [asdict(step) for step in explained]
    verdict = {**asdict(decision.verdict), "applied": decision.verdict.applied}
    if options.json:
        named = {"exchange": seen.label, "direction": seen.subject.direction} if seen.label else {}
        terminal.json({**named, "verdict": verdict, "steps": steps})
        return faults.FINE
    for step in steps:
        word = f"{step['action']} ({step['mode']})" if step["matched"] else "no"
        colour = BY_ACTION.get(step["action"]) if step["matched"] else "dim"
        terminal.block(
            terminal.paint("  ", None), 2, f"{step['rule']}: {word}, {step['why']}", colour=colour
        )
    applied = decision.verdict.applied
    rule = f" by {decision.verdict.rule}" if decision.verdict.rule else ""
    terminal.block(
        "", 0, f"{applied}{rule}: {decision.verdict.reason}", colour=BY_ACTION.get(applied)
    )
    return faults.FINE


def imagined(options: argparse.Namespace, compiled: Policy) -> Subject:
    """Return the subject that the options describe."""
    services = offline.catalogue(options.catalogue).services
    service = services.get(options.service) if options.service else None
    if options.service and service is None:
        raise InputError(f"the catalogue has no service {options.service!r}")
    process = None
    if options.exe or options.user:
        comm = Path(options.exe or "?").name
        process = Process(0, comm, -1, exe=options.exe, user=options.user)
    return Subject(
        service=service.id if service else None,
        category=service.category if service else "",
        standing=compiled.standing(service),
        operation=options.operation,
        model=options.model,
        process=process,
        direction=options.direction,
    )


VERBS = {
    "policy check": Verb(
        check_arguments, check, "  milecastle policy check /etc/milecastle/policy.yaml"
    ),
    "policy test": Verb(
        test_arguments, test, "  milecastle policy test /etc/milecastle/policy.yaml"
    ),
    "policy explain": Verb(
        explain_arguments,
        explain,
        "  milecastle policy explain --service openai --finding secret/aws/critical\n"
        "  milecastle policy explain policy.yaml --service deepseek --user ada\n"
        "  milecastle policy explain 3f2a --policy strict.yaml",
    ),
}

"""`milecastle scan`: texts from standard input through the detectors, answers in order as it reads.

One JSON object a line in, one out. A line that can't be read gets an ``error``, the others are
not held up by it.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from milecastle.cli import faults, offline
from milecastle.cli.command import Verb, json_option
from milecastle.cli.har import loads
from milecastle.cli.policy import rules_option
from milecastle.cli.terminal import BY_ACTION, Terminal, plural
from milecastle.cli.wording import described
from milecastle.detect import Engine, Unfinished
from milecastle.model import (
    Direction,
    Finding,
    ParseError,
    Provenance,
    Role,
    Segment,
    Standing,
    Subject,
)
from milecastle.policy import Policy

LONGEST = 64 << 20
"""Bytes of one line."""
ROLES: Mapping[str, tuple[Role, Provenance, Direction]] = {
    "system": ("system", "system", "request"),
    "user": ("user", "user", "request"),
    "assistant": ("assistant", "assistant", "response"),
    "tool": ("tool", "tool_result", "request"),
}

type Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """One text to be scanned."""

    id: object
    text: str
    role: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``scan``."""
    json_option(parser, "one JSON object a line, one for every line of the input")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="judge by this policy")
    rules_option(parser)
    parser.description = (
        'Inspect texts from standard input: lines of {"id", "text", "role"}. The role is\n'
        f"{', '.join(ROLES)}; user if it is left out."
    )


def scan(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print what is found in each line. Exit code 2 if one can't be read, else 1 if one has any."""
    engine, policy = offline.engine(options.rules), offline.policy(options.policy)
    at_once = not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode) if real(sys.stdout) else True
    encode = json.JSONEncoder(ensure_ascii=True).encode
    broken = found = count = 0
    for told in scanned(sys.stdin.buffer, engine, policy):
        count += 1
        broken += "error" in told
        found += bool(told.get("findings"))
        if options.json:
            terminal.out.write(encode(told) + "\n")
            if at_once:
                terminal.out.flush()
        else:
            show(told, terminal)
    if not options.json:
        texts = f"{plural(count, 'text')}, {found} with findings"
        terminal.line(texts + (f", {broken} unreadable" if broken else ""))
    if broken:
        return faults.BAD_INPUT
    return faults.FINDINGS if found else faults.FINE


def real(stream: IO[str]) -> bool:
    """Tell whether a stream has a file descriptor."""
    try:
        return stream.fileno() >= 0
    except OSError:
        return False


def scanned(stream: IO[bytes], engine: Engine, policy: Policy) -> Iterator[Told]:
    """Yield what is found in each line that is not empty."""
    for number, line in enumerate(lines(stream), start=1):
        if not line.strip():
            continue
        given: Given | None = None
        try:
            given = parse(line)
            yield judged(given, engine, policy)
        except ParseError as error:
            yield {"id": given and given.id, "line": number, "error": str(error)}
        except Exception as error:  # noqa: BLE001 - one text must not cost the others
            what = f"a fault of milecastle: {type(error).__name__}"
            yield {"id": given and given.id, "line": number, "error": what}


def lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield lines; of one that is too long only the beginning, which is then no JSON."""
    while line := stream.readline(LONGEST + 1):
        yield line
        while len(line) > LONGEST and not line.endswith(b"\n"):
            line = stream.readline(LONGEST + 1)


def parse(line: bytes) -> Given:
    """Return what a line asks for. ParseError where it is not such a line."""
    if len(line) > LONGEST:
        raise ParseError(f"a line of over {LONGEST >> 20} MB")
    try:
        value = loads(line)
    except ValueError:
        raise ParseError("not JSON") from None
    if not isinstance(value, dict):
        raise ParseError("not a JSON object")
    text, role = value.get("text"), value.get("role", "user")
    if not isinstance(text, str):
        raise ParseError("'text' is wanted, a string")
    if not isinstance(role, str) or role not in ROLES:
        raise ParseError(f"'role' is one of {', '.join(ROLES)}")
    return Given(value.get("id"), text, role)


def judged(given: Given, engine: Engine, policy: Policy) -> Told:
    """Return the answer to one text."""
    role, provenance, direction = ROLES[given.role]
    unfinished: Told = {}
    segment = Segment(given.text, role, provenance)
    try:
        findings = engine.scan([segment])
    except Unfinished as error:
        findings, unfinished = list(error.findings), {"unfinished": error.why}
    # nothing is known of a service, so none is held against the text
    subject = Subject(None, standing=Standing.SANCTIONED, direction=direction)
    verdict = policy.decide(subject, findings).verdict
    return {
        "id": given.id,
        "findings": [as_json(finding) for finding in findings],
        "scores": {"injection": round(engine.injection_score(segment), 6)},
        "verdict": {
            "action": verdict.action.value,
            "applied": verdict.applied.value,
            "rule": verdict.rule,
            "reason": verdict.reason,
        },
        **unfinished,
    }


def as_json(finding: Finding) -> Told:
    """Return a finding as it is printed; offsets are code points of the text."""
    return {
        "category": finding.category,
        "rule": finding.rule,
        "severity": finding.severity.value,
        "start": finding.start,
        "end": finding.end,
        "score": finding.score,
        "excerpt": finding.excerpt,
        "evidence": finding.evidence,
        "via": list(finding.via),
        "count": finding.count,
        "owasp": list(finding.owasp),
        "atlas": list(finding.atlas),
    }


def show(told: Told, terminal: Terminal) -> None:
    """Print the findings of one text, a line each; nothing where there are none."""
    name = str(told.get("id"))
    if "error" in told:
        terminal.label(name, f"line {told['line']}: {told['error']}", "red")
    for finding in told.get("findings", ()):
        place = {**finding, "where": f"{finding['start']} to {finding['end']}"}
        colour = BY_ACTION.get(told["verdict"]["action"])
        terminal.label(name, described(place), colour)
    terminal.out.flush()


VERBS = {
    "scan": Verb(
        arguments,
        scan,
        """  echo '{"id": 1, "text": "my key is ..."}' | milecastle scan --json\n"""
        "  milecastle scan < texts.jsonl",
    )
}

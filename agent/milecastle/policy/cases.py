"""Test cases that stand beside a policy: given this exchange, that verdict is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from milecastle.catalogue import Catalogue
from milecastle.model import (
    Action,
    Ancestor,
    Direction,
    Finding,
    Pod,
    Problem,
    Process,
    Service,
    Severity,
    Standing,
    Subject,
)
from milecastle.policy.conditions import FINDING_CATEGORIES, PROVENANCES
from milecastle.policy.document import day
from milecastle.policy.policy import Decision, Policy
from milecastle.yamldoc import (
    Field,
    Node,
    Report,
    Scalar,
    Shape,
    choice,
    compose,
    number,
    record,
    sequence,
    text,
)


@dataclass(frozen=True, slots=True)
class Given:
    """An exchange, as far as a policy looks at it."""

    service: str = "openai"
    category: str = ""
    """Of the service; empty: as the catalogue says."""
    standing: str = ""
    """Empty: as the policy says."""
    operation: str = "chat"
    model: str = ""
    direction: Direction = "request"
    process: Process | None = None
    account: str = ""
    destination: str = ""
    host: str = ""
    size: int | None = None
    tokens: int | None = None
    now: float | None = None
    over: tuple[str, ...] = ()
    """The rules whose limit is reached."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """What the decision has to say; what is None is not looked at."""

    action: str
    applied: str | None = None
    rule: str | None = None
    would: str | None = None
    redacted: tuple[str, ...] | None = None
    """The detectors' rules of what is redacted; so the next two."""
    pseudonymised: tuple[str, ...] | None = None
    neutralised: tuple[str, ...] | None = None
    told: tuple[str, ...] | None = None
    """The coach rules that have something to say."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    expect: Expected
    given: Given = Given()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    decision: Decision
    differences: tuple[str, ...]
    """What came otherwise than expected; none: the case holds."""

    @property
    def holds(self) -> bool:
        return not self.differences


def process(**given: Any) -> Process:  # noqa: ANN401 - read by PROCESS below
    lineage = tuple(Ancestor(0, each.rpartition("/")[2], each) for each in given["ancestry"])
    namespace, labels = given.pop("namespace", None), given.pop("pod_labels", ())
    if namespace or labels:
        pairs = dict(label.partition("=")[::2] for label in labels)
        given["pod"] = Pod("", namespace=namespace, labels=pairs)
    return Process(**{"pid": 0, "uid": 0, "comm": "", **given, "ancestry": lineage})


def finding(category: str, severity: str, score: float = 1.0, **given: Any) -> Finding:  # noqa: ANN401
    kept = {"rule": category, "start": 0, "end": 0, "excerpt": "", **given}
    return Finding(category=category, severity=Severity(severity), score=score, **kept)


def share() -> Shape[float]:
    """A number from 0 to 1."""

    def read(node: Node, report: Report) -> float | None:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
        report.at(node, "a number from 0 to 1 is wanted here")
        return None

    return Shape(read, {"type": "number", "minimum": 0, "maximum": 1})


def moment() -> Shape[float]:
    """A day, or a minute of it, in UTC; read as Unix time."""
    days = day()
    written = text("a time", r"[0-9-]{10}T[0-9]{2}:[0-9]{2}", hint="such as 2027-01-15T08:30")

    def read(node: Node, report: Report) -> float | None:
        if not isinstance(node, Scalar) or "T" not in node.text:
            return days.read(node, report)
        value = written.read(node, report)
        if value is None:
            return None
        try:
            return datetime.fromisoformat(f"{value}:00+00:00").timestamp()
        except ValueError:
            report.at(node, f"there is no {value}")
            return None

    return Shape(read, {"anyOf": [days.schema, written.schema]})


WORD = text("text", limit=1024)
OF_PROCESS = (
    *("exe", "comm", "user", "script", "client"),
    *("sha256", "container", "cgroup", "namespace"),
)
PROCESS: dict[str, Field] = {
    **{
        key: Field(WORD, f"Its {key}.")
        for key in (
            "exe",
            "comm",
            "user",
            "script",
            "client",
            "sha256",
            "container",
            "cgroup",
            "namespace",
        )
    },
    "uid": Field(number(0, 2**32 - 1), "Its user's number."),
    "groups": Field(sequence(WORD), "Its groups."),
    "argv": Field(sequence(WORD), "Its arguments."),
    "ancestry": Field(sequence(WORD), "The executables of its ancestors, parent first."),
    "pod_labels": Field(sequence(WORD), "Labels of its pod: app=chat."),
}
FINDING: dict[str, Field] = {
    "category": Field(choice(*FINDING_CATEGORIES), "The kind of finding.", required=True),
    "severity": Field(choice(*map(str, Severity)), "How bad it is.", required=True),
    "rule": Field(WORD, "The detector's rule."),
    "score": Field(share(), "The detector's confidence."),
    "provenance": Field(choice(*PROVENANCES), "Where the text stood."),
    "count": Field(number(1, 10**6), "How many matches it stands for."),
}
GIVEN: dict[str, Field] = {
    "service": Field(WORD, "The service's id."),
    "category": Field(WORD, "The service's category."),
    "standing": Field(choice(*map(str, Standing)), "Instead of what the policy says."),
    "operation": Field(WORD, "chat, embeddings, ..."),
    "model": Field(WORD, "The model that the request names."),
    "direction": Field(choice("request", "response"), "Which way."),
    "account": Field(WORD, "The kind of account."),
    "destination": Field(WORD, "The host name that the request goes to."),
    "host": Field(WORD, "The name of this machine."),
    "size": Field(number(0, 10**12), "Bytes of the message."),
    "tokens": Field(number(0, 10**12), "Tokens."),
    "process": Field(record(lambda **k: process(**{"ancestry": (), **k}), PROCESS), "Who."),
    "now": Field(moment(), "A day, or a moment of it: 2027-01-15T08:30 (UTC)."),
    "over": Field(sequence(WORD), "The rules whose limit is reached."),
    "findings": Field(sequence(record(finding, FINDING)), "What was found."),
}
EXPECT: dict[str, Field] = {
    "action": Field(choice(*map(str, Action)), "The verdict's action.", required=True),
    "applied": Field(choice(*map(str, Action)), "What is really done, in this mode."),
    "rule": Field(WORD, "The deciding rule."),
    "would": Field(choice(*map(str, Action)), "What a monitored rule would have done."),
    "redacted": Field(sequence(WORD), "The detectors' rules of what is redacted."),
    "pseudonymised": Field(sequence(WORD), "The same of what is pseudonymised."),
    "neutralised": Field(sequence(WORD), "The same of what is neutralised."),
    "told": Field(sequence(WORD), "The coach rules that have something to say."),
}
CASE: dict[str, Field] = {
    "name": Field(WORD, "One sentence that says what is tested.", required=True),
    "given": Field(record(Given, GIVEN), "The exchange."),
    "expect": Field(record(Expected, EXPECT), "The verdict.", required=True),
}


def case() -> Shape[Case]:
    """One case, with its line."""

    def read(node: Node, report: Report) -> Case | None:
        return record(lambda **given: Case(line=node.line, **given), CASE).read(node, report)

    return Shape(read, record(Case, CASE).schema)


KEYS: dict[str, Field] = {"cases": Field(sequence(case()), "The cases.", required=True)}


def run_cases(
    policy: Policy, content: str, file: str, *, catalogue: Catalogue | None = None
) -> tuple[list[Outcome], list[Problem]]:
    """Return what the policy makes of each case, and what is wrong with the file of cases."""
    tree, problems = compose(content, file)
    report = Report(file, problems)
    cases = record(lambda cases: cases, KEYS).read(tree, report) if tree else None
    services = catalogue.services if catalogue else {}
    return [run(policy, each, services) for each in cases or ()], report.problems


def run(policy: Policy, case: Case, services: Mapping[str, Service]) -> Outcome:
    """Return what the policy makes of one case."""
    given, expect = case.given, case.expect
    service = services.get(given.service) or Service(given.service, "", "", "")
    subject = Subject(
        given.service,
        given.category or service.category,
        Standing(given.standing) if given.standing else policy.standing(service),
        given.operation,
        given.model,
        given.process,
        given.direction,
        given.account,
        given.destination,
        given.host,
        given.size,
        given.tokens,
    )
    decision = policy.decide(subject, given.findings, now=given.now, over=given.over)
    would = decision.would.action if decision.would else None
    got = {
        "action": (expect.action, str(decision.verdict.action)),
        "applied": (expect.applied, str(decision.verdict.applied)),
        "rule": (expect.rule, decision.verdict.rule),
        "would": (expect.would, would and str(would)),
        "redacted": (expect.redacted, tuple(each.rule for each in decision.redact)),
        "pseudonymised": (
            expect.pseudonymised,
            tuple(each.rule for each in decision.pseudonymise),
        ),
        "neutralised": (expect.neutralised, tuple(each.rule for each in decision.neutralise)),
        "told": (expect.told, tuple(each.rule for each in decision.notices)),
    }
    wrong = tuple(
        f"{key}: {was!r}, {wanted!r} was expected"
        for key, (wanted, was) in got.items()
        if wanted is not None and wanted != was
    )
    return Outcome(case, decision, wrong)

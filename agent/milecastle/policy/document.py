"""A policy file, version 1: its keys as tables, and the document that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from milecastle.model import Action, Json, Mode, OnFailure, Style
from milecastle.policy.actions import ACTIONS
from milecastle.policy.asking import Test
from milecastle.policy.conditions import (
    COUNT,
    FINDING,
    PROCESS,
    SUBJECT,
    TIME,
    Condition,
    passages,
)
from milecastle.policy.contradictions import SCHEMA, contradictions
from milecastle.policy.limiting import SPANS, WHO, Limit
from milecastle.yamldoc import (
    Field,
    Node,
    Report,
    Scalar,
    Shape,
    choice,
    flag,
    number,
    record,
    sequence,
    text,
)

MOST_RULES = 5000


@dataclass(frozen=True, slots=True)
class When:
    """The conditions of one rule, all of which have to hold."""

    subject: Mapping[str, Test] = field(default_factory=dict)
    finding: Mapping[str, Test] | None = None
    """Conditions on one finding, all on the same; None where the rule asks for no finding."""
    count: Test | None = None
    time: Test | None = None
    passage: Test | None = None
    """What ``direction`` asks of a finding: that it stands in a tool call, or in a tool result."""

    asks: frozenset[str] = field(init=False, compare=False, repr=False)
    """The keys that it has, finding as one."""

    def __post_init__(self) -> None:
        others = {"finding": self.finding, "time": self.time}
        keys = frozenset(self.subject) | {key for key, test in others.items() if test is not None}
        object.__setattr__(self, "asks", keys)


@dataclass(frozen=True, slots=True)
class Exemption:
    """Who answers for an exception, why, and until when."""

    owner: str
    reason: str
    expires: float
    """Unix time in seconds; from then on the exception is void."""


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    action: Action
    when: When = When()
    description: str = ""
    mode: Mode | None = None
    """None: as the document says."""
    reason: str = ""
    """What the person or program at the other end is told."""
    on_failure: OnFailure | None = None
    exception: Exemption | None = None
    style: Style = "error"
    limit: Limit | None = None
    must_inspect: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class Services:
    """What the organisation thinks of services: ids and globs."""

    sanctioned: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()
    unsanctioned: tuple[str, ...] = ()
    default: str = "unsanctioned"


@dataclass(frozen=True, slots=True)
class Failure:
    """What happens where inspection could not be done, by service."""

    default: OnFailure = "open"
    open: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A policy as it was written, defaults filled in."""

    version: int = 1
    mode: Mode = "monitor"
    on_failure: Failure = Failure()
    services: Services = Services()
    intercept: tuple[str, ...] = ()
    """Ids and globs of the services that are not decrypted."""
    rules: tuple[Rule, ...] = ()


def version() -> Shape[int]:
    """The number 1; in quotes it would be text."""

    def read(node: Node, report: Report) -> int | None:
        if isinstance(node, Scalar) and node.value == 1 and isinstance(node.value, int):
            return 1
        report.at(node, "the version of this format is wanted here, which is 1")
        return None

    return Shape(read, {"const": 1})


def identifier() -> Shape[str]:
    return text("an id", r"[a-z0-9][a-z0-9._-]{0,99}", hint="lower-case letters, digits, . _ -")


def service_globs() -> Shape[tuple[str, ...]]:
    """Services by id and wildcard."""
    word = text("a service's id", r"[a-z0-9*?\[\]-]{1,64}", hint="an id of the catalogue; * ? [ab]")
    return sequence(word)


def standing_globs() -> Shape[tuple[str, ...]]:
    """The same, each once: `checking.twice` says where one stands again."""
    listed = service_globs()
    return Shape(listed.read, {**listed.schema, "uniqueItems": True})


def day() -> Shape[float]:
    """A date; read as the Unix time at which that day begins, in UTC."""
    written = text("a date", r"[0-9]{4}-[0-9]{2}-[0-9]{2}", hint="such as 2026-12-31")

    def read(node: Node, report: Report) -> float | None:
        value = written.read(node, report)
        if value is None:
            return None
        try:
            when = date.fromisoformat(value)
        except ValueError:
            report.at(node, f"there is no {value}")
            return None
        return datetime(when.year, when.month, when.day, tzinfo=UTC).timestamp()

    return Shape(read, {**written.schema, "format": "date"})


def conditions[S](table: Mapping[str, Condition[S]]) -> dict[str, Field]:
    return {key: Field(condition.shape, condition.doc) for key, condition in table.items()}


def when(**written: Test | dict[str, Test]) -> When:
    """Put the conditions of a ``when`` where they are looked at."""
    finding, time = written.pop("finding", None), written.pop("time", None)
    process = written.pop("process", {})
    assert isinstance(process, dict)
    subject = {key: test for key, test in written.items() if isinstance(test, Test)}
    subject |= {test.key: test for test in process.values()}
    made = When(subject, time=time if isinstance(time, Test) else None)
    if not isinstance(finding, dict):
        return made
    inside = passages(subject["direction"]) if "direction" in subject else None
    others = {key: test for key, test in finding.items() if key != "count"}
    return replace(made, finding=others, count=finding.get("count"), passage=inside)


def failure() -> Shape[Failure]:
    """One word for all services, or a mapping with exceptions from the default."""
    word = choice("open", "closed")
    whole = record(Failure, FAILURE)

    def read(node: Node, report: Report) -> Failure | None:
        if not isinstance(node, Scalar):
            return whole.read(node, report)
        chosen = word.read(node, report)
        return None if chosen is None else Failure("closed" if chosen == "closed" else "open")

    return Shape(read, {"anyOf": [word.schema, whole.schema]})


def rule() -> Shape[Rule]:
    """One rule, with what its keys ask of each other."""
    written = record(lambda **given: given, RULE)

    def read(node: Node, report: Report) -> Rule | None:
        given = written.read(node, report)
        if given is None:
            return None
        made = Rule(line=node.line, **{**given, "action": Action(given["action"])})
        for what, hint in contradictions(made):
            report.at(node, f"rule {made.id!r}: {what}", hint)
        return made

    return Shape(read, {**written.schema, **SCHEMA})


def limit() -> Shape[Limit]:
    """How many calls or tokens; one of the two."""
    written = record(lambda **given: given, LIMIT)

    def read(node: Node, report: Report) -> Limit | None:
        given = written.read(node, report)
        if given is None:
            return None
        calls, tokens = given.pop("calls", None), given.pop("tokens", None)
        if (calls is None) == (tokens is None):
            report.at(node, "either `calls` or `tokens` is wanted here", "two limits: two rules")
            return None
        return Limit("tokens" if calls is None else "calls", calls or tokens, **given)

    one_of: list[Json] = [{"required": ["calls"]}, {"required": ["tokens"]}]
    return Shape(read, {**written.schema, "oneOf": one_of})


def intercepted(except_: tuple[str, ...] = ()) -> tuple[str, ...]:
    return except_


LIMIT: dict[str, Field] = {
    "calls": Field(number(1, 10**9), "So many requests."),
    "tokens": Field(number(1, 10**12), "So many tokens, asked and answered, as they are billed."),
    "per": Field(choice(*SPANS), "In which span; hour where absent."),
    "by": Field(choice(*WHO), "Who has a sum of his own; user where absent."),
}
EXCEPTION: dict[str, Field] = {
    "owner": Field(text("a person or a team", limit=200), "Who answers for it.", required=True),
    "reason": Field(text("a reason", limit=1000), "Why it is there.", required=True),
    "expires": Field(day(), "The first day on which it no longer holds (UTC).", required=True),
}
WHEN: dict[str, Field] = {
    **conditions(SUBJECT),
    "time": TIME,
    "process": Field(record(dict, conditions(PROCESS)), "The process that speaks."),
    "finding": Field(
        record(dict, {**conditions(FINDING), "count": COUNT}),
        "What was found; all keys hold for one and the same finding.",
    ),
}
RULE: dict[str, Field] = {
    "id": Field(identifier(), "Names the rule in verdicts and records.", required=True),
    "description": Field(text("a description", limit=1000), "What it is for."),
    "when": Field(record(when, WHEN), "All conditions have to hold; of a list, one."),
    "action": Field(choice(*map(str, ACTIONS)), "What is done.", required=True),
    "mode": Field(choice("monitor", "enforce"), "This rule's own mode."),
    "reason": Field(text("a reason", limit=500), "What the person or program is told."),
    "on_failure": Field(
        choice("open", "closed"),
        "Where this rule is enforced: what happens if the inspection could not be done.",
    ),
    "exception": Field(
        record(Exemption, EXCEPTION), "With action allow: take away what the rule covers."
    ),
    "style": Field(
        choice("error", "message"),
        "How a stopped message is told: the provider's error, or an assistant's words.",
    ),
    "limit": Field(limit(), "With action limit: how much goes through."),
    "must_inspect": Field(
        flag(), "Connections that cannot be decrypted are refused, not passed through."
    ),
}
FAILURE: dict[str, Field] = {
    "default": Field(choice("open", "closed"), "For services not named below."),
    "open": Field(service_globs(), "Services whose traffic then passes uninspected."),
    "closed": Field(service_globs(), "Services whose traffic is then refused."),
}
SERVICES: dict[str, Field] = {
    "sanctioned": Field(standing_globs(), "Services that are approved."),
    "tolerated": Field(standing_globs(), "Services that are neither."),
    "unsanctioned": Field(standing_globs(), "Services that are not wanted."),
    "default": Field(
        choice("sanctioned", "tolerated", "unsanctioned"), "The standing of every other service."
    ),
}
INTERCEPT: dict[str, Field] = {
    "except": Field(service_globs(), "Services that are attributed and never decrypted."),
}
KEYS: dict[str, Field] = {
    "version": Field(
        version(),
        "The version of this format: 1.",
        required=True,
    ),
    "mode": Field(
        choice("monitor", "enforce"), "monitor reports what would be done, enforce does it."
    ),
    "on_failure": Field(
        failure(), "open lets traffic pass that could not be inspected, closed refuses it."
    ),
    "services": Field(record(Services, SERVICES), "What you think of which service."),
    "intercept": Field(record(intercepted, INTERCEPT), "What is decrypted: all, except ..."),
    "rules": Field(
        sequence(rule(), limit=MOST_RULES), "What is done when. Their order settles only ties."
    ),
}
DOCUMENT = record(Document, KEYS)

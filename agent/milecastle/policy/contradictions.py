"""Keys of a rule that do not go together: one table for the checker and for the JSON Schema.

Each row says what is wrong of a rule that was read, and describes the same to an editor. A test
holds both against each other on generated rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milecastle.model import Action, Json
from milecastle.policy.actions import ACTIONS
from milecastle.policy.conditions import PROCESS, SUBJECT, WITHIN

if TYPE_CHECKING:
    from milecastle.policy.document import Rule

OF_SERVICE = frozenset({"service", "category", "standing"})
"""What is known of a connection before anything was said on it, whoever makes it."""
OF_CALLER = frozenset(
    {"user", "process.exe", "process.sha256", "process.cgroup", "process.container"}
)
"""What the kernel itself can compare of whoever connects, once it is told the numbers."""
AT_CONNECT = OF_SERVICE | {"user", "group", "host"} | {f"process.{key}" for key in PROCESS}
"""What is known of a connection before anything was said on it, and of who makes it."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    of: Callable[[Rule], str]
    """What is wrong with a rule, in words; empty: nothing."""
    hint: str
    schema: dict[str, Json]
    """Holds for a rule, as it is written, exactly where nothing is wrong."""


def absent(key: str) -> dict[str, Json]:
    return {"properties": {key: False}}


def required(*keys: str) -> dict[str, Json]:
    names: list[Json] = list(keys)
    return {"required": names}


def implies(condition: dict[str, Json], then: dict[str, Json]) -> dict[str, Json]:
    """Return the schema that asks for ``then`` where the condition holds."""
    return {"if": condition, "then": then}


def acts(actions: Sequence[Action]) -> dict[str, Json]:
    """Return the schema of rules with one of these actions."""
    names: list[Json] = [action.value for action in actions]
    return {"properties": {"action": {"enum": names}}, "required": ["action"]}


def within(key: str, inner: dict[str, Json]) -> dict[str, Json]:
    """Return the schema of what a key holds, where it is there."""
    return {"properties": {key: inner}}


def says(key: str, value: Json) -> dict[str, Json]:
    """Return the schema of what holds this key with this value."""
    return {**within(key, {"const": value}), **required(key)}


def one_or_listed(words: Sequence[str]) -> dict[str, Json]:
    """Return the schema of one of these words, or of a list that holds one."""
    names: list[Json] = list(words)
    listed: Json = {"type": "array", "contains": {"enum": names}}
    return {"anyOf": [{"enum": names}, listed]}


def asked_too_late(rule: Rule, what: str) -> str:
    late = ", ".join(sorted(rule.when.asks - AT_CONNECT))
    return f"{what} asks for {late}, unknown when a connection is made" if late else ""


def inside(rule: Rule) -> list[str]:
    """Return the directions that are about findings in a tool's call or result."""
    test = rule.when.subject.get("direction")
    return sorted(WITHIN.keys() & set(test.wants.split(" or "))) if test else []


def without_finding(rule: Rule) -> str:
    lacking = inside(rule) and rule.when.finding is None
    return f"{' and '.join(inside(rule))} without a finding" if lacking else ""


def no_request(rule: Rule) -> str:
    test = rule.when.subject.get("direction")
    asks = test is not None and "request" not in test.wants.split(" or ")
    return "limit counts requests, and it asks for others" if rule.limit and asks else ""


EDITING = [action for action, meaning in ACTIONS.items() if meaning.needs_finding]
STOPPING = [action for action in ACTIONS if action.stops]
EARLY: list[Json] = [*sorted({key.split(".")[0] for key in AT_CONNECT})]
KNOWN_EARLY = within("when", {"propertyNames": {"enum": EARLY}})
FILLED: dict[str, Json] = {"minProperties": 1}
ANY_OF_THEM: list[Json] = [
    *(required(key) for key in (*SUBJECT, "time")),
    *({**required(key), **within(key, FILLED)} for key in ("process", "finding")),
]
COVERING: dict[str, Json] = {"anyOf": ANY_OF_THEM}

CONTRADICTIONS: tuple[Contradiction, ...] = (
    Contradiction(
        without_finding,
        "add `finding` to `when`",
        within(
            "when",
            implies(
                {**within("direction", one_or_listed(list(WITHIN))), **required("direction")},
                required("finding"),
            ),
        ),
    ),
    Contradiction(
        lambda rule: (
            f"{rule.action} acts on findings, and it asks for none"
            if rule.action in EDITING and rule.when.finding is None
            else ""
        ),
        "add `finding` to `when`",
        implies(acts(EDITING), {**required("when"), **within("when", required("finding"))}),
    ),
    Contradiction(
        lambda rule: asked_too_late(rule, "refuse") if rule.action is Action.REFUSE else "",
        "use block",
        implies(acts([Action.REFUSE]), KNOWN_EARLY),
    ),
    Contradiction(
        lambda rule: asked_too_late(rule, "must_inspect") if rule.must_inspect else "",
        "make two rules of it",
        implies(says("must_inspect", True), KNOWN_EARLY),
    ),
    Contradiction(
        lambda rule: (
            "`action: limit` and the key `limit` go together"
            if (rule.action is Action.LIMIT) != (rule.limit is not None)
            else ""
        ),
        "limit: {calls: 100, per: hour}",
        {**implies(acts([Action.LIMIT]), required("limit")), "else": absent("limit")},
    ),
    Contradiction(
        lambda rule: (
            "limit counts requests, and it asks for findings"
            if rule.action is Action.LIMIT and rule.when.finding is not None
            else ""
        ),
        "take `finding` out of `when`",
        implies(acts([Action.LIMIT]), within("when", absent("finding"))),
    ),
    Contradiction(
        no_request,
        "take `direction` out of `when`",
        implies(
            acts([Action.LIMIT]), within("when", within("direction", one_or_listed(["request"])))
        ),
    ),
    Contradiction(
        lambda rule: (
            f"a style, and {rule.action} stops nothing"
            if rule.style != "error" and not rule.action.stops
            else ""
        ),
        "leave `style` out",
        implies(says("style", "message"), acts(STOPPING)),
    ),
    Contradiction(
        lambda rule: (
            f"an exception with the action {rule.action}"
            if rule.exception and rule.action is not Action.ALLOW
            else ""
        ),
        "the action of an exception is allow",
        implies(required("exception"), acts([Action.ALLOW])),
    ),
    Contradiction(
        lambda rule: "an exception has no mode" if rule.exception and rule.mode else "",
        "leave `mode` out; it counts in both",
        implies(required("exception"), absent("mode")),
    ),
    Contradiction(
        lambda rule: (
            "an exception from everything"
            if rule.exception
            and not (rule.when.subject or rule.when.finding or rule.when.count or rule.when.time)
            else ""
        ),
        "say in `when` what it covers",
        implies(required("exception"), {**required("when"), **within("when", COVERING)}),
    ),
)
SCHEMA: dict[str, Json] = {"allOf": [row.schema for row in CONTRADICTIONS]}


def contradictions(rule: Rule) -> Iterator[tuple[str, str]]:
    """Yield (what, hint) for keys of a rule that do not go together."""
    for row in CONTRADICTIONS:
        if what := row.of(rule):
            yield what, row.hint

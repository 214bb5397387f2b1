"""A policy and the files laid over it, in order: what each may say, and what comes of it.

A later file wins. A rule with an id that is there takes that rule's place; one with a new id is
added; an id under `disable` takes a rule away. A service named in a list leaves the lists beside
it. Everything else that a file says stands in the place of what was said before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from milecastle.policy.document import (
    FAILURE,
    KEYS,
    SERVICES,
    Document,
    Failure,
    Rule,
    failure,
    identifier,
)
from milecastle.yamldoc import Field, Node, Report, Scalar, Shape, record, sequence

STANDINGS = ("sanctioned", "tolerated", "unsanctioned")
WAYS = ("open", "closed")


def failure_changes() -> Shape[Failure | dict[str, Any]]:
    """One word in the place of all that was said before, or a mapping that changes parts of it."""
    whole: Shape[Failure] = failure()
    parts: Shape[dict[str, Any]] = record(dict, FAILURE)

    def read(node: Node, report: Report) -> Failure | dict[str, Any] | None:
        return (whole if isinstance(node, Scalar) else parts).read(node, report)

    return Shape(read, whole.schema)


OVERRIDE: dict[str, Field] = {
    **KEYS,
    "on_failure": Field(failure_changes(), KEYS["on_failure"].doc),
    "services": Field(record(dict, SERVICES), KEYS["services"].doc),
    "disable": Field(sequence(identifier()), "Rules of the files before that do not count."),
}
"""The keys of a file that is laid over another."""


def laid_over(document: Document, given: Mapping[str, Any]) -> Document:
    """Return the document with the changes of one OVERRIDE."""
    services, failing = document.services, document.on_failure
    if isinstance(given.get("on_failure"), Failure):
        failing = given["on_failure"]
    elif "on_failure" in given:
        failing = replace(failing, **moved(failing, given["on_failure"], WAYS))
    if "services" in given:
        services = replace(services, **moved(services, given["services"], STANDINGS))
    return Document(
        mode=given.get("mode", document.mode),
        on_failure=failing,
        services=services,
        intercept=(*document.intercept, *given.get("intercept", ())),
        rules=replaced(document.rules, given.get("rules", ()), given.get("disable", ())),
    )


def moved(before: object, given: Mapping[str, Any], lists: Sequence[str]) -> dict[str, Any]:
    """Return the changed lists: a service named anew stands only where it is named now."""
    named = {service for each in lists for service in given.get(each, ())}
    changed = {
        each: (
            *(service for service in getattr(before, each) if service not in named),
            *given.get(each, ()),
        )
        for each in lists
    }
    return {**given, **changed}


def replaced(
    before: Sequence[Rule], given: Sequence[Rule], disabled: Sequence[str]
) -> tuple[Rule, ...]:
    """Return the rules in their order, replaced by id, without the disabled, the new ones last."""
    rules = {rule.id: rule for rule in before if rule.id not in disabled}
    rules.update((rule.id, rule) for rule in given)
    return tuple(rules.values())

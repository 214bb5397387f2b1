"""A policy file, and those laid over it -> Policy, or everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Sequence as SequenceType
from typing import Any

from milecastle.catalogue import Catalogue
from milecastle.model import Problem
from milecastle.policy.document import DOCUMENT, MOST_RULES
from milecastle.policy.merging import OVERRIDE, laid_over
from milecastle.policy.patterns import any_of, is_glob
from milecastle.policy.policy import Policy
from milecastle.yamldoc import (
    Mapping,
    Node,
    Report,
    Scalar,
    Sequence,
    Shape,
    compose,
    nearest,
    record,
)

SERVICE_PLACES: tuple[tuple[str, ...], ...] = (
    ("services", "sanctioned"),
    ("services", "tolerated"),
    ("services", "unsanctioned"),
    ("intercept", "except"),
    ("on_failure", "open"),
    ("on_failure", "closed"),
    ("rules", "when", "service"),
)
"""Where a policy names services."""
CHANGES: Shape[dict[str, Any]] = record(dict, OVERRIDE)
DETECTOR_PLACES: tuple[tuple[str, ...], ...] = (("rules", "when", "finding", "rule"),)


def check(
    content: str,
    file: str,
    *,
    overrides: SequenceType[tuple[str, str]] = (),
    catalogue: Catalogue | None = None,
    detectors: Collection[str] = (),
) -> tuple[Policy | None, list[Problem]]:
    """Return the policy and no problem, or None and every problem of its files.

    ``overrides`` are (file, content) of what is laid over it, in order. With a catalogue, services
    that it does not have are problems; with the ids of the detectors' rules, so are findings that
    none of them makes.
    """
    document, problems = read(content, file, DOCUMENT, catalogue, detectors)
    for name, text in overrides:
        changes, more = read(text, name, CHANGES, catalogue, detectors)
        if changes is not None and document is not None:
            more += unknown(text, name, [rule.id for rule in document.rules])
            document = laid_over(document, changes)
        problems += sorted(more, key=lambda problem: (problem.line, problem.column))
    if document is not None and len(document.rules) > MOST_RULES:
        problems.append(Problem(file, 0, f"{len(document.rules)} rules, {MOST_RULES} may be"))
    return (None if problems or document is None else Policy(document)), problems


def read[T](
    content: str,
    file: str,
    shape: Shape[T],
    catalogue: Catalogue | None,
    detectors: Collection[str],
) -> tuple[T | None, list[Problem]]:
    """Return one file by its shape, and everything that is wrong with it."""
    tree, problems = compose(content, file)
    report = Report(file, problems)
    if tree is None:
        return None, report.problems
    document = shape.read(tree, report)
    twice(tree, ("rules", "id"), report)
    for place in SERVICE_PLACES[:3]:
        twice(tree, place, report)
    if catalogue is not None:
        for place in SERVICE_PLACES:
            known(tree, place, catalogue.services, "service of the catalogue", report)
    if detectors:
        for place in DETECTOR_PLACES:
            known(tree, place, detectors, "rule of a detector", report)
    report.problems.sort(key=lambda problem: (problem.line, problem.column))
    return document, report.problems


def unknown(content: str, file: str, rules: Collection[str]) -> list[Problem]:
    """Return the disabled rules that no file before has."""
    tree, _ = compose(content, file)
    report = Report(file)
    for word in words(tree, ("disable",)):
        if word.text not in rules:
            report.at(word, f"there is no rule {word.text!r} to disable", nearest(word.text, rules))
    return report.problems


def words(node: Node | None, place: tuple[str, ...]) -> Iterator[Scalar]:
    """Yield the words at a place of the tree, looking into every item of lists on the way."""
    match node:
        case Sequence():
            for item in node.items:
                yield from words(item, place)
        case Mapping() if place:
            yield from words(node.entries.get(place[0]), place[1:])
        case Scalar() if not place and isinstance(node.value, str):
            yield node


def twice(tree: Node, place: tuple[str, ...], report: Report) -> None:
    """Note words that stand at a place more than once."""
    first: dict[str, Scalar] = {}
    for word in words(tree, place):
        if (before := first.setdefault(word.text, word)) is not word:
            report.at(word, f"{word.text!r} stands here twice", f"first on line {before.line}")


def known(
    tree: Node, place: tuple[str, ...], names: Collection[str], what: str, report: Report
) -> None:
    """Note words at a place that name nothing."""
    for word in words(tree, place):
        if is_glob(word.text):
            if not any(map(any_of([word.text]), names)):
                report.at(word, f"{word.text!r} fits no {what}")
        elif word.text not in names:
            report.at(word, f"{word.text!r} is no {what}", nearest(word.text, names))

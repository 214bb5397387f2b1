"""A policy file -> Policy, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from milecastle.catalogue import Catalogue
from milecastle.model import Problem
from milecastle.policy.document import DOCUMENT
from milecastle.policy.patterns import any_of, is_glob
from milecastle.policy.policy import Policy
from milecastle.yamldoc import Mapping, Node, Report, Scalar, Sequence, compose, nearest

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
DETECTOR_PLACES: tuple[tuple[str, ...], ...] = (("rules", "when", "finding", "rule"),)


def check(
    content: str,
    file: str,
    *,
    catalogue: Catalogue | None = None,
    detectors: Collection[str] = (),
) -> tuple[Policy | None, list[Problem]]:
    """Return the policy and no problem, or None and every problem of the file.

    With a catalogue, services that it does not have are problems; with the ids of the detectors'
    rules, so are findings that none of them makes.
    """
    tree, problems = compose(content, file)
    report = Report(file, problems)
    if tree is None:
        return None, report.problems
    document = DOCUMENT.read(tree, report)
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
    return (None if report.problems or document is None else Policy(document)), report.problems


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

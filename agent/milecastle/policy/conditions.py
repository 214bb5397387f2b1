"""What a rule can ask for: one table for reading, deciding, explaining and the schema.

A condition reads one value of the subject or of a finding. Where that value is not known, the
condition does not hold; so an exception never covers what could not be told.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from milecastle.model import Finding, Process, Severity, Standing, Subject
from milecastle.policy.patterns import any_of
from milecastle.yamldoc import Field, Node, Report, Scalar, Shape, choice, one_or_many, text

FINDING_CATEGORIES = ("secret", "pii", "injection", "tool", "document", "marking", "usage")
PROVENANCES = (
    "user",
    "system",
    "assistant",
    "reasoning",
    "tool_call",
    "tool_result",
    "tool_definition",
    "file",
    "web",
)
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Test:
    """One condition of one rule."""

    key: str
    """Where it stands in the document: ``process.exe``."""
    wants: str
    """In words. Tests of one key with equal words are equal."""
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Condition[S]:
    """One key of ``when``: how it is written, and which value it looks at."""

    shape: Shape[Test]
    doc: str
    value: Callable[[S], Hashable | None]
    """Hashable, for verdicts are found by value; None where it is not known."""


def tested[V](shape: Shape[V], make: Callable[[V], Test]) -> Shape[Test]:
    """Return the shape that reads the same and makes a test of it."""

    def read(node: Node, report: Report) -> Test | None:
        value = shape.read(node, report)
        return None if value is None else make(value)

    return Shape(read, shape.schema)


def globs(key: str, *, fold: bool = False, every: bool = False) -> Shape[Test]:
    """Words with wildcards; with ``every``, the value is a tuple and one element has to fit."""

    def make(patterns: tuple[str, ...]) -> Test:
        fits = any_of(patterns, fold=fold)
        holds = (lambda values: any(map(fits, values))) if every else fits
        return Test(key, " or ".join(patterns), holds)

    return tested(one_or_many(text("a word; *, ? and [ab] are wildcards", limit=256)), make)


def words(key: str, *known: str) -> Shape[Test]:
    """Words of a closed set."""
    return tested(one_or_many(choice(*known)), lambda chosen: any_word(key, chosen))


def any_word(key: str, chosen: tuple[str, ...]) -> Test:
    return Test(key, " or ".join(chosen), frozenset(chosen).__contains__)


def hashes(key: str) -> Shape[Test]:
    """SHA-256 sums in hexadecimal."""

    def make(sums: tuple[str, ...]) -> Test:
        return any_word(key, tuple(each.lower() for each in sums))

    return tested(one_or_many(text("a SHA-256 in hexadecimal", "[0-9a-fA-F]{64}")), make)


def users(key: str) -> Shape[Test]:
    """User names with wildcards, and numbers. The value is (name or None, uid)."""
    name = text("a user's name or number", limit=256)

    def one(node: Node, report: Report) -> str | None:
        number = isinstance(node, Scalar) and re.fullmatch("[0-9]{1,10}", node.text)
        return node.text if number and isinstance(node, Scalar) else name.read(node, report)

    def make(chosen: tuple[str, ...]) -> Test:
        uids = frozenset(int(each) for each in chosen if each.isdecimal())
        fits = any_of(each for each in chosen if not each.isdecimal())

        def holds(value: tuple[str | None, int]) -> bool:
            return value[1] in uids or (value[0] is not None and fits(value[0]))

        return Test(key, " or ".join(chosen), holds)

    shape = Shape(one, {"anyOf": [name.schema, {"type": "integer", "minimum": 0}]})
    return tested(one_or_many(shape), make)


def comparison(key: str, example: str) -> Shape[Test]:
    """A comparison with a number: ``">= 0.8"``."""
    written = text(
        "a comparison", r"(?:>=|<=|>|<) *[0-9]{1,9}(?:\.[0-9]{1,6})?", hint=f'such as "{example}"'
    )

    def make(words: str) -> Test:
        sign, limit = split(words)
        compare, bound = COMPARISONS[sign], float(limit)
        return Test(key, f"{sign} {limit}", lambda value: compare(value, bound))

    return tested(written, make)


def severities(key: str) -> Shape[Test]:
    """One severity, a list of them, or a comparison: ``">= high"``."""
    names = [str(each) for each in Severity]
    pattern = rf"(?:>=|<=|>|<) *(?:{'|'.join(names)})"
    compared = text("a severity", pattern, hint='such as ">= high"')
    listed = one_or_many(choice(*names))

    def read(node: Node, report: Report) -> Test | None:
        if not (isinstance(node, Scalar) and node.text[:1] in {">", "<"}):
            chosen = listed.read(node, report)
            return any_word(key, chosen) if chosen else None
        written = compared.read(node, report)
        if written is None:
            return None
        sign, bound = split(written)
        compare, limit = COMPARISONS[sign], Severity(bound).rank
        return Test(key, f"{sign} {bound}", lambda value: compare(Severity(value).rank, limit))

    return Shape(read, {"anyOf": [listed.schema, compared.schema]})


def split(comparison: str) -> tuple[str, str]:
    """Return sign and bound of ``>= x``."""
    sign = re.match("[<>]=?", comparison)
    assert sign, comparison
    return sign[0], comparison[sign.end() :].strip()


def of_process(value: Callable[[Process], Hashable | None]) -> Callable[[Subject], Hashable | None]:
    """Return a value of the subject's process; None where the process is not known."""
    return lambda subject: value(subject.process) if subject.process else None


def lineage(process: Process) -> tuple[str, ...]:
    """Return the executables and the names of all ancestors."""
    return tuple(word for each in process.ancestry for word in (each.exe, each.comm) if word)


def labels(process: Process) -> tuple[str, ...]:
    """Return the labels of the process's pod, each as ``key=value``."""
    return (
        tuple(f"{key}={value}" for key, value in process.pod.labels.items()) if process.pod else ()
    )


SUBJECT: Mapping[str, Condition[Subject]] = {
    "service": Condition(
        globs("service"), "The service's id in the catalogue.", lambda s: s.service
    ),
    "category": Condition(
        globs("category"), "The service's category: model_api, ...", lambda s: s.category or None
    ),
    "standing": Condition(
        words("standing", *(str(each) for each in Standing)),
        "What `services` says of the service.",
        lambda s: str(s.standing),
    ),
    "operation": Condition(
        globs("operation"), "chat, embeddings, text_completion, ...", lambda s: s.operation or None
    ),
    "model": Condition(
        globs("model", fold=True),
        "The model that the request names; upper and lower case are the same.",
        lambda s: s.model or None,
    ),
    "direction": Condition(
        words("direction", "request", "response"),
        "What goes to the model, or what comes back.",
        lambda s: s.direction,
    ),
    "user": Condition(
        users("user"),
        "Name or number of the process's user.",
        of_process(lambda p: (p.user, p.uid)),
    ),
}
PROCESS: Mapping[str, Condition[Subject]] = {
    "exe": Condition(
        globs("process.exe"), "The executable's path; * crosses /.", of_process(lambda p: p.exe)
    ),
    "comm": Condition(
        globs("process.comm"),
        "The kernel's 15-character name; a process can choose it.",
        of_process(lambda p: p.comm),
    ),
    "sha256": Condition(
        hashes("process.sha256"), "Hash of the executable.", of_process(lambda p: p.sha256)
    ),
    "argv": Condition(
        globs("process.argv", every=True),
        "One argument fits; a process can choose them.",
        of_process(lambda p: p.argv or None),
    ),
    "ancestry": Condition(
        globs("process.ancestry", every=True),
        "An ancestor's executable or name fits.",
        of_process(lambda p: lineage(p) or None),
    ),
    "container": Condition(
        globs("process.container"), "The container's id.", of_process(lambda p: p.container)
    ),
    "namespace": Condition(
        globs("process.namespace"),
        "The namespace of its Kubernetes pod.",
        of_process(lambda p: p.pod.namespace if p.pod else None),
    ),
    "pod_labels": Condition(
        globs("process.pod_labels", every=True),
        "A label of its pod fits: app=chat.",
        of_process(lambda p: labels(p) or None),
    ),
    "cgroup": Condition(
        globs("process.cgroup"), "The cgroup's path.", of_process(lambda p: p.cgroup or None)
    ),
}
FINDING: Mapping[str, Condition[Finding]] = {
    "category": Condition(
        words("finding.category", *FINDING_CATEGORIES), "The kind of finding.", lambda f: f.category
    ),
    "rule": Condition(globs("finding.rule"), "The detector's rule.", lambda f: f.rule),
    "severity": Condition(
        severities("finding.severity"), 'A severity, a list, or ">= high".', lambda f: f.severity
    ),
    "score": Condition(
        comparison("finding.score", ">= 0.8"),
        'The detector\'s confidence, 0 to 1: ">= 0.8".',
        lambda f: f.score,
    ),
    "provenance": Condition(
        words("finding.provenance", *PROVENANCES),
        "Where the text stood: user, tool_result, web, ...",
        lambda f: f.provenance,
    ),
}
COUNT = Field(
    comparison("finding.count", ">= 5"),
    'How many matches all findings that fit the other keys have together: ">= 5".',
)

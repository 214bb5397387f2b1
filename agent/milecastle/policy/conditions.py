"""What a rule can ask for: one table for reading, deciding, explaining and the schema.

A condition reads one value of the subject or of a finding. Where that value is not known, the
condition does not hold; so an exception never covers what could not be told.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from milecastle.model import Finding, Process, Standing, Subject
from milecastle.policy.asking import (
    Test,
    accounts,
    comparison,
    directions,
    globs,
    hashes,
    severities,
    windows,
    words,
)
from milecastle.yamldoc import Field, Shape

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
WITHIN = {"tool_call": "response", "tool_result": "request"}
"""What travels inside a message, and which way that goes."""


@dataclass(frozen=True, slots=True)
class Condition[S]:
    """One key of ``when``: how it is written, and which value it looks at."""

    shape: Shape[Test]
    doc: str
    value: Callable[[S], Hashable | None]
    """Hashable, for verdicts are found by value; None where it is not known."""


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
        directions("direction", WITHIN),
        "What goes to the model (tool results in it), or what comes back (tool calls in it).",
        lambda s: s.direction,
    ),
    "account": Condition(
        globs("account"),
        "The kind of account that is used: personal, organisation, ...",
        lambda s: s.account or None,
    ),
    "destination": Condition(
        globs("destination", fold=True),
        "The host name that the request goes to.",
        lambda s: s.destination or None,
    ),
    "host": Condition(
        globs("host", fold=True), "The name of this machine.", lambda s: s.host or None
    ),
    "size": Condition(comparison("size", ">= 1000000"), "Bytes of the message.", lambda s: s.size),
    "tokens": Condition(
        comparison("tokens", ">= 100000"),
        "Tokens of the exchange as billed; of a request, a quarter of its bytes.",
        lambda s: s.tokens,
    ),
    "user": Condition(
        accounts("user", "user"),
        "Name or number of the process's user.",
        of_process(lambda p: (p.user, p.uid) if p.user else (p.uid,)),
    ),
    "group": Condition(
        accounts("group", "group"),
        "Name or number of one of the process's groups.",
        of_process(lambda p: p.groups or None),
    ),
}
TIME = Field(windows("time"), "When: days, from, to, zone; one window or several.")
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
    "script": Condition(
        globs("process.script"),
        "Of an interpreter, what it runs: a path, -m module.",
        of_process(lambda p: p.script),
    ),
    "client": Condition(
        globs("process.client"),
        "The AI client that it is: claude-code, codex, ...",
        of_process(lambda p: p.client),
    ),
    "argv": Condition(
        globs("process.argv"),
        "One argument fits; a process can choose them.",
        of_process(lambda p: p.argv or None),
    ),
    "ancestry": Condition(
        globs("process.ancestry"),
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
        globs("process.pod_labels"),
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


def passages(chosen: Test) -> Test | None:
    """Return what a test of directions asks of a finding: ``request user``; None: nothing."""
    ways = chosen.wants.split(" or ")
    if not WITHIN.keys() & set(ways):
        return None
    fitting = [
        f"{WITHIN.get(way, way)} {each}"
        for way in ways
        for each in ([way] if way in WITHIN else PROVENANCES)
    ]
    return Test("direction", chosen.wants, frozenset(fitting))


def passage(subject: Subject, finding: Finding) -> str:
    """Return which way a finding goes, and where it stands in the message."""
    return f"{subject.direction} {finding.provenance}"


def minute(now: float | None) -> int | None:
    """Return the value that windows of time look at; None where the time is not known."""
    return None if now is None else int(now // 60)


COUNT = Field(
    comparison("finding.count", ">= 5"),
    'How many matches all findings that fit the other keys have together: ">= 5".',
)

"""The rule files that milecastle ships, read once for all tests of this room."""

from functools import cache

from milecastle import shipped
from milecastle.detect import Engine, Rule, check
from milecastle.model import Segment

KEY = b"a key for the tests"


@cache
def files(folder=""):
    root = shipped.path("config", "rules", folder)
    return [
        (file.relative_to(shipped.path("config", "rules")).as_posix(), file.read_text())
        for file in sorted(root.rglob("*.yaml"))
    ]


@cache
def secret_rules() -> tuple[Rule, ...]:
    rules, problems = check(files("secrets"))
    assert problems == []
    return tuple(rules)


@cache
def engine() -> Engine:
    """The engine with the rules for secrets alone: what these tests are about."""
    return Engine(secret_rules(), key=KEY)


def secrets(text, **where):
    segment = Segment(text, **{"role": "user", "provenance": "user", **where})
    return [finding for finding in engine().scan([segment]) if finding.category == "secret"]


def rule_ids(text, **where):
    return {finding.rule for finding in secrets(text, **where)}


@cache
def personal_rules() -> tuple[Rule, ...]:
    rules, problems = check(files("pii"))
    assert problems == []
    return tuple(rules)


@cache
def personal_engine() -> Engine:
    """The engine with the rules for personal data alone."""
    return Engine(personal_rules(), key=KEY)


def personal(text, **where):
    segment = Segment(text, **{"role": "user", "provenance": "user", **where})
    return personal_engine().scan([segment])


@cache
def tool_rules() -> tuple[Rule, ...]:
    rules, problems = check(files("tool"))
    assert problems == []
    return tuple(rules)


@cache
def tool_engine() -> Engine:
    """The engine with the rules for tool calls alone."""
    return Engine(tool_rules(), key=KEY)


def called(text, label="command", tool="bash", provenance="tool_call"):
    """Findings in an argument of a tool call."""
    return tool_engine().scan([Segment(text, "assistant", provenance, label=label, tool=tool)])

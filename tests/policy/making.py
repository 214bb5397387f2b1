"""What the tests of this room say in few words: policies, subjects, findings."""

from milecastle.model import Finding, Severity, Subject
from milecastle.policy import Policy, check

TODAY = 1_800_000_000.0  # 2027-01-15


def policy(rules: str = "", head: str = "mode: enforce") -> Policy:
    text = f"version: 1\n{head}\n" + (f"rules:\n{rules}" if rules else "")
    made, problems = check(text, "policy.yaml")
    assert made is not None, "\n".join(map(str, problems))
    return made


def subject(service="openai", **given) -> Subject:
    return Subject(service, **given)


def found(category="secret", rule="key", severity="high", **given) -> Finding:
    return Finding(category, rule, Severity(severity), 0, 4, "abcd", **given)

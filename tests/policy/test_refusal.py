"""Which services a policy keeps from everybody, so that nobody has to be asked."""

import pytest

from milecastle import catalogue
from milecastle.policy import check

NOW = 1.8e9
SERVICES = catalogue.shipped().services
BLOCK = "version: 1\nmode: enforce\nservices: {sanctioned: [openai]}\nrules:\n"


def refusal(rules, service="deepseek", now=NOW):
    policy, problems = check(BLOCK + rules, "p.yaml")
    assert problems == []
    rule = policy.refusal(SERVICES[service], now=now)
    return rule.id if rule else None


def rule(when, *more):
    keys = "".join(f"    {line}\n" for line in more)
    return f"  - id: no\n    when: {when}\n    action: block\n{keys}"


@pytest.mark.parametrize(
    "when", ["{service: deepseek}", '{service: ["x", "deep*"]}', "{standing: unsanctioned}",
             "{category: [model_api, consumer_chat]}", "{}"]
)  # fmt: skip
def test_a_rule_that_asks_for_the_service_alone_refuses_it(when):
    assert refusal(rule(when)) == "no"


@pytest.mark.parametrize(
    "when",
    ["{service: openai}", "{service: deepseek, user: ada}", "{service: deepseek, model: x}",
     "{service: deepseek, direction: request}", "{service: deepseek, process: {exe: /bin/x}}",
     "{service: deepseek, finding: {}}", "{service: deepseek, operation: chat}"],
)  # fmt: skip
def test_a_rule_that_asks_for_more_does_not(when):
    assert refusal(rule(when)) is None


def test_a_rule_that_is_tried_out_does_not():
    assert refusal(rule("{service: deepseek}", "mode: monitor")) is None


def exception(when, expires="2999-01-01"):
    return (
        f"  - id: but\n    when: {when}\n    action: allow\n"
        f"    exception: {{owner: o, reason: r, expires: {expires}}}\n"
    )


def test_an_exception_for_somebody_leaves_it_open():
    both = rule("{service: deepseek}") + exception("{service: deepseek, user: ada}")
    assert refusal(both) is None
    assert refusal(rule("{standing: unsanctioned}") + exception("{user: ada}")) is None


def test_an_exception_that_is_over_or_about_something_else_does_not():
    blocked = rule("{service: deepseek}")
    assert refusal(blocked + exception("{service: deepseek, user: ada}", "2020-01-01")) == "no"
    assert refusal(blocked + exception("{service: mistral}")) == "no"
    assert refusal(blocked + exception("{service: deepseek, finding: {rule: x}}")) == "no"


def refusals(rules, service="deepseek"):
    policy, problems = check(BLOCK + rules, "p.yaml")
    assert problems == []
    return [found.id for found in policy.refusals(SERVICES[service], now=NOW)]


@pytest.mark.parametrize(
    "when", ["{user: ada}", "{service: deepseek, process: {exe: /bin/x}}",
             "{process: {sha256: a" + "0" * 63 + "}}", "{user: [ada, 7], process: {cgroup: /a*}}",
             "{process: {container: x}}", "{service: deepseek}"]
)  # fmt: skip
def test_what_the_kernel_can_tell_of_a_caller_is_a_refusal_of_some(when):
    assert refusals(rule(when)) == ["no"]


@pytest.mark.parametrize(
    "when", ["{process: {comm: x}}", "{process: {argv: x}}", "{process: {ancestry: x}}",
             "{user: ada, model: x}", "{user: ada, finding: {}}", "{service: openai, user: ada}"]
)  # fmt: skip
def test_what_it_cannot_tell_is_the_worker_s(when):
    assert refusals(rule(when)) == []


def test_a_refusal_comes_before_a_block_and_none_where_an_exception_may_lift_it():
    two = rule("{user: ada}") + rule("{service: deepseek}").replace("no", "never").replace(
        "block", "refuse"
    )
    assert refusals(two) == ["never", "no"]
    assert refusals(two + exception("{service: deepseek, user: bob}")) == []

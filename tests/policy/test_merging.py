"""Files that are laid over a policy: in order, by id, each problem in its own file."""

import pytest

from milecastle.model import Service
from milecastle.policy import check

BASE = """version: 1
mode: enforce
on_failure: {default: open, closed: [openai]}
services: {sanctioned: [openai, anthropic], default: tolerated}
intercept: {except: [cursor]}
rules:
- {id: a, action: alert, when: {service: openai}}
- {id: b, action: block, when: {service: deepseek}}
"""


def merged(*overrides):
    files = [(f"{number}.yaml", f"version: 1\n{text}") for number, text in enumerate(overrides)]
    made, problems = check(BASE, "base.yaml", overrides=files)
    assert problems == []
    return made


def refused(*overrides):
    files = [(f"{number}.yaml", text) for number, text in enumerate(overrides)]
    made, problems = check(BASE, "base.yaml", overrides=files)
    assert made is None
    return [str(problem) for problem in problems]


def test_without_changes_a_file_changes_nothing():
    assert merged("").document == merged().document


def test_a_rule_is_replaced_by_its_id_in_its_place_and_a_new_one_comes_last():
    made = merged("rules: [{id: a, action: coach}, {id: c, action: alert}]")
    assert [(rule.id, str(rule.action)) for rule in made.rules] == [
        ("a", "coach"),
        ("b", "block"),
        ("c", "alert"),
    ]
    assert made.rules[0].when.subject == {}


def test_a_rule_is_disabled_and_may_come_back_later():
    assert [rule.id for rule in merged("disable: [b]").rules] == ["a"]
    assert [rule.id for rule in merged("disable: [a]", "rules: [{id: a, action: cut}]").rules] == [
        "b",
        "a",
    ]


def test_the_later_file_wins():
    made = merged("mode: monitor", "mode: enforce", "rules: [{id: a, action: coach}]",
                  "rules: [{id: a, action: redact, when: {finding: {}}}]")  # fmt: skip
    assert made.mode == "enforce"
    assert str(made.rules[0].action) == "redact"


def test_a_service_stands_where_it_was_named_last():
    made = merged("services: {unsanctioned: [openai], tolerated: [mistral]}")
    services = made.document.services
    assert services.sanctioned == ("anthropic",)
    assert services.unsanctioned == ("openai",)
    assert services.tolerated == ("mistral",)
    assert services.default == "tolerated"
    assert merged("services: {default: unsanctioned}").document.services.sanctioned


@pytest.mark.parametrize(
    ("override", "openai", "other"),
    [
        ("on_failure: closed", "closed", "closed"),
        ("on_failure: open", "open", "open"),
        ("on_failure: {default: closed}", "closed", "closed"),
        ("on_failure: {open: [openai]}", "open", "open"),
        ("mode: monitor", "closed", "open"),
    ],
)
def test_what_happens_on_failure_is_said_anew_whole_or_in_parts(override, openai, other):
    made = merged(override)
    services = [Service(each, "", "", "") for each in ("openai", "other")]
    assert [made.on_failure(each) for each in services] == [openai, other]


def test_what_is_not_decrypted_can_only_become_more():
    assert merged("intercept: {except: [ollama]}").document.intercept == ("cursor", "ollama")


def test_each_problem_is_reported_in_its_own_file():
    assert refused("version: 1\nmode: enforced\n", "version: 1\ndisable: [cd]\nrulez: []\n") == [
        "0.yaml:2:7: one of monitor, enforce is wanted here, this is the text 'enforced' "
        "(did you mean 'enforce'?)",
        "1.yaml:2:11: there is no rule 'cd' to disable (one of a, b)",
        "1.yaml:3:1: unknown key 'rulez' (did you mean 'rules'?)",
    ]
    (problem,) = refused("version: 1\ndisable: [bb]\n")
    assert problem == "0.yaml:2:11: there is no rule 'bb' to disable (did you mean 'b'?)"


def test_rules_together_are_bounded():
    many = "".join(f"- {{id: r{n}, action: alert}}\n" for n in range(4999))
    (problem,) = refused(f"version: 1\nrules:\n{many}")
    assert "5001 rules" in problem

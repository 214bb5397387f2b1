import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle import catalogue
from milecastle.policy import check


def problems(text, **known):
    return [str(each).removeprefix("p.yaml:") for each in check(text, "p.yaml", **known)[1]]


def rule(line):
    return f"version: 1\nrules:\n  - {line}\n"


def test_every_problem_of_a_file_is_listed_with_line_column_and_hint():
    assert problems(
        """\
mode: enforced
on_failure: {default: opne, close: [a]}
services:
  sanctioned: openai
  blessed: []
rules:
  - id: a
    action: blok
  - id: a
    when:
      servce: openai
      finding: {category: secrets, severity: hgih, score: 0.8}
      process: {exe: 5}
    action: redact
  - action: alert
"""
    ) == [
        "1:1: 'version' is missing here (The version of this format: 1.)",
        "1:7: one of monitor, enforce is wanted here, this is the text 'enforced' "
        "(did you mean 'enforce'?)",
        "2:23: one of open, closed is wanted here, this is the text 'opne' (did you mean 'open'?)",
        "2:29: unknown key 'close' (did you mean 'closed'?)",
        "4:15: a list is wanted here, this is the text 'openai' (begin each line of it with '- ')",
        "5:3: unknown key 'blessed' (one of default, sanctioned, tolerated, unsanctioned)",
        "8:13: one of allow, alert, coach, pseudonymise, redact, neutralise, cut, limit, block, "
        "refuse is wanted here, this is the text 'blok' "
        "(did you mean 'block'?)",
        "9:9: 'a' stands here twice (first on line 7)",
        "11:7: unknown key 'servce' (did you mean 'service'?)",
        "12:27: one of secret, pii, injection, tool, document, marking, usage is wanted here, "
        "this is the text 'secrets' (did you mean 'secret'?)",
        "12:46: one of info, low, medium, high, critical is wanted here, "
        "this is the text 'hgih' (did you mean 'high'?)",
        "12:59: a comparison is wanted here, this is the number 0.8 (put it in quotes)",
        "13:22: a word; *, ? and [ab] are wildcards is wanted here, this is the number 5 "
        "(put it in quotes)",
        "15:5: 'id' is missing here (Names the rule in verdicts and records.)",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{id: a, action: redact}", "redact acts on findings, and it asks for none"),
        (
            "{id: a, action: block, when: {service: x}, "
            "exception: {owner: o, reason: r, expires: 2027-01-01}}",
            "the action of an exception is allow",
        ),
        (
            "{id: a, action: allow, exception: {owner: o, reason: r, expires: 2027-01-01}}",
            "an exception from everything",
        ),
        (
            "{id: a, action: allow, when: {finding: {}}, "
            "exception: {owner: o, reason: r, expires: 2027-01-01}}",
            "an exception from everything",
        ),
        (
            "{id: a, action: allow, mode: enforce, when: {service: x}, "
            "exception: {owner: o, reason: r, expires: 2027-01-01}}",
            "an exception has no mode",
        ),
        (
            "{id: a, action: allow, when: {service: x}, exception: {owner: o, reason: r}}",
            "'expires' is missing here",
        ),
        (
            "{id: a, action: allow, when: {service: x}, "
            "exception: {owner: o, reason: r, expires: 2027-02-30}}",
            "there is no 2027-02-30",
        ),
        ("{id: Bad Id, action: allow}", "'Bad Id' is not an id"),
        ('{id: a, action: allow, when: {finding: {severity: ">= hihg"}}}', "is not a severity"),
        ('{id: a, action: allow, when: {finding: {score: ">= x"}}}', "is not a comparison"),
        ("{id: a, action: allow, when: {service: []}}", "an empty list matches nothing"),
        ("{id: a, action: allow, when: {process: {sha256: abc}}}", "is not a SHA-256"),
        ("{id: a, action: allow, when: {user: [[x]]}}", "this is a list"),
        ("{id: a, action: allow, when: [service]}", "a mapping is wanted here"),
        ("just text", "a mapping is wanted here"),
    ],
)
def test_a_rule_that_cannot_work_is_a_problem(line, said):
    made, found = check(rule(line), "p.yaml")
    assert made is None
    assert len(found) == 1
    assert said in str(found[0])


@pytest.mark.parametrize(
    "text", ["", "version: 2\n", "[]", "version: 1\nmode: monitor\nmode: enforce"]
)
def test_a_file_that_is_no_policy_is_no_policy(text):
    assert check(text, "p.yaml")[0] is None


def test_the_smallest_policy_is_a_version():
    made, found = check("version: 1\n", "p.yaml")
    assert (made.mode, made.rules, found) == ("monitor", (), [])


def test_a_service_listed_twice_is_a_problem():
    assert problems("version: 1\nservices: {sanctioned: [a, b, a]}\n") == [
        "2:31: 'a' stands here twice (first on line 2)"
    ]


def test_with_a_catalogue_unknown_services_are_problems():
    text = """\
version: 1
services: {sanctioned: [openia, "bedrok*", anthropic, "github-*"]}
intercept: {except: [curser]}
on_failure: {closed: [anthropik]}
rules:
  - {id: a, action: block, when: {service: [mistrall, gemini]}}
"""
    assert problems(text) == []
    assert problems(text, catalogue=catalogue.shipped()) == [
        "2:25: 'openia' is no service of the catalogue (did you mean 'openai'?)",
        "2:33: 'bedrok*' fits no service of the catalogue",
        "3:22: 'curser' is no service of the catalogue (did you mean 'cursor'?)",
        "4:23: 'anthropik' is no service of the catalogue (did you mean 'anthropic'?)",
        "6:45: 'mistrall' is no service of the catalogue (did you mean 'mistral'?)",
    ]


def test_with_the_detectors_rules_findings_that_nobody_makes_are_problems():
    text = rule("{id: a, action: alert, when: {finding: {rule: [aws-kee, 'gh*', 'x*']}}}")
    assert problems(text, detectors={"aws-key", "github-token", "ghost"}) == [
        "3:52: 'aws-kee' is no rule of a detector (did you mean 'aws-key'?)",
        "3:68: 'x*' fits no rule of a detector",
    ]


WORDS = st.sampled_from(
    [
        "version",
        "mode",
        "rules",
        "id",
        "action",
        "when",
        "finding",
        "severity",
        "service",
        "process",
        "user",
        "exception",
        "on_failure",
        "intercept",
        "services",
        "1",
        "block",
        ">=",
        "high",
        "[",
        "]",
        "{",
        "}",
        ":",
        "-",
        ",",
        "&",
        "*",
        "!",
        "'",
        '"',
        "|",
        "#",
        "enforce",
        "x",
        "2027-01-01",
    ]
)
SPACES = st.sampled_from(["", " ", "\n", "\n  ", "\n    ", ": "])


@given(st.lists(st.tuples(WORDS, SPACES), max_size=40))
def test_garbage_is_a_list_of_problems_and_never_an_exception(words):
    made, found = check("".join(word + space for word, space in words), "p.yaml")
    assert (made is None) == bool(found)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(">= high"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "when",
                    "finding",
                    "id",
                    "action",
                    "severity",
                    "process",
                    "exe",
                    "user",
                    "count",
                    "exception",
                    "expires",
                    "service",
                    "closed",
                    "default",
                    "rules",
                    "mode",
                    "on_failure",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_well_formed_nonsense_is_a_list_of_problems_and_never_an_exception(value):
    text = json.dumps({"version": 1, "rules": [value], "services": value, "on_failure": value})
    made, found = check(text, "p.yaml")
    assert (made is None) == bool(found)

"""The published schema and the checker are of one opinion, on whatever could be written.

Documents are generated from words that are right, nearly right, and wrong. What a schema cannot say
is kept out of them: ids of rules that stand twice, days and time zones that do not exist.
"""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milecastle.policy import check, override_schema, schema
from milecastle.policy.actions import ACTIONS
from milecastle.policy.conditions import FINDING, PROCESS, SUBJECT

VALIDATORS = {
    "policy": jsonschema.Draft202012Validator(schema()),
    "override": jsonschema.Draft202012Validator(override_schema()),
}


@pytest.mark.parametrize("which", VALIDATORS)
def test_the_schema_is_one(which):
    jsonschema.Draft202012Validator.check_schema(VALIDATORS[which].schema)


WRONG = st.sampled_from(
    [None, True, -1, 1.5, "", [], {}, "x" * 300, [1], {"a": 1}, "Weird Word", "*", 7]
)
WORDS = st.sampled_from(["openai", "gpt-4*", "a", "[ab]?"])
COMPARED = st.sampled_from([">= 3", "<2.5", ">  0.8", ">= x", "== 3", "3"])
CHOSEN = {
    "standing": ["sanctioned", "tolerated", "blessed"],
    "direction": ["request", "response", "tool_call", "tool_result", "both"],
    "size": [">= 100", "100"],
    "tokens": ["< 9", "9"],
    "user": ["ada", 1000, "0", -1],
    "group": ["wheel", 27],
    "sha256": ["ab" * 32, "ab"],
    "category": ["secret", "pii", "keys"],
    "severity": ["high", ">= high", ">= hihg", ["low", "high"]],
    "score": [">= 0.5", 0.5],
    "provenance": ["web", "tool_result", "air"],
    "count": [">= 5", "5"],
}


def some(values):
    """One value, or a list of them; now and then something wrong."""
    one = values if isinstance(values, st.SearchStrategy) else st.sampled_from(values)
    return st.one_of(one, one, st.lists(one, max_size=2), WRONG)


def record(fields, *, least=0, most=3):
    """A mapping with some of the keys, and rarely one that does not exist."""
    keys = st.lists(
        st.sampled_from([*fields, "unknown"]), unique=True, min_size=least, max_size=most
    )
    return keys.flatmap(
        lambda chosen: st.fixed_dictionaries({key: fields.get(key, WRONG) for key in chosen})
    )


WINDOW = {
    "days": some(["mon", "sun", "someday"]),
    "from": st.sampled_from(["08:00", "24:00", "8:00", "25:00"]),
    "to": st.sampled_from(["18:00", "00:00", 18]),
    "zone": st.sampled_from(["UTC", "Europe/Rome"]),
}
WHEN = {
    **{key: some(CHOSEN.get(key, WORDS)) for key in SUBJECT},
    "time": st.one_of(record(WINDOW), st.lists(record(WINDOW), max_size=2)),
    "process": record({key: some(CHOSEN.get(key, WORDS)) for key in PROCESS}),
    "finding": record({key: some(CHOSEN.get(key, WORDS)) for key in [*FINDING, "count"]}),
}
EXCEPTION = {
    "owner": st.sampled_from(["platform", "", 1]),
    "reason": st.sampled_from(["because", "y" * 1001]),
    "expires": st.sampled_from(["2027-01-15", "soon", "2027-1-1"]),
}
LIMIT = {
    "calls": st.sampled_from([1, 100, 0, "7", 10**10]),
    "tokens": st.sampled_from([5, 10**12]),
    "per": st.sampled_from(["hour", "year"]),
    "by": st.sampled_from(["user", "process", "moon"]),
}
RULE = {
    "description": st.sampled_from(["what", "z" * 1001]),
    "when": record(WHEN),
    "mode": st.sampled_from(["monitor", "enforce", "on"]),
    "reason": st.sampled_from(["why", 3]),
    "on_failure": st.sampled_from(["open", "closed", "ajar"]),
    "exception": st.one_of(st.just({"owner": "o", "reason": "r", "expires": "2027-01-15"}),
                           record(EXCEPTION, most=4)),
    "style": st.sampled_from(["error", "message", "shout"]),
    "limit": record(LIMIT, least=1),
    "must_inspect": st.sampled_from([True, False, "yes"]),
}  # fmt: skip


@st.composite
def rules(draw):
    made = draw(st.lists(record(RULE, most=4), max_size=3))
    named = [
        {"id": f"r{n}", "action": draw(st.sampled_from([*map(str, ACTIONS)])), **each}
        for n, each in enumerate(made)
    ]
    for each in named:
        each.update(draw(st.sampled_from([{}, {}, {}, {}, {"id": "Bad Id"}, {"action": "blok"}])))
    return named


WAYS = ("open", "closed")
RIGHT = {
    "service": "openai", "model": "gpt-*", "direction": "request", "user": "ada",
    "time": {"days": "mon"}, "process": {"exe": "/bin/x"}, "finding": {"category": "pii"},
}  # fmt: skip
TOGETHER = st.fixed_dictionaries(
    {"action": st.sampled_from([*map(str, ACTIONS)])},
    optional={
        "when": st.fixed_dictionaries(
            {},
            optional={
                **{key: st.just(value) for key, value in RIGHT.items()},
                "direction": st.sampled_from(
                    ["request", "response", "tool_call", ["tool_result", "request"]]
                ),
                "finding": st.sampled_from([{}, RIGHT["finding"]]),
                "process": st.sampled_from([{}, RIGHT["process"]]),
            },
        ),
        "mode": st.just("monitor"),
        "style": st.sampled_from(["error", "message"]),
        "limit": st.just({"calls": 9}),
        "must_inspect": st.booleans(),
        "exception": st.just({"owner": "o", "reason": "r", "expires": "2027-01-15"}),
    },
)
"""Rules of right values, which go together or do not."""

SERVICES = some(["openai", "azure-*", "Not One"])
TOP = {
    "mode": st.sampled_from(["monitor", "enforce", "off"]),
    "on_failure": st.one_of(
        st.sampled_from(["open", "closed", "ajar"]),
        record({"default": st.sampled_from(["open", "shut"]), **dict.fromkeys(WAYS, SERVICES)}),
    ),
    "services": record({"sanctioned": SERVICES, "tolerated": SERVICES, "unsanctioned": SERVICES,
                        "default": st.sampled_from(["tolerated", "wanted"])}),
    "intercept": record({"except": SERVICES}),
    "rules": rules(),
    "version": st.sampled_from([1, 2, "1", 1.5]),
}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(record(TOP, most=4))
def test_what_the_schema_accepts_the_checker_does_and_nothing_else(given_document):
    document = {"version": 1, **given_document}
    agree("policy", document, check(json.dumps(document), "p.yaml")[1])


@settings(max_examples=600, deadline=None)
@given(TOGETHER)
def test_they_agree_on_what_goes_together(made):
    document = {"version": 1, "rules": [{"id": "x", **made}]}
    agree("policy", document, check(json.dumps(document), "p.yaml")[1])


@settings(max_examples=200, deadline=None)
@given(rules())
def test_they_agree_on_rules(made):
    document = {"version": 1, "rules": made}
    agree("policy", document, check(json.dumps(document), "p.yaml")[1])


@settings(max_examples=80, deadline=None)
@given(record({**TOP, "disable": st.just([])}, most=4))
def test_they_agree_on_files_that_are_laid_over(given_document):
    document = {"version": 1, **given_document}
    found = check("version: 1\n", "base.yaml", overrides=[("o.yaml", json.dumps(document))])[1]
    agree("override", document, found)


def agree(which, document, problems):
    said = [error.message[:200] for error in VALIDATORS[which].iter_errors(document)]
    assert bool(said) == bool(problems), (said, [str(each) for each in problems])

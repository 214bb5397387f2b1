import json
from pathlib import Path

import pytest
from tests.policy.making import found, policy, subject

from milecastle import catalogue
from milecastle.detect.injection import RULE
from milecastle.model import Severity, Standing
from milecastle.policy import Seen, check, diff, override_schema, run_cases, schema
from milecastle.policy.conditions import PROVENANCES

CONFIG = Path(__file__).parents[2] / "config"
CATALOGUE = catalogue.shipped()
POLICIES = [
    CONFIG / "policy.yaml",
    *(file for file in (CONFIG / "presets").glob("*.yaml") if ".cases" not in file.name),
]


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.name)
def test_what_is_shipped_has_no_problem_and_names_only_what_exists(file):
    _, problems = check(file.read_text(), file.name, catalogue=CATALOGUE)
    assert problems == []


@pytest.mark.parametrize("file", POLICIES[1:], ids=lambda file: file.name)
def test_a_preset_does_what_the_cases_beside_it_say(file):
    made, _ = check(file.read_text(), file.name)
    cases = file.with_suffix(".cases.yaml")
    outcomes, problems = run_cases(made, cases.read_text(), cases.name, catalogue=CATALOGUE)
    assert problems == []
    assert len(outcomes) >= 4
    assert [(each.case.name, each.differences) for each in outcomes if not each.holds] == []


@pytest.mark.parametrize("file", POLICIES[1:], ids=lambda file: file.name)
def test_every_rule_of_a_preset_decides_a_case_or_is_matched_by_one(file):
    made, _ = check(file.read_text(), file.name)
    outcomes, _ = run_cases(made, file.with_suffix(".cases.yaml").read_text(), "cases")
    used = {rule for outcome in outcomes for rule in outcome.decision.rules}
    assert {rule.id for rule in made.rules} - used == set()


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.name)
@pytest.mark.parametrize("severity", ["low", "medium"])  # what the classifier says at most
def test_the_classifier_s_word_alone_changes_and_stops_nothing(file, severity):
    made, _ = check(file.read_text(), file.name)
    for provenance in PROVENANCES:
        for direction in ("request", "response"):
            suspected = found(
                "injection", RULE, severity=severity, score=1.0, provenance=provenance
            )
            who = subject("azure-openai", direction=direction, standing=Standing.SANCTIONED)
            decision = made.decide(who, [suspected] * 30)
            assert decision.verdict.applied in {"allow", "alert"}
            assert decision.edited == ()


def test_the_shipped_policy_only_watches():
    made, _ = check((CONFIG / "policy.yaml").read_text(), "policy.yaml")
    assert made.mode == "monitor"
    assert made.on_failure(None) == "open"
    for category in ("secret", "pii", "injection", "tool", "document", "marking", "usage"):
        for severity in Severity:
            decision = made.decide(subject(), [found(category, severity=severity)])
            assert decision.verdict.applied in {"allow", "alert"}
            assert decision.redact == ()


def test_a_case_that_does_not_hold_says_what_came_instead():
    made = policy("- {id: a, action: alert, when: {finding: {category: secret}}}")
    outcomes, problems = run_cases(
        made,
        """\
cases:
  - name: it is blocked
    given:
      service: groq
      now: 2027-01-01
      process: {exe: /bin/x, ancestry: [/bin/sh], argv: [x], uid: 5}
      findings: [{category: secret, severity: high, rule: k}]
    expect: {action: block, applied: block, rule: b, redacted: [k], would: block}
""",
        "c.yaml",
    )
    assert problems == []
    assert outcomes[0].case.line == 2
    assert outcomes[0].differences == (
        "action: 'alert', 'block' was expected",
        "applied: 'alert', 'block' was expected",
        "rule: 'a', 'b' was expected",
        "would: None, 'block' was expected",
        "redacted: (), ('k',) was expected",
    )


def test_a_broken_file_of_cases_lists_its_problems():
    _, problems = run_cases(
        policy(),
        "cases:\n  - name: a\n"
        "    given: {findings: [{category: secret, severity: high, score: 2}]}\n"
        "    expct: {}\n",
        "c.yaml",
    )
    assert [str(each) for each in problems] == [
        "c.yaml:3:66: a number from 0 to 1 is wanted here",
        "c.yaml:4:5: unknown key 'expct' (did you mean 'expect'?)",
        "c.yaml:2:5: 'expect' is missing here (The verdict.)",
    ]


def test_diff_names_the_exchanges_that_are_judged_otherwise():
    old = policy("- {id: a, action: alert, when: {finding: {category: secret}}}")
    new = policy(
        "- {id: r, action: redact, when: {finding: {category: secret}}}\n"
        "- {id: u, action: block, when: {standing: unsanctioned}}\n",
        "mode: enforce\nservices: {sanctioned: [openai]}",
    )
    seen = [
        Seen("with a key", subject(), [found()]),
        Seen("plain", subject()),
        Seen("elsewhere", subject("groq")),
    ]
    told = {
        each.label: (each.old.verdict.rule, each.new.verdict.rule) for each in diff(old, new, seen)
    }
    assert told == {"with a key": ("a", "r"), "elsewhere": (None, "u")}


@pytest.mark.parametrize(
    ("file", "made"),
    [("policy.schema.json", schema), ("policy-override.schema.json", override_schema)],
)
def test_the_published_schema_is_the_one_of_the_tables(file, made):
    assert json.loads((CONFIG / file).read_text()) == made(), (
        f"write it anew: python -c 'import json; from milecastle import policy; "
        f"print(json.dumps(policy.{made.__name__}(), indent=2))' > config/{file}"
    )

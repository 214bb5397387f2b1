"""Rule files: what they say is read, what is wrong in them is told with its line."""

import pytest
from tests.detect import rules_page
from tests.detect.shipped_rules import KEY, secret_rules

from milecastle.detect import Engine, check, try_rules
from milecastle.model import ParseError, Severity

RULE = """\
category: secret
severity: low
rules:
  - id: acme-token
    title: ACME token
    token: 'acme_[a-z0-9]{8}'
    matches: ['my acme_k3j9xq2m']
    ignores: ['acme_']
"""


@pytest.mark.parametrize("rule", secret_rules(), ids=lambda rule: rule.id)
def test_a_shipped_rule_finds_its_matches_and_leaves_its_ignores_alone(rule):
    assert try_rules([rule]) == []
    assert rule.matches, "a rule without evidence is not done"
    assert rule.source.startswith("https://")


def test_there_are_more_than_two_hundred_formats_of_secrets():
    assert len(secret_rules()) >= 200


def test_a_rule_is_read_with_its_files_severity_and_its_public_prefix():
    (rule,), problems = check([("acme.yaml", RULE)])
    assert problems == []
    assert (rule.severity, rule.prefix, rule.keep, rule.line) == (Severity.LOW, "acme_", 5, 4)


def test_a_mark_in_an_example_keeps_other_scanners_away_and_is_dropped():
    (rule,), _ = check([("acme.yaml", RULE.replace("acme_k3", "ac‖me_k3"))])
    assert rule.matches == ("my acme_k3j9xq2m",)


def test_a_rule_that_does_not_keep_its_word_is_a_problem_and_shows_no_secret():
    (rule,), _ = check([("acme.yaml", RULE.replace("my acme_k3j9xq2m", "my acne_k3j9xq2m"))])
    (problem,) = try_rules([rule])
    assert (problem.file, problem.line) == ("acme.yaml", 4)
    assert "does not find" in problem.what
    assert "k3j9xq2m" not in str(problem)


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("category: secret", "category: secrets", 1, "category 'secrets'"),
        ("severity: low", "severity: lowest", 2, "severity 'lowest'"),
        ("title: ACME", "tilte: ACME", 5, "no 'tilte'"),
        ("{8}'", "{8'", 4, "does not find"),
        ("acme_[a-z0-9]{8}", "acme_[a-z0-9", 6, "token: missing ]"),
        ("acme_[a-z0-9]{8}", "(?<=x)acme", 6, "token: "),
        ("    matches: ['my acme_k3j9xq2m']\n", "", 4, "has no matches"),
        ("id: acme-token", "id: ACME token", 4, "rule id"),
        ("    title: ACME token\n", "    title: ACME token\n    checks: [entrpy]\n", 6, "'entrpy'"),
        ("    token:", "    pattern: x\n    token:", 4, "how it looks"),
        ("rules:", "rules: none\nother:", 1, "no list of rules"),
        ("rules:", "rules: [", 0, ""),
    ],
)
def test_a_mistake_is_told_with_its_line(old, new, line, what):
    rules, problems = check([("acme.yaml", RULE.replace(old, new, 1))])
    problems = problems or try_rules(rules)
    assert problems
    assert what in "\n".join(problem.what for problem in problems)
    if line:
        assert any(problem.line == line for problem in problems), problems


def test_a_misspelt_key_gets_a_suggestion():
    _, (problem,) = check([("acme.yaml", RULE.replace("title:", "tilte:"))])
    assert "did you mean 'title'" in problem.hint


def test_all_problems_are_collected_and_loading_raises_them_together():
    broken = RULE.replace("severity: low", "severity: x").replace("{8}", "{8,5}")
    with pytest.raises(ParseError) as raised:
        Engine.load([("a.yaml", broken), ("b.yaml", "category: [")], key=KEY)
    assert "a.yaml:2" in str(raised.value)
    assert "a.yaml:6" in str(raised.value)
    assert "b.yaml" in str(raised.value)


def test_the_same_id_twice_is_a_problem_that_names_the_first():
    _, (problem,) = check([("a.yaml", RULE), ("b.yaml", RULE)])
    assert problem.file == "b.yaml"
    assert "a.yaml:4" in problem.hint


def test_the_engine_loads_without_any_rule():
    assert Engine.load([], key=KEY).rules == ()


def test_every_rule_has_its_row_on_the_page():
    rows = set(rules_page.PAGE.read_text().splitlines())
    wanted = [row for row in rules_page.text().splitlines() if row.startswith("| `")]
    missing = [row for row in wanted if row not in rows]
    assert missing == [], "run .venv/bin/python -m tests.detect.rules_page"

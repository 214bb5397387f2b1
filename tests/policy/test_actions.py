"""The actions beside allow, alert, redact and block; what each does where it can't be done."""

import jsonschema
import pytest
import yaml
from tests.policy.making import found, policy, subject

from milecastle.model import Action, Process
from milecastle.policy import ACTIONS, Place, check, fitting, schema

KEY = found()
SCHEMA = jsonschema.Draft202012Validator(schema())
PASSAGE = found("injection", "override", provenance="tool_result")


@pytest.mark.parametrize(
    ("action", "place", "done"),
    [
        ("pseudonymise", Place("request"), "pseudonymise"),
        ("pseudonymise", Place("response"), "redact"),
        ("pseudonymise", Place("request", rewritable=False), "block"),
        ("redact", Place("response", streamed=True), "redact"),
        ("redact", Place("request", rewritable=False), "block"),
        ("redact", Place("response", streamed=True, rewritable=False), "cut"),
        ("neutralise", Place("request", provenance="tool_result"), "neutralise"),
        ("neutralise", Place("request", provenance="web"), "neutralise"),
        ("neutralise", Place("request", provenance="user"), "redact"),
        ("neutralise", Place("request", provenance="user", rewritable=False), "block"),
        ("cut", Place("response", streamed=True), "cut"),
        ("cut", Place("response"), "block"),
        ("cut", Place("request"), "block"),
        ("block", Place("response", streamed=True), "cut"),
        ("block", Place("request"), "block"),
        ("limit", Place("request"), "limit"),
        ("refuse", Place("request"), "block"),
        ("coach", Place("response"), "coach"),
    ],
)
def test_what_cannot_be_done_at_a_place_falls_back(action, place, done):
    assert fitting(Action(action), place) == done


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("rewritable", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("direction", ["request", "response"])
def test_what_is_done_instead_never_lets_more_through(action, direction, streamed, rewritable):
    done = fitting(action, Place(direction, streamed, rewritable))
    assert done.stops or not action.stops
    assert done.stops or done.edits or not action.edits


def test_the_table_and_the_enumeration_go_from_weak_to_strong():
    assert list(ACTIONS) == list(Action)
    assert [action for action in Action if action.stops] == ["cut", "limit", "block", "refuse"]


def test_a_finding_is_replaced_by_the_strongest_rule_that_covers_it():
    made = policy("""
- {id: p, action: pseudonymise, when: {finding: {}}}
- {id: r, action: redact, when: {finding: {category: secret}}}
- {id: n, action: neutralise, when: {finding: {category: injection}}}
""")
    email, said = found("pii", "email"), found("injection", "override", provenance="user")
    decision = made.decide(subject(), [email, KEY, PASSAGE, said])
    assert decision.pseudonymise == (email,)
    assert decision.redact == (KEY, said)
    assert decision.neutralise == (PASSAGE,)
    assert set(decision.edited) == {email, KEY, PASSAGE, said}
    assert decision.verdict.action == "neutralise"


def test_a_pseudonym_in_an_answer_is_a_redaction_and_the_verdict_says_so():
    made = policy("- {id: p, action: pseudonymise, when: {finding: {}}}")
    decision = made.decide(subject(direction="response"), [KEY])
    assert (decision.redact, decision.pseudonymise) == ((KEY,), ())
    assert decision.verdict.action == "redact"


def test_a_coach_rule_lets_through_and_has_its_say_whatever_else_is_done():
    made = policy("""
- {id: c, action: coach, reason: better not, when: {finding: {}}}
- {id: m, action: coach, mode: monitor, when: {finding: {}}}
- {id: r, action: redact, when: {finding: {category: secret}}}
""")
    (notice,) = made.decide(subject(), [found("pii")]).notices
    assert (notice.rule, notice.reason) == ("c", "better not")
    decision = made.decide(subject(), [KEY])
    assert decision.verdict.action == "redact"
    assert [each.rule for each in decision.notices] == ["c"]


def test_a_verdict_knows_its_rule_s_style():
    made = policy("- {id: b, action: block, style: message}")
    assert made.decide(subject()).verdict.style == "message"
    assert policy("- {id: b, action: block}").decide(subject()).verdict.style == "error"


def test_a_limit_matches_where_it_is_said_to_be_reached():
    made = policy("- {id: few, action: limit, limit: {calls: 3}, when: {service: openai}}")
    ada = subject(process=Process(1, "x", 1000, exe="/bin/x"))
    (charge,) = made.charges(ada)
    assert (charge.rule, charge.who, charge.unit, charge.most) == ("few", "uid 1000", "calls", 3)
    assert charge.seconds == 3600
    assert made.decide(ada).verdict.action == "allow"
    assert made.decide(ada, over=["few"]).verdict.action == "limit"
    assert made.charges(subject("mistral")) == ()
    assert made.charges(subject(direction="response")) == ()


@pytest.mark.parametrize(
    ("by", "who"), [("user", "uid 7"), ("process", "uid 7 /bin/x"), ("host", "host")]
)
def test_a_limit_counts_for_each_user_or_process_or_for_the_host(by, who):
    made = policy(f"- {{id: few, action: limit, limit: {{tokens: 3, per: day, by: {by}}}}}")
    (charge,) = made.charges(subject(process=Process(1, "x", 7, exe="/bin/x")))
    assert (charge.who, charge.unit, charge.seconds) == (who, "tokens", 86_400)


def test_must_inspect_speaks_for_the_connections_that_fit():
    made = policy("""
- {id: look, action: alert, must_inspect: true, when: {service: openai, user: "10*"}}
- {id: try, action: alert, must_inspect: true, mode: monitor, when: {service: mistral}}
""")
    from milecastle.catalogue import shipped

    services = shipped().services
    ada = Process(1, "x", 5, user="1000")
    assert made.must_inspect(services["openai"], ada)
    assert not made.must_inspect(services["openai"])
    assert not made.must_inspect(services["mistral"], ada)


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("action: refuse, when: {finding: {}}", "refuse asks for finding"),
        ("action: refuse, when: {model: x, operation: y}", "refuse asks for model, operation"),
        ("action: alert, must_inspect: true, when: {direction: request}", "must_inspect asks for"),
        ("action: limit", "go together"),
        ("action: block, limit: {calls: 1}", "go together"),
        ("action: limit, limit: {calls: 1}, when: {finding: {}}", "counts requests"),
        ("action: limit, limit: {calls: 1, tokens: 2}", "either `calls` or `tokens`"),
        ("action: limit, limit: {per: day}", "either `calls` or `tokens`"),
        ("action: limit, limit: {calls: 0}", "not between"),
        ("action: alert, style: message", "stops nothing"),
        ("action: limit, limit: {calls: 1}, when: {direction: response}", "asks for others"),
        ("action: block, when: {direction: tool_call}", "tool_call without a finding"),
        ("action: refuse, when: {time: {days: mon}}", "refuse asks for time"),
        ("action: block, when: {time: {zone: Europe/Rom}}", "did you mean 'Europe/Rome'"),
        ("action: block, when: {time: {from: '8:00'}}", "is not a time of the day"),
        ("action: neutralise", "acts on findings"),
        ("action: pseudonymise", "acts on findings"),
    ],
)
def test_keys_that_do_not_go_together_are_problems(rule, what):
    written = f"version: 1\nrules:\n- {{id: x, {rule}}}\n"
    made, problems = check(written, "p.yaml")
    assert made is None
    assert any(what in str(problem) for problem in problems), problems
    if "zone" not in rule:  # a schema does not know which there are
        assert not SCHEMA.is_valid(yaml.safe_load(written))

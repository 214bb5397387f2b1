"""The fast way (columns of bits) and the slow way (one condition after the other) agree."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.making import TODAY, found, policy, subject

from milecastle.model import Action, Finding, Process, Severity, Standing, Subject
from milecastle.policy import Policy
from milecastle.policy.explaining import covered, unmet


def why(made: Policy, *findings, now=TODAY, **given):
    return [
        (step.rule, step.matched, step.why)
        for step in made.explain(subject(**given), findings, now=now)
    ]


def test_each_rule_says_why_it_matched_or_did_not():
    made = policy("""
- {id: a, action: block, when: {service: anthropic}}
- {id: b, action: block, when: {process: {exe: /bin/x}}}
- {id: c, action: alert, when: {model: "gpt*", finding: {category: secret}}}
- {id: d, action: alert, when: {finding: {category: secret, count: ">= 3"}}}
- {id: e, action: alert, when: {finding: {category: injection}}}
- {id: f, action: alert}
- {id: g, action: alert, when: {direction: request}}
""")
    assert why(made, found(), found(), model="gpt-5") == [
        ("a", False, "service is 'openai', the rule wants anthropic"),
        ("b", False, "process.exe is not known"),
        ("c", True, "2 matches found that fit"),
        ("d", False, "count is 2, the rule wants >= 3"),
        ("e", False, "no finding fits"),
        ("f", True, "it has no conditions"),
        ("g", True, "all conditions hold"),
    ]


def test_exceptions_show_up_in_the_rules_that_they_touch():
    made = policy("""
- {id: r, action: redact, when: {finding: {category: secret}}}
- {id: u, action: block}
- id: e
  action: allow
  when: {finding: {rule: test-key}}
  exception: {owner: o, reason: r, expires: 2027-02-01}
- id: s
  action: allow
  when: {service: openai}
  exception: {owner: o, reason: r, expires: 2027-02-01}
""")
    key = found(rule="test-key")
    assert why(made, key) == [
        ("r", False, "no finding fits that no exception covers"),
        ("u", False, "an exception takes this rule away"),
        ("e", True, "1 match found that fit"),
        ("s", True, "all conditions hold"),
    ]
    assert why(made, key, now=None)[2:] == [
        ("e", False, "the exception has expired"),
        ("s", False, "the exception has expired"),
    ]


def test_a_long_value_from_a_request_is_shown_cut():
    made = policy("- {id: a, action: block, when: {model: x}}")
    assert len(why(made, model="y" * 10**6)[0][2]) < 150


def test_a_step_names_the_rules_of_the_detectors_and_no_text():
    made = policy("- {id: a, action: redact, when: {finding: {category: secret}}}")
    step = made.explain(subject(), [found(rule="k1"), found(rule="k1"), found(rule="k2")])[0]
    assert step.findings == ("k1", "k2")


# --- the same answer in two ways --------------------------------------------------------------

ON_EXCHANGES = [Action.ALLOW, Action.ALERT, Action.COACH, Action.CUT, Action.BLOCK]
ON_FINDINGS = [each for each in Action if each not in {Action.LIMIT, Action.REFUSE}]
IDS = st.sampled_from(["a", "b", "a*", "*", "?b"])
LISTS = st.lists(IDS, min_size=1, max_size=2).map(
    lambda each: "[" + ", ".join(f"'{i}'" for i in each) + "]"
)


@st.composite
def finding_conditions(draw):
    keys = {
        "category": draw(st.sampled_from([None, "secret", "pii", "[pii, tool]"])),
        "rule": draw(st.none() | LISTS),
        "severity": draw(st.sampled_from([None, "high", "'>= medium'", "'< low'"])),
        "score": draw(st.sampled_from([None, "'> 0.5'"])),
        "provenance": draw(st.sampled_from([None, "web"])),
        "count": draw(st.sampled_from([None, "'>= 3'", "'<= 1'"])),
    }
    return "{" + ", ".join(f"{key}: {value}" for key, value in keys.items() if value) + "}"


@st.composite
def rules(draw, number):
    keys = {
        "service": draw(st.none() | LISTS),
        "model": draw(st.none() | LISTS),
        "direction": draw(st.sampled_from([None, "request", "response"])),
        "standing": draw(st.sampled_from([None, "sanctioned"])),
        "user": draw(st.sampled_from([None, "alice", "[0, 'b*']"])),
        "process": draw(st.sampled_from([None, "{exe: /a}", "{argv: '*x*', exe: '*'}"])),
        "finding": draw(st.none() | finding_conditions()),
    }
    when = ", ".join(f"{key}: {value}" for key, value in keys.items() if value)
    exception = draw(st.sampled_from([None, None, None, "2026-01-01", "2028-01-01"]))
    if exception and when and keys["finding"] != "{}":
        return (
            f"- {{id: r{number}, action: allow, when: {{{when}}}, "
            f"exception: {{owner: o, reason: r, expires: {exception}}}}}\n"
        )
    actions = ON_FINDINGS if keys["finding"] else ON_EXCHANGES
    action = draw(st.sampled_from(actions))
    mode = draw(st.sampled_from(["", ", mode: monitor", ", mode: enforce"]))
    return f"- {{id: r{number}, action: {action}{mode}, when: {{{when}}}}}\n"


POLICIES = st.integers(0, 8).flatmap(
    lambda count: st.tuples(*(rules(number) for number in range(count)))
)
PROCESSES = st.builds(
    Process,
    pid=st.just(1),
    comm=st.just("c"),
    uid=st.integers(0, 1),
    exe=st.sampled_from([None, "/a", "/b"]),
    argv=st.sampled_from([(), ("x",), ("y", "axb")]),
    user=st.sampled_from([None, "alice", "bob"]),
)
SUBJECTS = st.builds(
    Subject,
    st.sampled_from([None, "a", "b", "ab"]),
    standing=st.sampled_from(list(Standing)),
    model=st.sampled_from(["", "a", "B"]),
    process=st.none() | PROCESSES,
    direction=st.sampled_from(["request", "response"]),
)
FINDINGS = st.lists(
    st.builds(
        Finding,
        st.sampled_from(["secret", "pii", "tool"]),
        st.sampled_from(["a", "b", "ab"]),
        st.sampled_from(list(Severity)),
        st.integers(0, 9),
        st.just(9),
        st.just(""),
        provenance=st.sampled_from(["user", "web"]),
        score=st.sampled_from([0.2, 0.9]),
        count=st.integers(1, 3),
    ),
    max_size=4,
    unique=True,
)


def slowly(made: Policy, who: Subject, findings, now):
    """Decide as docs/POLICY.md says it, with no regard for speed."""
    fitting = [rule for rule in made.rules if unmet(rule, who, now) is None]

    def takes(rule, left):
        mine = [each for each in left if covered(rule, each, who)]
        count = rule.when.count
        return [] if count and not count.holds(sum(each.count for each in mine)) else mine

    exceptions = [rule for rule in fitting if rule.exception and now < rule.exception.expires]
    gone = [each for rule in exceptions for each in takes(rule, findings)]
    left = [each for each in findings if each not in gone]
    lifted = any(rule.when.finding is None for rule in exceptions)
    matched, edits = [], {}
    for rule in made.rules:
        if rule not in fitting:
            continue
        if rule.exception:
            hit = rule in exceptions and (rule.when.finding is None or takes(rule, findings))
        elif rule.when.finding is None:
            hit = not lifted
        else:
            hit = takes(rule, left)
            if rule.action.edits and rule.mode == "enforce":
                for each in hit:
                    edits[each] = max(edits.get(each, rule.action), rule.action, key=rank)
        if hit:
            matched.append(rule)
    for each, action in edits.items():
        inside = action is Action.NEUTRALISE and each.provenance != "web"
        back = action is Action.PSEUDONYMISE and who.direction == "response"
        edits[each] = Action.REDACT if inside or back else action
    return matched, edits


def rank(action):
    return action.rank


@settings(max_examples=400, deadline=None)
@given(POLICIES, SUBJECTS, FINDINGS)
def test_columns_of_bits_decide_as_one_condition_after_the_other(written, who, findings):
    made = policy("".join(written), "mode: monitor")
    decision = made.decide(who, findings, now=TODAY)
    matched, edits = slowly(made, who, findings, TODAY)
    assert decision.rules == tuple(rule.id for rule in matched)
    for action, chosen in (
        (Action.REDACT, decision.redact),
        (Action.PSEUDONYMISE, decision.pseudonymise),
        (Action.NEUTRALISE, decision.neutralise),
    ):
        assert set(chosen) == {each for each, how in edits.items() if how is action}
    coaching = [r.id for r in matched if r.action is Action.COACH and r.mode == "enforce"]
    assert [notice.rule for notice in decision.notices] == coaching
    enforced = max(
        (r.action for r in matched if r.mode == "enforce"), key=rank, default=Action.ALLOW
    )
    applied = decision.verdict.applied
    if enforced.edits:
        assert applied in edits.values()
    else:
        assert enforced.rank <= applied.rank <= max(enforced.rank, Action.ALERT.rank)
    strongest = max((rule.action.rank for rule in matched), default=0)
    said = decision.would or decision.verdict
    if not said.action.edits:
        assert said.action.rank == strongest
    steps = made.explain(who, findings, now=TODAY)
    assert tuple(step.rule for step in steps if step.matched) == decision.rules

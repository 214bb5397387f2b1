from datetime import datetime

import pytest
from tests.policy.making import TODAY, found, policy, subject

from milecastle.model import ALLOWED, Action, Ancestor, Pod, Process, Service, Standing
from milecastle.policy import Policy

SECRET = found()
EMAIL = found("pii", "email", "low")


def verdict(made: Policy, *findings, now=None, **given):
    decision = made.decide(subject(**given), findings, now=now)
    return str(decision.verdict.action), decision.verdict.rule


# --- which action ---------------------------------------------------------------------------


def test_without_rules_everything_is_allowed_and_no_rule_is_named():
    assert Policy().decide(subject(), [SECRET]).verdict == ALLOWED
    assert Policy().mode == "monitor"


def test_the_strongest_action_of_all_matching_rules_is_taken_and_its_rule_named():
    made = policy("""
- {id: a, action: alert}
- {id: r, action: redact, when: {finding: {category: secret}}}
- {id: b, action: block, when: {finding: {category: pii}}}
- {id: ok, action: allow}
""")
    assert verdict(made) == ("alert", "a")
    assert verdict(made, SECRET) == ("redact", "r")
    assert verdict(made, SECRET, EMAIL) == ("block", "b")
    assert made.decide(subject(), [SECRET, EMAIL]).rules == ("a", "r", "b", "ok")


def test_of_equally_strong_rules_the_first_decides():
    made = policy("- {id: z, action: block}\n- {id: a, action: block}\n")
    assert verdict(made) == ("block", "z")


def test_the_reason_is_the_rule_s_reason_else_its_description_else_its_name():
    made = policy("""
- {id: a, action: block, reason: because, description: what, when: {service: a}}
- {id: b, action: block, description: what, when: {service: b}}
- {id: c, action: block, when: {service: c}}
""")
    reasons = [made.decide(subject(each)).verdict.reason for each in "abc"]
    assert reasons == ["because", "what", "the policy's rule c"]


# --- what is redacted ------------------------------------------------------------------------


def test_redact_names_the_findings_of_redact_rules_and_no_others():
    made = policy("""
- {id: r, action: redact, when: {finding: {category: secret}}}
- {id: q, action: redact, when: {finding: {rule: "card*"}}}
- {id: a, action: alert, when: {finding: {category: pii}}}
""")
    card = found("pii", "card-visa")
    decision = made.decide(subject(), [EMAIL, SECRET, card])
    assert decision.redact == (SECRET, card)
    assert decision.verdict.rule == "r"


def test_in_monitor_mode_nothing_is_redacted():
    made = policy("- {id: r, action: redact, when: {finding: {}}}", "mode: monitor")
    decision = made.decide(subject(), [SECRET])
    assert (decision.redact, decision.verdict.applied) == ((), Action.ALERT)
    assert decision.verdict.action is Action.REDACT


# --- monitor and enforce together -------------------------------------------------------------


@pytest.mark.parametrize(
    ("enforced", "monitored", "applied", "rule", "would"),
    [
        ("redact", "block", "redact", "e", "block"),
        ("alert", "block", "alert", "e", "block"),
        ("block", "redact", "block", "e", None),
        ("redact", "redact", "redact", "e", None),
        ("allow", "block", "alert", "m", None),
        ("allow", "allow", "allow", "e", None),
    ],
)
def test_what_is_enforced_is_never_hidden_by_what_is_monitored(
    enforced, monitored, applied, rule, would
):
    made = policy(f"""
- {{id: m, mode: monitor, action: {monitored}, when: {{finding: {{}}}}}}
- {{id: e, mode: enforce, action: {enforced}, when: {{finding: {{}}}}}}
""")
    decision = made.decide(subject(), [SECRET])
    assert (str(decision.verdict.applied), decision.verdict.rule) == (applied, rule)
    assert (decision.would and str(decision.would.action)) == would
    assert decision.redact == ((SECRET,) if enforced == "redact" else ())


def test_a_rule_alone_in_monitor_mode_says_what_it_would_do_and_alerts():
    made = policy("- {id: m, mode: monitor, action: block}")
    decision = made.decide(subject())
    assert (decision.verdict.action, decision.verdict.applied) == (Action.BLOCK, Action.ALERT)
    assert decision.would is None


# --- conditions -------------------------------------------------------------------------------

NODE = Process(
    7,
    "node",
    1000,
    exe="/usr/bin/node",
    argv=("node", "/opt/claude/cli.js"),
    user="alice",
    sha256="ab" * 32,
    ancestry=(Ancestor(5, "bash", "/bin/bash"), Ancestor(1, "systemd", "/sbin/init")),
    cgroup="/user.slice/x.scope",
    container="0123456789ab",
    groups=(1000, "alice", 998, "docker"),
    script="/opt/claude/cli.js",
    client="claude-code",
    pod=Pod("7", namespace="research", labels={"app": "chat", "team": "ml-eu"}),
)


@pytest.mark.parametrize(
    ("when", "given", "matches"),
    [
        ("service: openai", {}, True),
        ("service: [anthropic, openai]", {}, True),
        ("service: open*", {}, True),
        ("service: openai", {"service": "openai-sites"}, False),
        ("service: openai", {"service": None}, False),
        ("category: consumer_*", {"category": "consumer_chat"}, True),
        ("standing: [unsanctioned, tolerated]", {"standing": Standing.TOLERATED}, True),
        ("standing: unsanctioned", {"standing": Standing.SANCTIONED}, False),
        ("operation: chat", {"operation": "chat"}, True),
        ("model: gpt-4*", {"model": "GPT-4o"}, True),
        ("model: gpt-4*", {"model": "my-gpt-4"}, False),
        ('model: "*"', {"model": ""}, False),
        ("direction: response", {}, False),
        ("direction: response", {"direction": "response"}, True),
        ("user: alice", {"process": NODE}, True),
        ("user: 1000", {"process": NODE}, True),
        ("user: [1001, 'a*']", {"process": NODE}, True),
        ("user: bob", {"process": NODE}, False),
        ("user: alice", {}, False),
        ("process: {exe: /usr/*/node}", {"process": NODE}, True),
        ("process: {exe: '*'}", {"process": Process(7, "x", 0)}, False),
        ("process: {comm: node, sha256: %s}" % ("AB" * 32), {"process": NODE}, True),
        ("process: {argv: '*/cli.js'}", {"process": NODE}, True),
        ("process: {ancestry: bash}", {"process": NODE}, True),
        ("process: {ancestry: /bin/*sh}", {"process": NODE}, True),
        ("process: {ancestry: zsh}", {"process": NODE}, False),
        ("process: {container: '0123*'}", {"process": NODE}, True),
        ("process: {cgroup: '/user.slice/*'}", {"process": NODE}, True),
        ("process: {namespace: 're*'}", {"process": NODE}, True),
        ("process: {namespace: billing}", {"process": NODE}, False),
        ("process: {namespace: '*'}", {"process": Process(7, "x", 0, pod=Pod("7"))}, False),
        ("process: {pod_labels: [app=none, team=ml-*]}", {"process": NODE}, True),
        ("process: {pod_labels: app}", {"process": NODE}, False),
        ("process: {pod_labels: '*'}", {"process": Process(7, "x", 0, pod=Pod("7"))}, False),
        ("process: {script: '*/cli.js', client: claude-*}", {"process": NODE}, True),
        ("process: {client: codex}", {"process": NODE}, False),
        ("group: docker", {"process": NODE}, True),
        ("group: 998", {"process": NODE}, True),
        ("group: [1, 'wheel']", {"process": NODE}, False),
        ("group: '*'", {"process": Process(7, "x", 0)}, False),
        ("account: personal", {"account": "personal"}, True),
        ("account: '*'", {}, False),
        ("destination: '*.openai.com'", {"destination": "API.openai.com"}, True),
        ("host: build-*", {"host": "build-7"}, True),
        ("host: build-*", {"host": "laptop"}, False),
        ('size: ">= 1000"', {"size": 1000}, True),
        ('size: ">= 1000"', {"size": 999}, False),
        ('size: "< 1000"', {}, False),
        ('tokens: "> 5"', {"tokens": 6}, True),
        ("process: {exe: /usr/bin/node, comm: other}", {"process": NODE}, False),
    ],
)
def test_a_condition_on_the_subject(when, given, matches):
    made = policy(f"- {{id: x, action: block, when: {{{when}}}}}")
    assert (verdict(made, **given)[0] == "block") is matches


@pytest.mark.parametrize(
    ("when", "finding", "matches"),
    [
        ("", SECRET, True),
        ("category: secret", SECRET, True),
        ("category: [pii, secret]", SECRET, True),
        ("category: pii", SECRET, False),
        ("rule: aws-*", found(rule="aws-secret-key"), True),
        ("severity: high", SECRET, True),
        ("severity: [low, critical]", SECRET, False),
        ('severity: ">= high"', found(severity="critical"), True),
        ('severity: "> high"', SECRET, False),
        ('severity: "<medium"', EMAIL, True),
        ('score: ">= 0.8"', found(score=0.8), True),
        ('score: ">= 0.8"', found(score=0.79), False),
        ("provenance: [web, file]", found(provenance="web"), True),
        ('count: ">= 3"', found(count=2), False),
        ('count: ">= 3"', found(count=3), True),
    ],
)
def test_a_condition_on_a_finding(when, finding, matches):
    made = policy(f"- {{id: x, action: block, when: {{finding: {{{when}}}}}}}")
    assert (verdict(made, finding)[0] == "block") is matches
    assert verdict(made)[0] == "allow"


@pytest.mark.parametrize(
    ("direction", "way", "provenance", "matches"),
    [
        ("tool_result", "request", "tool_result", True),
        ("tool_result", "request", "user", False),
        ("tool_result", "response", "tool_result", False),
        ("tool_call", "response", "tool_call", True),
        ("tool_call", "response", "assistant", False),
        ("tool_call", "request", "tool_call", False),
        ("[request, tool_call]", "request", "user", True),
        ("[request, tool_call]", "response", "tool_call", True),
        ("[request, tool_call]", "response", "assistant", False),
        ("[tool_call, tool_result]", "request", "tool_result", True),
    ],
)
def test_tool_calls_and_results_are_ways_of_their_own(direction, way, provenance, matches):
    made = policy(f"- {{id: x, action: block, when: {{direction: {direction}, finding: {{}}}}}}")
    given = found(provenance=provenance)
    assert (verdict(made, given, direction=way)[0] == "block") is matches


@pytest.mark.parametrize(
    ("time", "at", "matches"),
    [
        ("{days: [mon, fri]}", "2027-01-15T12:00", True),  # a Friday
        ("{days: sat}", "2027-01-15T12:00", False),
        ("{from: '08:00', to: '18:00'}", "2027-01-15T08:00", True),
        ("{from: '08:00', to: '18:00'}", "2027-01-15T18:00", False),
        ("{from: '22:00', to: '06:00', days: fri}", "2027-01-15T23:00", True),
        ("{from: '22:00', to: '06:00', days: fri}", "2027-01-16T05:59", True),
        ("{from: '22:00', to: '06:00', days: fri}", "2027-01-15T05:59", False),
        ("{from: '08:00', to: '09:00', zone: Asia/Tokyo}", "2027-01-14T23:30", True),
        ("{from: '08:00', zone: America/New_York}", "2027-07-15T12:00", True),  # summer time
        ("{from: '08:00', zone: America/New_York}", "2027-01-15T12:30", False),
        ("[{days: sat}, {days: fri, to: '13:00'}]", "2027-01-15T12:00", True),
    ],
)
def test_a_window_of_time(time, at, matches):
    made = policy(f"- {{id: x, action: block, when: {{time: {time}}}}}")
    now = datetime.fromisoformat(f"{at}:00+00:00").timestamp()
    assert (verdict(made, now=now)[0] == "block") is matches
    assert verdict(made)[0] == "allow"


def test_all_conditions_on_findings_have_to_hold_for_one_and_the_same():
    made = policy("- {id: x, action: block, when: {finding: {category: pii, severity: high}}}")
    assert verdict(made, SECRET, EMAIL)[0] == "allow"
    assert verdict(made, found("pii", "card", "high"))[0] == "block"


def test_count_adds_up_the_findings_that_fit_the_other_keys():
    made = policy('- {id: x, action: block, when: {finding: {category: pii, count: ">= 5"}}}')
    two = found("pii", "email", "low", count=2)
    three = found("pii", "phone", "low", count=3)
    assert verdict(made, two, found(count=9))[0] == "allow"
    assert verdict(made, two, three)[0] == "block"


# --- exceptions -------------------------------------------------------------------------------

RULES = """
- {id: r, action: redact, when: {finding: {category: secret}}}
- {id: u, action: block, when: {standing: unsanctioned}}
"""
BY_FINDING = """
- id: e
  action: allow
  when: {service: openai, finding: {rule: test-key}}
  exception: {owner: team, reason: test keys only, expires: 2027-02-01}
"""
BY_SERVICE = """
- id: e
  action: allow
  when: {service: openai}
  exception: {owner: team, reason: a trial, expires: 2027-02-01}
"""
TEST_KEY = found(rule="test-key")


def test_an_exception_takes_away_the_findings_that_it_covers_and_no_others():
    made = policy(RULES + BY_FINDING)
    given = {"standing": Standing.SANCTIONED}
    decision = made.decide(subject(**given), [TEST_KEY, SECRET], now=TODAY)
    assert decision.redact == (SECRET,)
    assert decision.excepted == (TEST_KEY,)
    assert verdict(made, TEST_KEY, now=TODAY, **given) == ("allow", "e")
    assert verdict(made, TEST_KEY, now=TODAY, service="other", **given) == ("redact", "r")


def test_an_exception_for_a_finding_leaves_the_rules_on_the_exchange_alone():
    assert verdict(policy(RULES + BY_FINDING), TEST_KEY, now=TODAY) == ("block", "u")


def test_an_exception_without_a_finding_lifts_only_rules_without_a_finding():
    made = policy(RULES + BY_SERVICE)
    assert verdict(made, now=TODAY) == ("allow", "e")
    assert verdict(made, SECRET, now=TODAY) == ("redact", "r")
    assert verdict(made, now=TODAY, service="other") == ("block", "u")


def test_an_exception_ends_with_its_last_day_and_counts_only_if_the_time_is_known():
    made = policy(RULES + BY_SERVICE)
    first_of_february = 1_801_440_000.0
    assert verdict(made, now=first_of_february - 1)[0] == "allow"
    assert verdict(made, now=first_of_february)[0] == "block"
    assert verdict(made, now=None)[0] == "block"


def test_what_an_exception_took_away_does_not_count():
    made = policy(BY_FINDING + '- {id: many, action: block, when: {finding: {count: ">= 3"}}}\n')
    keys = [found(rule="test-key", count=2), found(count=2)]
    assert verdict(made, *keys, now=TODAY)[1] == "e"
    assert verdict(made, *keys)[1] == "many"


def test_an_exception_may_be_limited_by_count():
    made = policy("""
- {id: b, action: block, when: {finding: {category: pii}}}
- id: few
  action: allow
  when: {finding: {category: pii, count: "<= 2"}}
  exception: {owner: o, reason: r, expires: 2030-01-01}
""")
    assert verdict(made, EMAIL, now=TODAY)[0] == "allow"
    assert verdict(made, EMAIL, EMAIL, EMAIL, now=TODAY)[0] == "block"


# --- services ---------------------------------------------------------------------------------


def service(id_, category="model_api", decrypt=True):
    return Service(id_, id_, "V", category, decrypt)


def test_the_closest_pattern_gives_a_service_its_standing():
    made = policy(
        head="""mode: enforce
services:
  sanctioned: [openai, "github-*"]
  tolerated: ["*"]
  unsanctioned: [github-spark, "open*", "github-c*"]
"""
    )
    standing = {
        id_: str(made.standing(service(id_)))
        for id_ in ("openai", "openrouter", "github-x", "github-copilot", "github-spark", "q")
    }
    assert standing == {
        "openai": "sanctioned",
        "openrouter": "unsanctioned",
        "github-x": "sanctioned",
        "github-copilot": "unsanctioned",
        "github-spark": "unsanctioned",
        "q": "tolerated",
    }
    assert made.standing(None) is Standing.UNSANCTIONED


def test_between_equally_close_patterns_the_stricter_standing_counts():
    made = policy(head="services: {sanctioned: ['a*'], unsanctioned: ['*a']}")
    assert made.standing(service("a")) is Standing.UNSANCTIONED


def test_the_default_standing_is_the_policy_s():
    assert policy(head="services: {default: tolerated}").standing(None) is Standing.TOLERATED


def test_everything_that_the_catalogue_allows_is_decrypted_except_what_is_named():
    made = policy(head="intercept: {except: [cursor, 'mcp-*']}")
    assert made.intercepts(service("openai"))
    assert not made.intercepts(service("cursor"))
    assert not made.intercepts(service("mcp-http"))
    assert not made.intercepts(service("sentry", decrypt=False))


def test_the_self_test_is_always_decrypted_and_welcome():
    made = policy(head="intercept: {except: ['*']}\nservices: {unsanctioned: ['*']}")
    assert made.intercepts(service("milecastle-selftest"))
    assert made.standing(service("milecastle-selftest")) is Standing.SANCTIONED


def test_on_failure_has_a_default_and_services_of_their_own():
    assert Policy().on_failure(None) == "open"
    made = policy(head="on_failure: closed")
    assert made.on_failure(service("openai")) == "closed"
    made = policy(head="on_failure: {default: open, closed: [openai, 'a*'], open: [aa, '*z']}")
    assert [made.on_failure(service(id_)) for id_ in ("openai", "ab", "aa", "az", "x")] == [
        "closed",
        "closed",
        "open",
        "closed",
        "open",
    ]


def test_what_could_not_be_read_fits_a_rule_that_closes_and_none_that_opens():
    made = policy("""
- {id: a, action: alert, when: {service: openai, model: "gpt-5*"}, on_failure: closed}
- {id: b, action: alert, when: {service: mistral, model: small}, on_failure: open}
""", "mode: enforce\non_failure: {default: open, closed: [mistral]}")  # fmt: skip
    assert made.on_failure(service("openai"), subject("openai")) == "closed"
    assert made.on_failure(service("openai"), subject("openai", model="o3")) == "open"
    assert made.on_failure(service("mistral"), subject("mistral")) == "closed"
    assert made.on_failure(service("mistral"), subject("mistral", model="small")) == "open"


def test_before_anything_is_said_a_rule_may_ask_who_calls():
    made = policy("- {id: a, action: alert, when: {user: alice}, on_failure: closed}")
    assert made.on_failure(service("openai")) == "open"
    assert made.on_failure(service("openai"), process=NODE) == "closed"
    assert made.on_failure(service("openai"), process=Process(1, "x", 0, user="bob")) == "open"


def test_an_enforced_rule_may_say_what_happens_on_failure():
    made = policy("""
- {id: a, action: alert, when: {service: openai}, on_failure: closed}
- {id: b, action: alert, when: {service: "o*"}, on_failure: open}
- {id: c, action: alert, when: {service: ollama}, on_failure: closed, mode: monitor}
- {id: d, action: redact, when: {user: alice, finding: {}}, on_failure: closed}
""")
    assert made.on_failure(service("openai")) == "closed"
    assert made.on_failure(service("ollama")) == "open"
    assert made.on_failure(service("anthropic")) == "open"
    assert made.on_failure(service("anthropic"), subject("anthropic", process=NODE)) == "closed"

"""Many rules and long values. What they cost is measured by benchmarks/bench_policy.py."""

import time

from tests.policy.making import TODAY, found, policy, subject

from milecastle.model import Process

KINDS = [
    "- {{id: s{n}, action: block, when: {{service: service-{n}}}}}",
    "- {{id: m{n}, action: alert, when: {{model: 'model-{n}*', direction: request}}}}",
    "- {{id: x{n}, action: block, when: {{process: {{exe: '/opt/{n}/*'}}, user: u{n}}}}}",
    "- {{id: r{n}, action: redact, when: {{finding: {{rule: rule-{n}, severity: '>= high'}}}}}}",
    "- {{id: c{n}, action: block, when: {{service: service-{n}, finding: {{count: '>= 9'}}}}}}",
]
THOUSAND = "\n".join(kind.format(n=n) for n in range(200) for kind in KINDS)


def test_of_a_thousand_rules_those_that_fit_decide():
    made = policy(THOUSAND)
    assert len(made.rules) == 1000
    process = Process(9, "node", 1000, exe="/opt/7/bin/node", user="u7", argv=("node", "x"))
    who = subject("service-7", model="model-7", process=process)
    findings = [found(rule="rule-7"), found("pii", "email", "low"), found(rule="rule-8")]
    assert made.decide(who, findings, now=TODAY).rules == ("s7", "m7", "x7", "r7", "r8")


def test_values_from_requests_do_not_fill_the_memory():
    made = policy(THOUSAND)
    for n in range(3000):
        made.decide(subject(model=f"model-{n}"))
    made.decide(subject(model="x" * 10**6))
    for _, column in made._matcher._subject:
        assert len(column._known) <= 1024
        assert all(len(value) <= 512 for value in column._known if isinstance(value, str))


def test_a_hostile_model_name_costs_little():
    made = policy('- {id: a, action: block, when: {model: "*a*a*a*a*a*a*a*b"}}')
    began = time.process_time()
    made.decide(subject(model="a" * 10**6))
    assert time.process_time() - began < 1

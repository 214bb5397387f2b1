"""What a verdict costs: by the number of rules, and whether the values were met before.

    .venv/bin/python benchmarks/bench_policy.py

A message with three findings, judged by policies of mixed rules: services, models, executables,
users, bounds, findings, counts. "New values" changes service, model, executable, arguments, user
and size with every message, so that no answer is remembered. The empty policy shows what the
machine is worth today.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

from milecastle.model import Finding, Process, Severity, Subject  # noqa: E402
from milecastle.policy import Policy, check  # noqa: E402

KINDS = (
    "- {{id: s{n}, action: block, when: {{service: service-{n}}}}}",
    "- {{id: m{n}, action: alert, when: {{model: 'model-{n}*', direction: request}}}}",
    "- {{id: x{n}, action: block, when: {{process: {{exe: '/opt/{n}/*'}}, user: u{n}}}}}",
    "- {{id: a{n}, action: alert, when: {{process: {{argv: '*/tool-{n}.js'}}}}}}",
    "- {{id: b{n}, action: limit, limit: {{calls: {m}}}, when: {{size: '>= {m}0000'}}}}",
    "- {{id: r{n}, action: redact, when: {{finding: {{rule: rule-{n}, severity: '>= high'}}}}}}",
    "- {{id: p{n}, action: pseudonymise, when: {{finding: {{rule: 'pii-{n}-*'}}}}}}",
    "- {{id: c{n}, action: block, when: {{service: service-{n}, finding: {{count: '>= 9'}}}}}}",
)
SIZES = (0, 10, 100, 1000, 5000)
ROUNDS, TIMES = 15, 200
NOW = 1.8e9


def rules(count: int) -> Policy:
    each = [KINDS[n % len(KINDS)].format(n=n // len(KINDS), m=n + 1) for n in range(count)]
    head = "version: 1\nmode: enforce\n" + ("rules:\n" if each else "")
    made, problems = check(head + "\n".join(each), "bench.yaml")
    assert made is not None, problems
    return made


def message(n: int) -> tuple[Subject, list[Finding]]:
    process = Process(
        9, "node", 1000 + n, exe=f"/opt/{n}/node", user=f"u{n}",
        argv=("node", f"/x/tool-{n}.js", "--run"),
    )  # fmt: skip
    who = Subject(f"service-{n}", model=f"model-{n}", process=process, size=n * 1000)
    rules = (f"rule-{n}", "email", f"pii-{n}-x")
    return who, [Finding("secret", rule, Severity.HIGH, 0, 4, "") for rule in rules]


def microseconds(made: Policy, messages: list[tuple[Subject, list[Finding]]]) -> float:
    """Return what a verdict costs, in the least disturbed of some runs."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = time.perf_counter()
        for who, findings in messages:
            made.decide(who, findings, now=NOW)
        best = min(best, (time.perf_counter() - before) / len(messages))
    return best * 1e6


def main() -> None:
    known = [message(7)] * TIMES
    print("rules   to read   known values   new values")
    for count in SIZES:
        before = time.perf_counter()
        made = rules(count)
        read = time.perf_counter() - before
        warm = microseconds(made, known)
        # more values than a column keeps, so that each is new again when it comes again
        fresh = microseconds(made, [message(n) for n in range(2000)])
        print(f"{count:5}  {read * 1e3:6.1f} ms  {warm:9.1f} us  {fresh:9.1f} us")


if __name__ == "__main__":
    main()

"""What is usual, learned from made-up histories, and what is told where it is not."""

import random

import pytest

from milecastle import policy
from milecastle.daemon import habits
from milecastle.daemon.habits import DAY, HOUR, Habit
from milecastle.daemon.usage import Usage
from milecastle.model import Attribution, Connection, Endpoint, Grade, Process, Standing
from milecastle.store import Hours

MONDAY = 20_000 * DAY + 4 * DAY
"""Some Monday, 00:00 UTC."""
POLICY = """
version: 1
mode: enforce
rules:
  - id: unusual-usage
    when: {finding: {category: usage, severity: ">= medium"}}
    action: block
"""


def worked(days=15, calls=40, tokens=60_000, seed=1):
    """Return a habit of someone who works from 9 to 17 on weekdays, now more, now less."""
    source = random.Random(seed)
    habit = Habit()
    for day in range(days):
        if day % 7 < 5:
            for hour in range(9, 17):
                share = source.uniform(0.4, 1.8)
                at = MONDAY + day * DAY + hour * HOUR
                habit.add(at, round(calls * share), round(tokens * share))
    return habit


def warned(habit, at, calls=1, tokens=1_000):
    habit.add(at, calls, tokens)
    return [each.rule for each in habits.unusual(habit, at, int(at // HOUR) % 24)]


NOON = MONDAY + 21 * DAY + 12 * HOUR


@pytest.mark.parametrize("seed", range(20))
def test_an_ordinary_day_is_not_told_of(seed):
    habit = worked(seed=seed)
    source = random.Random(seed)
    for hour in range(9, 17):
        at = MONDAY + 21 * DAY + hour * HOUR
        assert warned(habit, at, round(40 * source.uniform(0.4, 1.8)), 60_000) == []


def test_nothing_is_told_before_enough_was_seen():
    habit = worked(days=3)
    assert warned(habit, MONDAY + 3 * DAY + 3 * HOUR, calls=9_000, tokens=10**9) == []


def test_ten_times_the_calls_of_an_hour_are_told_once():
    habit = worked()
    assert warned(habit, NOON, calls=500) == ["unusual-volume"]
    assert warned(habit, NOON + 60, calls=500) == []
    assert warned(habit, NOON + HOUR, calls=500) == ["unusual-volume"]


def test_a_day_that_costs_many_times_the_usual_is_told_once():
    habit = worked()
    assert warned(habit, NOON, tokens=5_000_000) == ["unusual-spend"]
    assert warned(habit, NOON + HOUR, tokens=5_000_000) == []


def test_one_wild_day_does_not_raise_the_bar():
    habit = worked()
    habit.add(MONDAY + 14 * DAY + 12 * HOUR, 10_000, 10**9)
    assert warned(habit, NOON, calls=500, tokens=5_000_000) == ["unusual-volume", "unusual-spend"]


def test_a_little_is_nobodys_concern_however_unusual():
    habit = worked(calls=2, tokens=100)
    assert warned(habit, NOON, calls=habits.FEWEST_CALLS - 20, tokens=100_000) == []


def test_work_at_an_hour_at_which_nobody_ever_worked_is_told_once_a_day():
    habit = worked()
    night = MONDAY + 21 * DAY + 3 * HOUR
    assert warned(habit, night) == ["unusual-hour"]
    assert warned(habit, night + 60) == []
    assert warned(habit, MONDAY + 22 * DAY + 8 * HOUR) == [], "an hour early is no other habit"


def test_history_is_bounded_and_the_oldest_goes_first():
    habit = Habit()
    for hour in range(habits.HOURS + 50):
        habit.add(hour * HOUR, 1, 1)
    assert (len(habit.hours), min(habit.hours)) == (habits.HOURS, 50)


def test_the_same_thing_over_and_over_is_a_loop():
    habit = Habit()
    told = [list(habits.looping(habit, 10.0 * n, ["a"])) for n in range(40)]
    assert [n for n, each in enumerate(told) if each] == [habits.LOOP - 1]
    assert list(habits.looping(Habit(), 0.0, [str(n) for n in range(90)])) == []
    slow = Habit()
    assert not any(list(habits.looping(slow, 300.0 * n, ["a"])) for n in range(40))


# --- in the daemon -------------------------------------------------------------------------


class Clock:
    now = float(NOON)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hours(tmp_path):
    opened = Hours.open(tmp_path / "usage.db")
    yield opened
    opened.close()


def made(hours, clock):
    compiled, problems = policy.check(POLICY, "policy.yaml")
    assert compiled, problems
    return Usage(hours, lambda: compiled, clock, lambda at: int(at // HOUR) % 24)


KNOWN = Attribution(
    Connection(1, Endpoint("198.51.100.9", 443), 1, 1, 77, 1),
    Process(pid=77, comm="python3", uid=1000, exe="/usr/bin/python3", client="agent"),
    "openai",
    Grade.EXACT,
    "",
)


def exchange(tokens=1_000, service="openai", **more):
    attributes = {"gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 0}
    verdict = {"action": "allow", "applied": "allow", "rule": None, "reason": "", "mode": "enforce"}
    base = {"service": service, "method": "POST", "findings": [], "attributes": attributes}
    return {**base, "verdict": verdict, **more}


def took(usage, record):
    usage.take(record, KNOWN, Standing.TOLERATED)
    return [each["rule"] for each in record["findings"]]


def learned(usage, clock, days=14):
    for day in range(days):
        for hour in range(9, 17):
            clock.now = NOON - (days - day) * DAY + (hour - 12) * HOUR
            took(usage, exchange(60_000, thread={"prefix": [f"{day}-{hour}"]}))
            usage.flush()
    clock.now = NOON


def test_a_finding_stands_in_the_record_and_the_verdict_alerts_but_never_blocks(hours, clock):
    usage = made(hours, clock)
    learned(usage, clock)
    record = exchange(5_000_000)
    assert took(usage, record) == ["unusual-spend"]
    assert record["verdict"]["rule"] == "unusual-usage"
    assert record["verdict"]["action"] == record["verdict"]["applied"] == "alert"
    (row,) = usage.listed()
    assert (row["program"], row["learned"], row["told"]) == ("agent", True, ["unusual-spend"])
    assert row["tokens"]["usual"] == 480_000
    assert usage.listed(only=1001) == []


def test_a_first_use_is_told_once_the_host_is_known(hours, clock):
    clock.now = NOON - 15 * DAY
    usage = made(hours, clock)
    assert took(usage, exchange()) == []
    learned(usage, clock)
    assert took(usage, exchange(service="mistral")) == ["first-use"]
    assert took(usage, exchange(service="mistral")) == []


def test_history_outlives_the_daemon(hours, clock):
    learned(made(hours, clock), clock)
    again = made(hours, clock)
    assert (again.listed()[0]["hours"], again.listed()[0]["learned"]) == (14 * 8, True)
    assert took(again, exchange(5_000_000)) == ["unusual-spend"]


def test_what_is_old_or_too_much_is_forgotten(hours, monkeypatch):
    monkeypatch.setattr("milecastle.store.habits.MOST", 50)
    hours.write([("k", hour, 1, 1) for hour in range(100)], 100)
    assert 49 <= len(hours.all()) <= 50
    assert min(each.hour for each in hours.all()) >= 50
    hours.write([], 10_000)
    assert hours.all() == []


def test_an_agent_that_repeats_a_tool_call_is_told_of(hours, clock):
    usage = made(hours, clock)
    part = {"type": "tool_call", "name": "bash", "arguments": '{"command": "make test"}'}
    told = []
    for turn in range(20):
        clock.now += 20
        record = exchange(thread={"prefix": [f"{turn:016x}"]})
        record["attributes"]["gen_ai.output.messages"] = [{"role": "assistant", "parts": [part]}]
        told += took(usage, record)
    assert told == ["loop"]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"service": 7, "method": "POST", "findings": []},
        exchange(findings="none"),
        exchange(attributes=[1]),
        exchange(attributes={"gen_ai.usage.input_tokens": "many", "gen_ai.output.messages": [3]}),
        exchange(attributes={"gen_ai.usage.input_tokens": -5}, thread={"prefix": [{}]}),
        exchange(verdict="none", thread=3),
        exchange(tokens=10**30),
        exchange(service="a\tb\tc"),
    ],
)
def test_whatever_a_worker_says_is_taken_or_passed_over(hours, clock, record):
    usage = made(hours, clock)
    usage.take(record, KNOWN, Standing.TOLERATED)
    usage.take(dict(record), None, Standing.TOLERATED)
    usage.flush()
    usage.listed()

"""How limits are counted: sliding, bounded, and never less than was used."""

from hypothesis import given
from hypothesis import strategies as st

from milecastle.policy.limiting import Charge, Meter

HOUR = Charge("few", "uid 1", "calls", 3, 3600)
START = 1.8e9


def test_so_many_go_through_and_no_more_until_the_span_is_over():
    meter = Meter()
    assert [meter.take(HOUR, 1, START + n) for n in range(3)] == [None] * 3
    again = meter.take(HOUR, 1, START + 3)
    assert START + 3600 <= again <= START + 3600 + 2 * 60
    assert meter.take(HOUR, 1, again - 61) is not None
    assert meter.take(HOUR, 1, again) is None


def test_what_was_turned_away_is_not_counted():
    meter = Meter()
    for n in range(50):
        meter.take(HOUR, 1, START + n)
    assert meter.take(HOUR, 1, START + 3700) is None


def test_tokens_are_added_after_the_answer_and_the_next_request_feels_them():
    tokens = Charge("few", "uid 1", "tokens", 1000, 86_400)
    meter = Meter()
    assert meter.take(tokens, 0, START) is None
    meter.add(tokens, 1500, START)
    assert meter.take(tokens, 0, START + 1) is not None
    assert meter.take(tokens, 0, START + 2 * 86_400) is None


def test_users_and_rules_have_sums_of_their_own():
    meter = Meter()
    for n in range(3):
        meter.take(HOUR, 1, START + n)
    assert meter.take(Charge("few", "uid 2", "calls", 3, 3600), 1, START + 4) is None
    assert meter.take(Charge("other", "uid 1", "calls", 3, 3600), 1, START + 4) is None


def test_sums_are_bounded_and_the_oldest_are_forgotten():
    meter = Meter(most=10)
    for n in range(100):
        meter.take(Charge("few", f"uid {n}", "calls", 1, 3600), 1, START)
    assert len(meter) == 10
    assert meter.take(Charge("few", "uid 99", "calls", 1, 3600), 1, START) is not None


@given(st.lists(st.floats(0, 9000), max_size=60).map(sorted), st.integers(1, 5))
def test_no_hour_ever_holds_more_than_the_limit(times, most):
    meter, charge = Meter(), Charge("few", "uid 1", "calls", most, 3600)
    passed = [when for when in times if meter.take(charge, 1, START + when) is None]
    for first in passed:
        assert sum(first <= when < first + 3600 for when in passed) <= most

"""How limits are counted: sliding, bounded, and never less than was used."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.model import ParseError
from milecastle.policy.limiting import Charge, Meter, heard, told

HOUR = Charge("few", "uid 1", "calls", 3, 3600)
START = 1.8e9


def passes(meter, charge, when):
    return not meter.spend([charge], when)


def test_so_many_go_through_and_no_more_until_the_span_is_over():
    meter = Meter()
    assert all(passes(meter, HOUR, START + n) for n in range(3))
    again = meter.spend([HOUR], START + 3)["few"]
    assert START + 3600 <= again <= START + 3600 + 2 * 60
    assert not passes(meter, HOUR, again - 61)
    assert passes(meter, HOUR, again)


def test_what_was_turned_away_is_not_counted():
    meter = Meter()
    for n in range(50):
        meter.spend([HOUR], START + n)
    assert passes(meter, HOUR, START + 3700)


def test_tokens_are_added_after_the_answer_and_the_next_request_feels_them():
    tokens = Charge("few", "uid 1", "tokens", 1000, 86_400)
    meter = Meter()
    assert passes(meter, tokens, START)
    meter.add(tokens, 1500, START)
    assert not passes(meter, tokens, START + 1)
    assert passes(meter, tokens, START + 2 * 86_400)


def test_users_and_rules_have_sums_of_their_own():
    meter = Meter()
    for n in range(3):
        meter.spend([HOUR], START + n)
    assert passes(meter, replace(HOUR, who="uid 2"), START + 4)
    assert passes(meter, replace(HOUR, rule="other"), START + 4)


def test_a_call_that_one_limit_stops_costs_the_other_limits_nothing():
    meter, wide = Meter(), replace(HOUR, rule="wide", most=100)
    for n in range(20):
        meter.spend([HOUR, wide], START + n)
    wide = replace(wide, most=4)
    assert passes(meter, wide, START + 30)
    assert not passes(meter, wide, START + 31)


def test_a_limit_that_is_tried_out_stops_nothing_so_the_call_counts():
    meter, tried = Meter(), replace(HOUR, rule="tried", mode="monitor", most=1)
    for n in range(3):
        meter.spend([tried, HOUR], START + n)
    assert set(meter.spend([tried, HOUR], START + 4)) == {"tried", "few"}


def test_sums_are_bounded_and_the_oldest_are_forgotten():
    meter = Meter(most=10)
    for n in range(100):
        meter.spend([replace(HOUR, who=f"uid {n}", most=1)], START)
    assert len(meter) == 10
    assert not passes(meter, replace(HOUR, who="uid 99", most=1), START)


@given(st.lists(st.floats(0, 9000), max_size=60).map(sorted), st.integers(1, 5))
def test_no_hour_ever_holds_more_than_the_limit(times, most):
    meter, charge = Meter(), replace(HOUR, most=most)
    passed = [when for when in times if passes(meter, charge, START + when)]
    for first in passed:
        assert sum(first <= when < first + 3600 for when in passed) <= most


def test_a_charge_comes_through_a_socket_as_it_is_and_anything_else_is_an_error():
    assert heard(told(HOUR)) == HOUR
    for wrong in (None, [], told(HOUR)[:5], ["r", "w", "pounds", 1, 3600, "enforce"],
                  ["r", "w" * 600, "calls", 1, 3600, "enforce"],
                  ["r", "w", "calls", 1, 7, "enforce"]):  # fmt: skip
        with pytest.raises(ParseError):
            heard(wrong)

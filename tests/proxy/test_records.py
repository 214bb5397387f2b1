"""Records: always something that fits into a frame."""

from __future__ import annotations

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from milecastle.proxy import records

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(codec=None), max_size=8), ANYTHING, max_size=5))
def test_a_cleaned_record_can_always_be_packed(record):
    msgpack.packb(records.clean(record), use_bin_type=True)


def test_lone_surrogates_huge_numbers_and_endless_depth_are_replaced():
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    cleaned = records.clean({"a": "x\ud800", "b": 1 << 70, "c": deep, "d": object()})
    assert cleaned["a"] == "x?"
    assert cleaned["b"] == float(1 << 70)
    assert isinstance(cleaned["d"], str)
    msgpack.packb(cleaned)


def test_a_slim_record_has_no_text_but_says_so():
    record = {
        "exchange": "x",
        "attributes": {"gen_ai.input.messages": ["long"], "gen_ai.request.model": "m"},
        "findings": [{"rule": "r"}] * 1000,
        "steps": ["s"],
    }
    slim = records.slim(record)
    assert slim["attributes"] == {"gen_ai.request.model": "m", "error.type": "record_too_large"}
    assert len(slim["findings"]) == records.FINDINGS_KEPT
    assert slim["steps"] == []


def test_ids_are_26_characters_and_sort_by_time():
    first, second = (records.exchange_id(1.7e9 + n, b"\xff" * 10) for n in (0, 0.001))
    assert len(first) == 26
    assert first < second
    assert set(first) <= set(records.ALPHABET)
    assert records.exchange_id(1.7e9, bytes(10)) != first

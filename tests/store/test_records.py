import copy
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.examples import A_FINDING, NOW, make_record

from milecastle.model import ParseError
from milecastle.store import Store, records

GOOD = make_record(findings=[A_FINDING])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


def paths(value, here=()):
    """Every place of a record that a hostile worker could put something else into."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from paths(inner, (*here, key))
        else:
            yield (*here, key)


PATHS = [path for path in paths(GOOD) if path]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("fuzz") / "milecastle.db")
    yield store
    store.close()


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(PATHS), VALUES)
def test_a_record_with_anything_anywhere_is_kept_or_refused_and_nothing_else(filled, path, value):
    record = copy.deepcopy(GOOD)
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    try:
        stored = filled.add(record, NOW)
    except ParseError:
        assert filled.lost == 0
        return
    assert stored["stored"]
    assert filled.show(stored["session"])
    assert filled.explain(stored["id"])
    assert filled.recent(1)[0]["id"] == stored["id"]
    assert filled.sessions(1)
    filled._connection.execute("DELETE FROM exchanges")
    filled._connection.execute("DELETE FROM sessions")


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_anything_at_all_is_refused_unless_it_is_a_record(value):
    with pytest.raises(ParseError):
        records.parse(value, NOW)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("exchange", "../../etc"),
        ("exchange", "a" * 65),
        ("started", math.nan),
        ("started", -1),
        ("ended", NOW - 3),  # before it started
        ("ended", NOW + 10 * 86_400),
        ("host", "h" * 513),
        ("status", "200"),
        ("status", True),
        ("cookie", 1 << 64),
        ("request_bytes", -1),
        ("findings", [{**A_FINDING, "severity": "awful"}]),
        ("findings", [A_FINDING] * 1001),
        ("findings", {}),
        ("verdict", {"action": "allow"}),
        ("verdict", {"action": "explode", "reason": ""}),
        ("attributes", {"id": "not dotted"}),
        ("attributes", {"gen_ai.x": b"bytes"}),
        ("attributes", {"gen_ai.x": 1 << 70}),
        ("attributes", {"gen_ai.input.messages": ["no"]}),
        ("attributes", {"gen_ai.input.messages": [{"role": "user", "parts": [{"type": 1}]}]}),
        ("attributes", {f"gen_ai.x{number}": 1 for number in range(200)}),
        ("attributes", {"gen_ai.x": "x" * (6 << 20)}),
        ("attributes", {"gen_ai.usage.input_tokens": -5}),
        ("attribution", {"grade": "sure"}),
        ("attribution", {"grade": "exact", "process": {"pid": "1"}}),
    ],
)
def test_wrong_types_and_sizes_are_named_in_the_refusal(field, value):
    with pytest.raises(ParseError, match=f"^{field}|not JSON|not in order|of .* bytes"):
        records.parse(make_record(**{field: value}), NOW)


@pytest.mark.parametrize("field", ["exchange", "started", "host", "attributes", "verdict"])
def test_a_record_that_lacks_something_says_what(field):
    record = make_record()
    del record[field]
    with pytest.raises(ParseError, match=f"lacks {field}"):
        records.parse(record, NOW)


def test_a_refusal_never_quotes_the_value():
    secret = "AKIAIOSFODNN7EXAMPLE"
    with pytest.raises(ParseError) as refusal:
        records.parse(make_record(verdict={"action": secret, "reason": ""}), NOW)
    assert secret not in str(refusal.value)


def test_depth_is_bounded():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(ParseError):
        records.parse(make_record(steps=[deep]), NOW)
    with pytest.raises(ParseError):
        records.parse(make_record(attribution={"grade": "exact", "x": deep}), NOW)


def test_a_newer_workers_unknown_fields_are_kept():
    parsed, encoded = records.parse(make_record(shape="openai-chat"), NOW)
    assert parsed["shape"] == "openai-chat"
    assert b"openai-chat" in encoded

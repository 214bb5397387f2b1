import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milecastle.model import Edit, ParseError
from milecastle.providers.leaves import leaves
from milecastle.providers.places import byte_range
from milecastle.providers.rewriting import rewrite

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def test_one_string_changes_and_every_other_byte_stays():
    body = b'{ "a" : "keep\\u00e9 sk-1 \\n" ,\n\t"b":1.50, "c":[ "x", "y" ] }'
    edited = rewrite(body, [Edit("/a", 6, 10, "[R]"), Edit("/c/1", 0, 1, '"q"')])
    assert edited == b'{ "a" : "keep\\u00e9 [R] \\n" ,\n\t"b":1.50, "c":[ "x", "\\"q\\"" ] }'


def test_offsets_count_code_points_whatever_the_escapes():
    text = "a\U0001f600b\né"
    for raw in (json.dumps({"t": text}), json.dumps({"t": text}, ensure_ascii=False)):
        edited = rewrite(raw.encode(), [Edit("/t", 1, 2, "-"), Edit("/t", 4, 5, "e")])
        assert orjson.loads(edited) == {"t": "a-b\ne"}


def test_a_place_may_enter_json_held_in_a_string():
    arguments = json.dumps({"cmd": 'echo "hi" sk-1', "n": 1}, indent=1)
    body = json.dumps({"arguments": arguments}).encode()
    edited = rewrite(body, [Edit("/arguments#/cmd", 10, 14, "X")])
    assert json.loads(json.loads(edited)["arguments"]) == {"cmd": 'echo "hi" X', "n": 1}
    assert edited.replace(b"X", b"sk-1") == body


def test_a_place_may_enter_base64_text_behind_a_data_url():
    body = b'{"f":"data:text/plain;base64,a2V5PXNrLTE="}'
    edited = rewrite(body, [Edit("/f^", 4, 8, "[R]")])
    assert edited == b'{"f":"data:text/plain;base64,a2V5PVtSXQ=="}'


def test_a_place_may_name_a_key():
    assert rewrite(b'{"my key":{"a b":1}}', [Edit("/my key/a b~", 0, 1, "z")]) == (
        b'{"my key":{"z b":1}}'
    )


def test_a_place_may_be_a_range_of_the_body():
    body = b'--x\r\n\r\nhello sk-1\r\n--x\r\n\r\n{"a":"sk-1"}\r\n'
    edits = [
        Edit(byte_range(7, 17), 6, 10, "[R]"),
        Edit(byte_range(26, 38) + "#/a", 0, 4, "[R]"),
    ]
    assert rewrite(body, edits) == b'--x\r\n\r\nhello [R]\r\n--x\r\n\r\n{"a":"[R]"}\r\n'


def test_overlapping_edits_become_one():
    edits = [Edit("/a", 0, 4, "[one]"), Edit("/a", 2, 6, "[two]")]
    assert rewrite(b'{"a":"abcdefgh"}', edits) == b'{"a":"[one]gh"}'


def test_a_number_becomes_a_string():
    assert rewrite(b'{"card":4111111111111111}', [Edit("/card", 0, 16, "[R]")]) == (
        b'{"card":"[R]"}'
    )


def test_a_lone_surrogate_keeps_its_bytes():
    assert rewrite(rb'{"a":"x\ud83d sk"}', [Edit("/a", 3, 5, "R")]) == rb'{"a":"x\ud83d R"}'


@pytest.mark.parametrize(
    ("body", "edit"),
    [
        (b'{"a":"x"}', Edit("/b", 0, 1, "")),
        (b'{"a":"x"}', Edit("/a", 0, 2, "")),
        (b'{"a":"x"}', Edit("/a", 1, 0, "")),
        (b'{"a":"x","a":"y"}', Edit("/a", 0, 1, "")),
        (b'{"a":{}}', Edit("/a", 0, 1, "")),
        (b'{"a":"x"', Edit("/a", 0, 1, "")),
        (b'{"a":"x"}', Edit("a", 0, 1, "")),
        (b'{"a":"x"}', Edit("/a#/b", 0, 1, "")),
        (b'{"a":"%%"}', Edit("/a^", 0, 1, "")),
        (b"abc", Edit("@0-9", 0, 1, "")),
        (b"[" * 300 + b'"x"' + b"]" * 300, Edit("/0" * 300, 0, 1, "")),
        (b'{"a":"x"}', Edit("/a" + "#" * 20, 0, 1, "")),
    ],
)
def test_what_cannot_be_edited_is_a_parse_error(body, edit):
    with pytest.raises(ParseError):
        rewrite(body, [edit])


@given(JSON, st.booleans(), st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_every_leaf_can_be_rewritten_where_it_stands(value, ascii_only, spaced, data):
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=1 if spaced else None).encode()
    found = leaves(value)
    for leaf in found:
        if not leaf.place.endswith("~"):
            start = data.draw(st.integers(0, len(leaf.text)))
            edited = rewrite(raw, [Edit(leaf.place, start, len(leaf.text), "[é\n]")])
            again = {each.place: each.text for each in leaves(orjson.loads(edited))}
            assert again[leaf.place] == leaf.text[:start] + "[é\n]"
            assert len(again) == len(found)

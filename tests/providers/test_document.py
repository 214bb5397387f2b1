import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.model import ParseError
from milecastle.providers.document import read, read_lenient


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"messages":[],"model":"m","messages":[1]}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"deep":[{"k":1,"k":1}]}}',
        b'{ "a" :1, "a" :2}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":1} {"b":2}',
        b'{"a":1}x',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"{'a':1}",
        b'{"a":1,,}',
        b'{"a":/**/1}',
        b'{"a":"line\nbreak"}',
        b'{"a":01}',
        b"",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 255 + b"]" * 255,
        b"[" * 100_000,
    ],
)
def test_what_two_readers_may_read_differently_is_refused(body):
    with pytest.raises(ParseError):
        read(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'{"a":"x\ud83d"}', {"a": "x�"}),
        (rb'{"a":"\ude00x"}', {"a": "�x"}),
        (rb'{"a":"\\ud83d \ud83d\ude00"}', {"a": "\\ud83d \U0001f600"}),
        (b'{"a":[1,2,],"b":", ]",}', {"a": [1, 2], "b": ", ]"}),
        (b'{"a":{"a":1},"b":[{"a":1},{"a":2}]}', {"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}),
    ],
)
def test_common_slips_have_one_meaning(body, value):
    assert read(body) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ),
    st.booleans(),
)
def test_what_anybody_writes_is_read(value, compact):
    separators = (",", ":") if compact else None
    assert read(json.dumps(value, separators=separators).encode()) == value
    assert read(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary())
def test_any_bytes_are_read_or_refused(body):
    for reader in (read, read_lenient):
        with contextlib.suppress(ParseError):
            reader(body)


def test_a_hundred_megabytes_of_one_string_take_a_bounded_time():
    body = b'{"messages":[{"role":"user","content":"' + b"a\\n" * (100 << 18) + b'"}]}'
    began = time.process_time()
    read(body)
    assert time.process_time() - began < 10

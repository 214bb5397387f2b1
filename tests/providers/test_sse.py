import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.model import ParseError
from milecastle.providers.sse import Events

STREAM = (
    b"\xef\xbb\xbf: a comment\r\n\r\nevent: greeting\r\ndata: one\r\ndata:two\r\n\r\n"
    b"data\n\ndata: {}\rid: 7\r\rretry: 5\n\nfield without colon\ndata:  spaced\n\ndata: cut"
)
MEANT = [("greeting", b"one\ntwo"), ("", b"{}"), ("", b" spaced"), ("", b"cut")]


def read(chunks):
    events = Events()
    frames = [frame for chunk in chunks for frame in events.feed(chunk)]
    return [*frames, *events.close()]


def test_the_whatwg_rules_hold():
    assert [(frame.name, frame.payload) for frame in read([STREAM])] == MEANT


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_gives_the_same_events_and_spans(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert read(chunks) == read([STREAM])


def test_byte_by_byte_gives_the_same_events_and_spans():
    assert read([bytes([each]) for each in STREAM]) == read([STREAM])


def test_spans_follow_one_another_and_hold_the_events():
    frames = read([STREAM])
    assert all(a.end <= b.start for a, b in itertools.pairwise(frames))
    assert STREAM[frames[0].start : frames[0].end].startswith(b"event: greeting")


def test_an_event_beyond_the_limit_is_a_parse_error():
    events = Events(limit=100)
    with pytest.raises(ParseError):
        for _ in range(30):
            events.feed(b"data: aaaa\n")


def test_comments_do_not_pile_up():
    events = Events(limit=100)
    for _ in range(1000):
        assert events.feed(b": keep-alive\n\n") == []
    assert events.offset == 14_000


def test_data_is_replaced_and_other_lines_stay():
    raw = b"event: x\r\nid: 1\r\ndata: {\r\ndata: }\r\n\r\n"
    events = Events()
    assert events.unwrap(raw) == b"{\n}"
    assert events.rewrap(raw, b"[]") == b"event: x\r\nid: 1\r\ndata: []\r\n\r\n"

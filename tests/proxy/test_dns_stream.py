"""DNS messages of a TCP stream, whatever the segments."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from milecastle.proxy.dns_stream import CONNECTIONS, LARGEST, NUMBERS, DnsStreams

MESSAGES = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6)


def on_the_wire(messages):
    return b"".join(len(one).to_bytes(2, "big") + one for one in messages)


@given(MESSAGES, st.integers(0, NUMBERS - 1), st.data())
def test_messages_come_out_whole_and_once_however_they_are_cut(messages, first, data):
    sent = on_the_wire(messages)
    cuts = sorted({0, len(sent), *data.draw(st.lists(st.integers(0, len(sent))))})
    streams, got = DnsStreams(), []
    for begin, end in pairwise(cuts):
        again = data.draw(st.integers(0, begin))  # TCP may send what was sent before
        got += streams.feed(1, (first + again) % NUMBERS, sent[again:end])
    assert got == messages
    assert streams.torn == 0


def test_two_connections_do_not_mix():
    streams = DnsStreams()
    assert streams.feed(1, 0, b"\0\4ab") == []
    assert streams.feed(2, 4, b"\0\2xy") == [b"xy"]
    assert streams.feed(1, 4, b"cd") == [b"abcd"]


def test_after_a_gap_the_next_message_is_read_and_the_torn_one_counted():
    streams = DnsStreams()
    assert streams.feed(1, 0, b"\0\4ab") == []
    assert streams.feed(1, 100, b"\0\2xy") == [b"xy"]
    assert streams.torn == 1


def test_what_the_kernel_has_read_between_leaves_no_trace():
    streams = DnsStreams()
    assert streams.feed(1, 0, b"\0\1a") == [b"a"]
    assert streams.feed(1, 50, b"\0\1b") == [b"b"]
    assert streams.torn == 0


def test_a_message_that_is_too_long_is_not_collected():
    streams = DnsStreams()
    assert streams.feed(1, 0, (LARGEST + 1).to_bytes(2, "big") + bytes(100)) == []
    assert (streams.torn, len(streams._streams)) == (1, 0)


def test_the_number_of_connections_is_bounded():
    streams = DnsStreams()
    for connection in range(2 * CONNECTIONS):
        streams.feed(connection, 0, b"\0")
    assert len(streams._streams) == CONNECTIONS


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, NUMBERS - 1), st.binary(max_size=99))))
def test_nothing_that_arrives_breaks_it(segments):
    streams = DnsStreams()
    for segment in segments:
        for message in streams.feed(*segment):
            assert len(message) <= LARGEST

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle import wire
from milecastle.wire import Decoder, Frame, WireError, check, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.integers(0, 2**53 - 1), st.text(), st.dictionaries(st.text(), values))
def test_what_is_encoded_is_decoded(number, kind, body):
    (frame,) = Decoder().feed(encode(Frame(number, kind, body)))
    assert frame == Frame(number, kind, body)


@given(st.lists(st.dictionaries(st.text(), values), max_size=5), st.integers(1, 7))
def test_frames_come_out_whole_whatever_the_split(bodies, step):
    stream = b"".join(encode(Frame(0, "x", body)) for body in bodies)
    decoder = Decoder()
    found = []
    for start in range(0, len(stream), step):
        found += decoder.feed(stream[start : start + step])
    assert [frame.body for frame in found] == bodies


@given(st.binary(max_size=200))
def test_garbage_is_frames_or_a_wire_error(data):
    try:
        for frame in Decoder(limit=100).feed(data):
            assert isinstance(frame, Frame)
    except WireError:
        pass


def test_a_length_over_the_limit_is_refused_before_its_bytes_are_awaited():
    with pytest.raises(WireError, match="limit"):
        list(Decoder(limit=100).feed((101).to_bytes(4, "big")))


def test_an_empty_frame_is_refused():
    with pytest.raises(WireError):
        list(Decoder().feed(bytes(4)))


def test_nesting_that_would_exhaust_the_stack_is_refused():
    deep = b"\x93\x00\xa1x\x81\xa1a" + b"\x91" * 100_000 + b"\xc0"
    with pytest.raises(WireError):
        wire.decode(deep)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [0, "x"],
        [0, "x", {}, 1],
        ["0", "x", {}],
        [True, "x", {}],
        [-1, "x", {}],
        [0, 1, {}],
    ],
)
def test_anything_but_id_kind_body_is_refused(value):
    with pytest.raises(WireError):
        wire.decode(msgpack.packb(value))


def beat(**body):
    return Frame(0, "heartbeat", body, size=10)


def test_a_request_of_the_table_is_allowed():
    assert check(beat(open=1), wire.WORKER, "worker", "serving").limit


@pytest.mark.parametrize(
    ("frame", "sender", "phase"),
    [
        (beat(open=1), "daemon", "serving"),
        (beat(open=1), "worker", "new"),
        (beat(open="1"), "worker", "serving"),
        (beat(open=True), "worker", "serving"),
        (beat(), "worker", "serving"),
        (beat(open=1, more=2), "worker", "serving"),
        (Frame(1, "heartbeat", {"open": 1}), "worker", "serving"),
        (Frame(0, "hello", {"version": 1}), "worker", "new"),
        (Frame(0, "format_disk", {}), "worker", "serving"),
        (Frame(0, "heartbeat", {"open": 1}, size=1 << 20), "worker", "serving"),
    ],
    ids=[
        "wrong sender", "wrong phase", "wrong type", "bool for int", "missing field",
        "extra field", "id on a notification", "no id on a request", "unknown", "too large",
    ],
)  # fmt: skip
def test_whatever_breaks_the_table_is_refused(frame, sender, phase):
    with pytest.raises(WireError):
        check(frame, wire.WORKER, sender, phase)


def test_every_row_stays_below_the_largest_frame():
    for table in (wire.WORKER, wire.CONTROL, wire.SIGNER, wire.ANSWERS):
        assert all(0 < row.limit <= wire.LARGEST for row in table.values())


def test_a_frame_over_the_largest_size_is_our_own_fault():
    with pytest.raises(ValueError, match="over the limit"):
        encode(Frame(0, "x", {"a": b"x" * wire.LARGEST}))

"""Content codings: undone exactly, in any pieces, and never beyond their bounds."""

from __future__ import annotations

import contextlib
import time
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milecastle.model import ParseError
from milecastle.providers.encodings import ENCODERS, Chain, codings, decode, encode

NAMES = sorted(ENCODERS)


@given(st.sampled_from([*NAMES, "gzip, br", "identity", ""]), st.binary(max_size=5000))
def test_what_was_coded_comes_back(header, body):
    assert decode(encode(body, header), header, len(body)) == body


@given(st.sampled_from(NAMES), st.binary(min_size=1, max_size=3000), st.integers(1, 200))
def test_pieces_give_what_the_whole_gives(name, body, size):
    coded, chain = encode(body, name), Chain(name)
    pieces = (coded[start : start + size] for start in range(0, len(coded), size))
    assert b"".join(chain.feed(piece, 10_000) for piece in pieces) == body
    assert chain.ended


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_stops_at_the_limit(name):
    zeros = b"\0" * (64 << 20)
    bomb = brotli.compress(zeros, quality=1) if name == "br" else encode(zeros, name)
    began = time.process_time()
    with pytest.raises(ParseError):
        decode(bomb, name, 1 << 20)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", NAMES)
def test_a_body_of_exactly_the_limit_is_read(name):
    assert len(decode(encode(b"x" * 70_000, name), name, 70_000)) == 70_000
    with pytest.raises(ParseError):
        decode(encode(b"x" * 70_000, name), name, 69_999)


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_off_body_is_refused(name):
    coded = encode(b"some text that is long enough to be cut " * 20, name)
    for length in range(1, len(coded)):
        with pytest.raises(ParseError):
            decode(coded[:length], name, 10_000)


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_bytes_after_the_end_are_refused(name):
    with pytest.raises(ParseError):
        decode(encode(b"seen", name) + encode(b"unseen", name), name, 1000)


@settings(max_examples=200)
@given(st.sampled_from(NAMES), st.binary(max_size=300))
def test_garbage_is_never_more_than_a_parse_error(name, data):
    with contextlib.suppress(ParseError):
        decode(data, name, 10_000)


@pytest.mark.parametrize(
    "header", ["gzip, gzip, gzip", "compress", "gzip;q=1", "aws-chunked", "ǵzip"]
)
def test_an_unknown_coding_is_refused(header):
    with pytest.raises(ParseError):
        codings(header)


def test_codings_are_undone_in_reverse():
    body = zlib.compress(brotli.compress(b"text"), wbits=31)
    assert decode(body, "br, GZIP", 100) == b"text"

"""Recorded answers, whole, line by line and byte by byte, give one and the same Exchange."""

import contextlib

import pytest
from tests.providers import recorded

from milecastle import providers
from milecastle.model import ParseError


def read(each, chunks):
    wire = providers.recognise(each.head, each.body)
    asked = providers.parse_request(wire, each.head, each.body)
    stream = providers.open_stream(asked, each.answer_head)
    grown = {}
    for chunk in chunks:
        for delta in stream.feed(chunk):
            if not delta.whole:
                grown.setdefault((delta.message, delta.part), []).append(delta.text)
    stream.close()
    return stream.exchange, {key: "".join(value) for key, value in grown.items()}


def streamed():
    for each in recorded.everything():
        kind = each.answer_head.headers.get("content-type", "")
        if each.body and "json" not in kind.partition(";")[0].removeprefix("application/x-nd"):
            yield each


def test_any_split_gives_the_same_exchange():
    seen = set()
    for each in streamed():
        wire = providers.recognise(each.head, each.body)
        if (each.file, wire.name) in seen and len(each.answer) > 20_000:
            continue
        seen.add((each.file, wire.name))
        whole, grown = read(each, [each.answer])
        lines = read(each, each.answer.splitlines(keepends=True))
        assert lines == (whole, grown), each
        if len(each.answer) < 30_000:
            byte_by_byte = read(each, [bytes([byte]) for byte in each.answer])
            assert byte_by_byte == (whole, grown), each
    assert len(seen) > 5


@pytest.mark.parametrize("cut", [0.3, 0.7])
def test_a_stream_cut_anywhere_is_read_so_far_or_a_parse_error(cut):
    for each in streamed():
        with contextlib.suppress(ParseError):
            read(each, [each.answer[: int(len(each.answer) * cut)]])

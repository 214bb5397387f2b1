"""Recorded answers, whole, line by line and byte by byte, give one and the same Exchange."""

import contextlib

import pytest
from tests.providers import recorded

from milecastle import providers
from milecastle.model import Edit, ParseError, RequestHead, ResponseHead


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


def test_what_a_repeated_key_hides_in_an_event_is_read_and_never_rewritten():
    head = RequestHead("POST", "api.openai.com", "/v1/chat/completions")
    wire = providers.recognise(head, b'{"model":"m","messages":[]}')
    exchange = providers.parse_request(wire, head, b'{"model":"m","messages":[]}')
    answer = ResponseHead(200, {"content-type": "text/event-stream"})
    stream = providers.open_stream(exchange, answer)
    event = b'data: {"choices":[{"index":0,"delta":{"content":"first","content":"last"}}]}\n\n'
    grown, hidden = stream.feed(event)
    assert (grown.text, hidden.text, hidden.whole) == ("last", "first", True)
    with pytest.raises(ParseError):
        stream.rewrite(event, [Edit(hidden.place, 0, 1, "x")])

"""Whatever bytes come, only ParseError escapes, within bounded time."""

from __future__ import annotations

import contextlib
import json
import struct
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milecastle import providers
from milecastle.model import Edit, Exchange, ParseError, RequestHead, ResponseHead
from milecastle.providers.connect import Envelopes, strings
from milecastle.providers.dialects import DIALECTS
from milecastle.providers.eventstream import EventStream, event
from milecastle.providers.format import Format
from milecastle.providers.lines import Elements, Lines
from milecastle.providers.session import Session
from milecastle.providers.sse import Events

SLOW = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
NAMES = sorted(DIALECTS)
WORDS = """messages content role text type parts contents tool_calls function arguments input output
choices delta index candidates content_block item response result params tools system data usage
error image_url source url message v p o name id prompt inputs documents method jsonrpc"""
KEYS = WORDS.split()
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["text", "user", "tool_use", "response.output_item.done", "data:;base64,eA=="]
    )
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)
EVENT_NAMES = ["", "chunk", "contentBlockDelta", "content_block_start", "thread.run.step.delta"]


def exchange_of(name: str) -> Exchange:
    return Exchange(name, "chat", "p", request_model="anthropic.claude", stream=True)


@pytest.mark.parametrize("name", NAMES)
def test_any_json_is_read_or_refused(name):
    @SLOW
    @given(VALUE, VALUE, st.sampled_from(EVENT_NAMES))
    def run(asked, answered, event_name):
        wire = Format(name, "chat", "p")
        head = RequestHead("POST", "h", "/", {"content-type": "application/json"})
        body = json.dumps(asked).encode()
        try:
            exchange = providers.parse_request(wire, head, body)
            found = providers.segments(exchange, "request")
            providers.rewrite(body, [Edit(one.place, 0, 0, "") for one in found])
        except ParseError:
            exchange = exchange_of(name)
        try:
            answer = ResponseHead(200, {"content-type": "application/json"})
            whole = providers.parse_response(exchange, answer, json.dumps(answered).encode())
            providers.segments(whole, "response")
        except ParseError:
            pass
        try:
            head = ResponseHead(200, {"content-type": "text/event-stream"})
            stream = providers.open_stream(exchange, head)
            lines = f"event: {event_name}\ndata: {json.dumps(answered)}\n\n".encode()
            stream.feed(lines * 2)
            stream.close()
            providers.segments(stream.exchange, "response")
            assert isinstance(providers.closing_events(wire, stream, "why"), bytes)
        except ParseError:
            pass

    run()


@SLOW
@given(st.sampled_from(NAMES), st.binary(max_size=300), st.sampled_from([
    "", "application/json", "text/event-stream", "application/x-ndjson", "application/grpc",
    "application/vnd.amazon.eventstream", "application/connect+proto", "application/proto",
    "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain",
]))  # fmt: skip
def test_any_bytes_are_read_or_refused(name, data, kind):
    wire = Format(name, "chat", "p")
    head = RequestHead("POST", "h", "/", {"content-type": kind})
    for read in (
        lambda: providers.recognise(head, data),
        lambda: providers.parse_request(wire, head, data),
        lambda: providers.parse_response(
            exchange_of(name), ResponseHead(200, {"content-type": kind}), data
        ),
        lambda: Session(wire).send(data),
        lambda: Session(wire).receive(data),
        lambda: providers.rewrite(data, [Edit("/a/0", 0, 1, "x"), Edit("@0-9#/a", 0, 1, "y")]),
        lambda: strings(data),
    ):
        with contextlib.suppress(ParseError):
            read()


@pytest.mark.parametrize(
    "make", [Events, Lines, Elements, EventStream, Envelopes], ids=lambda make: make.__name__
)
def test_a_framing_gives_the_same_frames_for_any_split(make):
    @SLOW
    @given(
        st.lists(st.sampled_from([b"data: x\n\n", b"[", b'{"a":"],"}', b",", b"]", b"\r", b"\n"])
                 | st.binary(max_size=6), max_size=30).map(b"".join),
        st.integers(1, 7),
    )  # fmt: skip
    def run(data, size):
        def read(chunks):
            framing = make()
            try:
                return [*(f for c in chunks for f in framing.feed(c)), *framing.close()]
            except ParseError:
                return None

        split = read([data[at : at + size] for at in range(0, len(data), size)])
        whole = read([data])
        assert split == whole

    run()


def test_what_follows_an_array_is_no_element():
    for chunks in ([b"[1][", b"2"], [b"[1]", b"[2"], [b"[1", b"]", b"[", b"2"]):
        elements = Elements()
        frames = [*(frame for chunk in chunks for frame in elements.feed(chunk)), *elements.close()]
        assert [frame.payload for frame in frames] == [b"1", b"2"], chunks


def test_a_wrong_crc_and_a_wrong_length_are_refused():
    good = event("contentBlockDelta", b'{"delta":{"text":"x"}}')
    assert EventStream().feed(good)[0].payload == b'{"delta":{"text":"x"}}'
    for at in range(len(good)):
        broken = bytearray(good)
        broken[at] ^= 1
        with pytest.raises(ParseError):
            EventStream().feed(bytes(broken))
    prelude = struct.pack(">II", 1 << 31, 0)
    with pytest.raises(ParseError):
        EventStream().feed(prelude + struct.pack(">I", zlib.crc32(prelude)) + b"x")


def test_a_bomb_in_an_envelope_is_refused():
    bomb = zlib.compress(b"\0" * (40 << 20))
    with pytest.raises(ParseError):
        Envelopes("deflate").feed(b"\1" + len(bomb).to_bytes(4, "big") + bomb)


def test_an_event_without_an_end_is_refused_in_bounded_memory():
    head = ResponseHead(200, {"content-type": "text/event-stream"})
    stream = providers.open_stream(exchange_of("openai-chat"), head)
    with pytest.raises(ParseError):
        for _ in range(100):
            stream.feed(b"data: " + b"x" * (1 << 20))
    with pytest.raises(ParseError):
        stream.feed(b"data: {}\n\n")


def test_a_long_event_byte_by_byte_takes_linear_time():
    began = time.process_time()
    events = Events()
    for _ in range(200_000):
        events.feed(b"x")
    assert time.process_time() - began < 2


@pytest.mark.parametrize("name", NAMES)
def test_deep_nesting_is_refused_everywhere(name):
    body = b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}"
    wire = Format(name, "chat", "p")
    head = RequestHead("POST", "h", "/", {"content-type": "application/json"})
    with pytest.raises(ParseError):
        providers.parse_request(wire, head, body)
    inner = json.dumps({"arguments": "[" * 5000, "data": {"a": "{" * 900}}).encode()
    providers.parse_request(wire, head, inner)
    stream = providers.open_stream(
        exchange_of(name), ResponseHead(200, {"content-type": "text/event-stream"})
    )
    with pytest.raises(ParseError):
        stream.feed(b'data: {"v":' + b"[" * 900 + b"]" * 900 + b"}\n\n")


LONG = 1 << 17


@pytest.mark.parametrize(
    "text",
    [
        "a" * LONG,
        "a1" * (LONG // 2),
        "a, " * (LONG // 3),
        " " * LONG,
        "[" * LONG,
        "data:" * (LONG // 5),
        "data:" + ";a" * (LONG // 2),
        "\n" * LONG,
        "_" * LONG,
        "A" * LONG + "!",
    ],
    ids=lambda text: text[:4] + str(len(text)),
)
def test_a_long_string_anywhere_takes_linear_time(text):
    document = dict.fromkeys(("id", "type", "model", "text", "data", "weird", "signature"), text)
    body = json.dumps(
        {
            **document,
            "messages": [{"role": text, "content": [{**document, "type": "image"}, document]}],
            "choices": [{"message": {"content": text, "tool_calls": [{"function": {
                "name": text, "arguments": text}}]}}],
            "output": [{**document, "type": "message", "content": [document]}],
            text: text,
            "metadata": {text[:60]: "x", text[:60] + ":": "y"},
        }
    ).encode()  # fmt: skip
    head = RequestHead("POST", "h", "/v1/x", {"content-type": "application/json"})
    began = time.process_time()
    for name in ("openai-chat", "openai-responses", "anthropic-messages", "unknown"):
        wire = Format(name, "chat", "p")
        exchange = providers.parse_request(wire, head, body)
        providers.segments(exchange, "request")
        providers.parse_response(exchange, ResponseHead(200, head.headers), body)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * LONG,
        b'{"' + b'\\"' * LONG + b"\\",
        b'{"a":"' + b"\\ud800" * (LONG // 6),
        b"{" * LONG,
        b'{"a":1,' * (LONG // 7),
        b"[,]" * (LONG // 3),
        b'{"a":"' + b"x" * LONG,
        (b'{"a":1}\n' * 1000 + b"{") * 20,
    ],
    ids=lambda body: repr(body[:8]),
)
def test_a_broken_body_takes_linear_time(body):
    head = RequestHead("POST", "h", "/v1/chat/completions", {"content-type": "application/json"})
    wire = Format("openai-chat", "chat", "p")
    began = time.process_time()
    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
        head = RequestHead("POST", "h", "/x", {"content-type": kind})
        for read in (
            lambda head=head: providers.recognise(head, body),
            lambda head=head: providers.parse_request(wire, head, body),
            lambda: providers.rewrite(body, [Edit("/a", 0, 1, "")]),
        ):
            with contextlib.suppress(ParseError):
                read()
    assert time.process_time() - began < 5

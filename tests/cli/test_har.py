import base64
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milecastle.cli import har
from milecastle.model import ParseError
from milecastle.providers import encodings


def an_entry(**changes):
    request = {
        "method": "post",
        "url": "https://api.openai.com:443/v1/chat/completions?beta=true#top",
        "headers": [
            {"name": "Content-Type", "value": "application/json"},
            {"name": "X-Twice", "value": "one"},
            {"name": "x-twice", "value": "two"},
        ],
        "postData": {"mimeType": "application/json", "text": '{"model": "gpt"}'},
    }
    response = {
        "status": 200,
        "headers": [{"name": "Content-Encoding", "value": "gzip"}],
        "content": {"mimeType": "application/json", "text": '{"choices": []}'},
    }
    return {"request": {**request, **changes.pop("request", {})}, "response": response, **changes}


def a_file(tmp_path, *entries):
    path = tmp_path / "traffic.har"
    path.write_text(json.dumps({"log": {"version": "1.2", "entries": list(entries)}}))
    return path


def read(tmp_path, *entries):
    return list(har.read(a_file(tmp_path, *entries)))


def test_an_entry_becomes_heads_and_bytes(tmp_path):
    (entry,) = read(tmp_path, an_entry())
    assert (entry.head.method, entry.head.host, entry.port) == ("POST", "api.openai.com", 443)
    assert entry.head.path == "/v1/chat/completions?beta=true"
    assert entry.head.headers == {"content-type": "application/json", "x-twice": "one, two"}
    assert entry.body == b'{"model": "gpt"}'
    assert entry.answer.status == 200
    assert entry.content == b'{"choices": []}'


def test_the_encoding_that_a_recorder_undid_is_dropped_from_the_head(tmp_path):
    (entry,) = read(tmp_path, an_entry())
    assert entry.answer.headers == {"content-type": "application/json"}


def test_gzip_that_a_recorder_left_is_undone(tmp_path):
    packed = base64.b64encode(gzip.compress(b"hello")).decode()
    entry = an_entry()
    entry["response"]["content"] = {"text": packed, "encoding": "base64"}
    (read_,) = read(tmp_path, entry)
    assert read_.content == b"hello"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_every_coding_that_a_recorder_left_is_undone(tmp_path, coding):
    text = b'{"choices": []}' * 20
    packed = base64.b64encode(encodings.encode(text, coding)).decode()
    entry = an_entry()
    entry["response"]["headers"] = [{"name": "content-encoding", "value": coding}]
    entry["response"]["content"] = {"text": packed, "encoding": "base64"}
    entry["request"]["headers"].append({"name": "Content-Encoding", "value": coding})
    entry["request"]["postData"] = {"text": packed, "encoding": "base64"}
    (read_,) = read(tmp_path, entry)
    assert read_.content == read_.body == text
    assert "content-encoding" not in read_.head.headers


def test_chunks_that_a_recorder_left_are_joined(tmp_path):
    entry = an_entry()
    entry["response"]["headers"] = [{"name": "Transfer-Encoding", "value": "chunked"}]
    for text, expected in (
        ("6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\n\r\n", b"hello world"),
        ('{"choices": []}', b'{"choices": []}'),
        ("data: 5\r\n\r\n", b"data: 5\r\n\r\n"),
        ("5\r\nhello world", b"5\r\nhello world"),
    ):
        entry["response"]["content"] = {"mimeType": "text/event-stream", "text": text}
        (read_,) = read(tmp_path, entry)
        assert read_.content == expected


def test_a_gzip_bomb_is_refused_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(har, "LARGEST_BODY", 1 << 20)
    packed = base64.b64encode(gzip.compress(bytes(4 << 20))).decode()
    entry = an_entry()
    entry["response"]["content"] = {"text": packed, "encoding": "base64"}
    (broken,) = read(tmp_path, entry)
    assert "unpacks to over" in broken.error


def test_a_bad_entry_does_not_cost_the_others(tmp_path):
    bad = [None, {}, {"request": []}, an_entry(request={"url": "https://[::1"}),
           an_entry(request={"url": "/no/host"}), an_entry(request={"method": 5}),
           an_entry(request={"postData": {"text": "%%%", "encoding": "base64"}}),
           an_entry(request={"url": "https://h:99999/"})]  # fmt: skip
    entries = read(tmp_path, *bad, an_entry())
    assert [isinstance(each, har.Broken) for each in entries] == [True] * len(bad) + [False]
    assert [each.number for each in entries] == list(range(len(bad) + 1))


def test_a_request_that_was_never_answered_has_no_answer(tmp_path):
    aborted = an_entry(response={"status": 0, "headers": [], "content": {}})
    missing = an_entry()
    del missing["response"]
    assert [each.answer for each in read(tmp_path, aborted, missing)] == [None, None]


def test_forms_may_be_given_as_parameters(tmp_path):
    post = {"mimeType": "x", "params": [{"name": "f.req", "value": "a b"}, {"name": "n"}, 7]}
    (entry,) = read(tmp_path, an_entry(request={"postData": post}))
    assert entry.body == b"f.req=a+b&n="


def test_websocket_messages_are_two_arrays(tmp_path):
    messages = [
        {"type": "send", "opcode": 1, "data": '{"type": "response.create"}'},
        {"type": "receive", "opcode": 1, "data": '{"type": "response.done"}'},
        {"type": "receive", "opcode": 2, "data": "AAAA"},
        {
            "type": "receive",
            "opcode": 2,
            "data": base64.b64encode(b'{"setupComplete":{}}').decode(),
        },
        {"type": "send", "opcode": 1, "data": "not json"},
    ]
    (entry,) = read(tmp_path, an_entry(_webSocketMessages=messages))
    assert entry.socket
    assert json.loads(entry.body) == [{"type": "response.create"}, "not json"]
    assert json.loads(entry.content) == [{"type": "response.done"}, {"setupComplete": {}}]


def test_lone_surrogates_that_browsers_write_are_read(tmp_path):
    path = a_file(tmp_path, an_entry())
    path.write_text(path.read_text().replace("choices", "\\ud800"))
    (entry,) = list(har.read(path))
    assert b"\xed\xa0\x80" in entry.content


@pytest.mark.parametrize(
    "content", [b"", b"no json", b"[]", b'{"log": {}}', b"\xff\xfe", b"[" * 200_000]
)
def test_what_is_no_har_file_is_refused(tmp_path, content):
    path = tmp_path / "x.har"
    path.write_bytes(content)
    with pytest.raises(ParseError, match=r"x\.har"):
        har.read(path)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(har, "LARGEST_FILE", 10)
    with pytest.raises(ParseError, match="larger"):
        har.read(a_file(tmp_path, an_entry()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PLACES = [
    ("request",), ("request", "method"), ("request", "url"), ("request", "headers"),
    ("request", "postData"), ("request", "postData", "text"), ("response",),
    ("response", "status"), ("response", "headers"), ("response", "content"),
    ("response", "content", "encoding"), ("_webSocketMessages",),
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_anything_anywhere_gives_an_entry_or_a_broken_one(place, value):
    entry = an_entry()
    inner = entry
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert isinstance(har.entry(0, entry), har.Entry | har.Broken)

"""A conversation that is sent again reads the same with its history known as without."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.providers import recorded

from milecastle import providers
from milecastle.model import Exchange, ParseError, RequestHead
from milecastle.providers import history
from milecastle.providers.history import History

CHAT = RequestHead("POST", "api.openai.com", "/v1/chat/completions", {})
HEADS = {
    "messages": CHAT,
    "input": RequestHead("POST", "api.openai.com", "/v1/responses", {}),
    "contents": RequestHead(
        "POST", "generativelanguage.googleapis.com", "/v1beta/models/g:generateContent", {}
    ),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "SMALLEST", 0)


def parse(body: bytes, known: History | None = None, head: RequestHead = CHAT) -> Exchange:
    wire = providers.recognise(head, body)
    assert wire is not None
    exchange = providers.parse_request(wire, head, body, known)
    return replace(exchange, unclaimed=tuple(sorted(exchange.unclaimed, key=str)))


def said(number: int, **more: object) -> dict:
    speaker = "assistant" if number % 2 else "user"
    return {"role": speaker, "content": f"what {speaker} {number} says é", "name": "x y", **more}


def body_of(messages: list, **more: object) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


def test_recorded_requests_read_the_same_one_after_another():
    known = History()
    for each in recorded.everything():
        if not each.body or each.messages:
            continue
        wire = providers.recognise(each.head, each.body)
        if wire is None:
            continue
        plain = providers.parse_request(wire, each.head, each.body)
        for _ in range(2):  # the second time all of it is known
            exchange = providers.parse_request(wire, each.head, each.body, known)
            assert sorted(exchange.unclaimed, key=str) == sorted(plain.unclaimed, key=str)
            assert replace(exchange, unclaimed=()) == replace(plain, unclaimed=())


def test_known_messages_are_the_very_same():
    known = History()
    first = parse(body_of([said(n) for n in range(10)]), known)
    second = parse(body_of([said(n) for n in range(13)], tools=[]), known)
    assert all(a is b for a, b in zip(first.input_messages, second.input_messages, strict=False))
    assert second == parse(body_of([said(n) for n in range(13)], tools=[]))


@pytest.mark.parametrize(
    "later",
    [
        [said(n) for n in range(3)],
        [said(n) for n in range(8)],
        [said(n) for n in range(9)] + [said(9, cache_control={"type": "ephemeral"})],
        [*[said(n) for n in range(5)], {"role": "user", "content": "another branch"}],
        [{"role": "system", "content": "other"}, *[said(n) for n in range(10)]],
        [],
        [said(0), 7, 71, None, "text", *[said(n) for n in range(10)]],
    ],
)
def test_a_history_that_changed_is_read_as_it_is(later: list):
    known = History()
    parse(body_of([said(n) for n in range(10)]), known)
    parse(body_of([said(0), 7]), known)
    assert parse(body_of(later), known) == parse(body_of(later))


@pytest.mark.parametrize(
    "tail",
    [
        b',"messages":[]}',
        b',"mess\\u0061ges":[]}',
        b',"a":1,"a":2}',
        b"}{",
        b',"a":NaN}',
        b"",
        b',"a":"\xff"}',
    ],
)
def test_what_follows_is_read_as_strictly_as_ever(tail: bytes):
    known = History()
    begin = body_of([said(n) for n in range(10)])[:-1]
    parse(begin + b"}", known)
    with pytest.raises(ParseError):
        parse(begin + tail, known)
    with pytest.raises(ParseError):
        parse(begin[:-1] + b',{"role":"user","role":"x","content":"y"}]}', known)


def test_a_comma_behind_the_last_message_changes_nothing():
    known = History()
    begin = body_of([said(n) for n in range(4)])[:-2]
    parse(begin + b"]}", known)
    assert parse(begin + b",]}", known) == parse(begin + b",]}")
    assert parse(begin + b" , " + json.dumps(said(4)).encode() + b" ] }", known) == parse(
        body_of([said(n) for n in range(5)])
    )


@given(st.data())
def test_any_two_conversations_read_the_same(data: st.DataObject):
    key = data.draw(st.sampled_from(sorted(HEADS)))
    texts = st.sampled_from(["a b", "é\n", '"]},{', "\\ud83d", ""])
    item = st.builds(
        lambda text, tag: (
            {"role": "user", "parts": [{"text": text, "x": tag}]}
            if key == "contents"
            else {"role": "user", "content": text, "x": tag}
        ),
        texts,
        st.sampled_from(["", "loose words", 5]),
    )
    items = st.lists(item, max_size=5)
    before, after = data.draw(items), data.draw(items)
    kept = data.draw(st.integers(0, len(before)))
    known = History()
    for each in (before, before[:kept] + after):
        body = json.dumps({"model": "m", key: each, "last": "of all"}).encode()
        assert parse(body, known, HEADS[key]) == parse(body, None, HEADS[key])


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "HELD", 2_000)
    known = History()
    for number in range(50):
        parse(body_of([said(n, conversation=number) for n in range(5)]), known)
    assert known._held <= 2_000
    assert len(known._told) < 10


def test_a_conversation_takes_the_place_of_its_beginning():
    known = History()
    for turn in range(1, 30):
        parse(body_of([said(n) for n in range(turn * 2)]), known)
    assert len(known._told) == 1

"""Digests of histories: what makes two of them the same, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.inspection import thread
from milecastle.inspection.thread import TOLD, Threads, told
from milecastle.model import Exchange, Message, Part

THREADS = Threads(b"k" * 32)


def said(role, *texts, **more):
    return Message(role, tuple(Part("text", text) for text in texts), **more)


def call(arguments, name="run", call_id="c1"):
    return Message("assistant", (Part("tool_call", arguments, name=name, call_id=call_id),))


def trace(*messages, answer=(), threads=THREADS, **more):
    exchange = Exchange(
        "openai-chat", "chat", "openai", input_messages=messages, output_messages=answer, **more
    )
    return threads.trace(exchange)


def end(*messages):
    return trace(*messages).prefix[-1]


def test_the_next_requests_history_is_what_this_exchange_ended_with():
    first = trace(said("user", "one"), answer=(said("assistant", "1", finish_reason="stop"),))
    second = trace(said("user", "one"), said("assistant", "1"), said("user", "two"))
    assert second.prefix[:2] == (first.prefix[0], first.head)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([said("user", "a b")], [said("user", " a\n\tb ")]),
        ([said("user", "a", "b")], [said("user", "ab")]),
        ([said("user", "a"), said("user", "b")], [said("user", "a", "b")]),
        ([said("user", "x" * 999)], [said("user", "x" * 500, "x" * 499)]),
        ([call('{"a":1,"b":[2]}')], [call('{ "b": [2], "a": 1 }', call_id="c2")]),
        ([said("user", "a")], [said("system", "Be brief."), said("user", "a")]),
        ([said("user", "a")], [said("user", "a", "<system-reminder>x</system-reminder>")]),
        (
            [said("assistant", "a")],
            [Message("assistant", (Part("reasoning", "hm"), Part("text", "a")))],
        ),
    ],
)
def test_it_is_the_same_however_it_is_sent_again(one, other):
    assert end(*one) == end(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([said("user", "a")], [said("assistant", "a")]),
        ([said("user", "a"), said("assistant", "b")], [said("user", "b"), said("assistant", "a")]),
        ([call('{"a":1}')], [call('{"a":2}')]),
        ([call('{"a":1}')], [call('{"a":1}', name="other")]),
        ([said("user", "a")], [said("user", "a"), said("assistant", "b")]),
    ],
)
def test_what_was_said_by_whom_in_which_order_counts(one, other):
    assert end(*one) != end(*other)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text()), max_size=12))
def test_a_prefix_of_a_history_has_the_digests_that_it_had(messages):
    history = [said("user", "first"), *(said(role, text) for role, text in messages)]
    whole = trace(*history).prefix
    fresh = Threads(b"k" * 32)
    for count in range(1, len(history) + 1):
        assert trace(*history[:count], threads=fresh).prefix == whole[:count]


def test_nothing_but_instructions_is_no_history():
    assert trace(said("system", "Be brief."), said("user", "a")).prefix[0] == ""


def test_another_key_gives_other_digests():
    other = Threads(b"j" * 32)
    assert trace(said("user", "a"), threads=other).prefix != trace(said("user", "a")).prefix


def test_instructions_differ_by_their_words_and_not_by_their_numbers():
    one, two, three = (
        trace(said("user", "a"), system_instructions=(Part("text", text),)).system
        for text in ("It is 10:00.", "It is 11:30.", "It was 10:00.")
    )
    assert one == two != three


@pytest.mark.parametrize(
    "text",
    [
        "This session is being continued from a previous conversation that ran out of context.",
        "Here is a summary of the conversation so far: ...",
        "<state_snapshot>...</state_snapshot>",
    ],
)
def test_a_summary_at_the_beginning_is_noticed(text):
    assert trace(said("user", text)).summary
    assert not trace(said("user", "Summarise this article, please.")).summary


def test_a_long_history_is_told_by_its_first_and_its_latest_digests():
    history = [said("user" if n % 2 else "assistant", str(n)) for n in range(1, 200)]
    found = trace(*history)
    record = told(found, 150)
    assert record["prefix"] == [found.prefix[0], *found.prefix[-TOLD:]]
    assert (record["messages"], record["new"]) == (199, 49)


def test_only_what_was_reported_for_the_same_process_is_known():
    threads = Threads(b"k" * 32)
    history = [said("user", "a"), said("assistant", "b"), said("user", "c")]
    first = trace(history[0], answer=(history[1],), threads=threads)
    second = trace(*history, threads=threads)
    assert threads.known(("me",), second, history) == 0
    threads.report(("me",), first)
    assert threads.known(("me",), second, history) == 2
    assert threads.known(("you",), second, history) == 0
    assert threads.known(None, second, history) == 0


def test_a_question_asked_again_is_new_however_often():
    threads = Threads(b"k" * 32)
    question = trace(said("user", "a"), threads=threads)
    threads.report(("me",), question)
    assert threads.known(("me",), question, [said("user", "a")]) == 0


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(thread, "REMEMBERED", 8)
    monkeypatch.setattr(thread, "REPORTED", 8)
    threads = Threads(b"k" * 32)
    for number in range(50):
        threads.report(("me",), trace(said("user", "x" * 300 + str(number)), threads=threads))
    assert len(threads._normalised) <= 8
    assert len(threads._reported) <= 8

"""Conversations of real clients' shapes, through inspection and the store, stitched and shown."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.providers import recorded
from tests.store.conversations import (
    AGENT,
    KEY,
    Wire,
    assistant,
    attribution,
    child_of,
    make_inspector,
    texts,
    user,
)
from tests.store.examples import NOW

from milecastle.inspection import Context, attributes
from milecastle.model import Process
from milecastle.store import Store, reading


@pytest.fixture
def wire(store):
    return Wire(store)


def shown(wire, stored):
    return wire.store.show(stored["session"])["exchanges"]


def said(exchange):
    """The new messages of an exchange, as `milecastle show` prints them."""
    known = exchange["thread"]["known"] - exchange.get("milecastle.input.omitted", 0)
    new = exchange["gen_ai.input.messages"][max(known, 0) :]
    return texts({"gen_ai.input.messages": new})


def talk(wire, turns, **more):
    history = []
    for turn in range(turns):
        history.append(user(f"question {turn}"))
        stored = wire.chat(history, f"answer {turn}", **more)
        history.append(assistant(f"answer {turn}"))
    return stored, history


def test_each_message_of_a_chat_is_sent_and_kept_once_and_shown_whole(wire):
    stored, _ = talk(wire, 5)
    exchanges = shown(wire, stored)
    assert [said(each) for each in exchanges] == [[f"question {turn}"] for turn in range(5)]
    assert (
        texts(exchanges[-1])
        == [f"{what} {turn}" for turn in range(5) for what in ("question", "answer")][:-1]
    )
    sent = [record["attributes"]["gen_ai.input.messages"] for record in wire.records]
    assert [len(messages) for messages in sent] == [1] * 5
    assert [one["thread"].get("seam") for one in exchanges] == [None] * 5


def test_what_is_resent_a_little_differently_is_the_same(wire):
    wire.chat([user("one")], "a first\n\nanswer ")
    stored = wire.chat([user(" one\n"), assistant("a first answer"), user("two")], "fine")
    assert [said(each) for each in shown(wire, stored)] == [["one"], ["two"]]


def test_the_new_words_after_a_worker_began_again_are_told_by_the_store(store, wire):
    talk(wire, 3)
    again = Wire(store)
    again.now = wire.now
    history = [m for t in range(3) for m in (user(f"question {t}"), assistant(f"answer {t}"))]
    stored = again.chat([*history, user("more")], "fine")
    assert len(again.records[0]["attributes"]["gen_ai.input.messages"]) == 7
    exchanges = shown(again, stored)
    assert len(exchanges) == 4
    assert said(exchanges[-1]) == ["more"]
    assert texts(exchanges[-1]) == [*(m["content"] for m in history), "more"]


def test_anthropic_tools_go_on_whatever_became_of_ids_and_spaces(wire):
    call = {"type": "tool_use", "id": "t1", "name": "run", "input": {"b": 1, "a": [2]}}
    first = [user("list the files")]
    wire.messages(first, [{"type": "thinking", "thinking": "hm", "signature": "s"}, call])
    resent = {**call, "id": "t9", "input": {"a": [2], "b": 1}, "cache_control": {"type": "x"}}
    result = {"type": "tool_result", "tool_use_id": "t9", "content": "a.py"}
    second = [*first, {"role": "assistant", "content": [resent]}, user([result])]
    stored = wire.messages(second, [{"type": "text", "text": "One file."}])
    exchanges = shown(wire, stored)
    assert [said(each) for each in exchanges] == [["list the files"], ["a.py"]]
    assert [each["thread"].get("seam") for each in exchanges] == [None, None]


def test_responses_go_on_from_the_id_of_an_answer(wire):
    first, _ = wire.responses("one", "1")
    second, _ = wire.responses("two", "2", previous=first)
    _, stored = wire.responses("three", "3", previous=second)
    _, branch = wire.responses("other", "4", previous=first)
    assert stored["session"] == branch["session"]
    exchanges = shown(wire, stored)
    assert [said(each) for each in exchanges] == [["one"], ["two"], ["three"], ["other"]]
    assert [each["thread"].get("seam") for each in exchanges] == [None, None, None, "branched"]
    _, another = wire.responses("unrelated", "5")
    assert another["session"] != stored["session"]


def test_responses_that_resend_their_items_go_on_as_well(wire):
    wire.responses([user("one")], "1")
    item = {"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": "1"}]}  # fmt: skip
    _, stored = wire.responses([user("one"), item, user("two")], "2")
    assert [said(each) for each in shown(wire, stored)] == [["one"], ["two"]]


def test_a_branch_is_a_seam_in_the_same_session(wire):
    stored, history = talk(wire, 3)
    branched = wire.chat([*history[:2], user("another way")], "well")
    assert branched["session"] == stored["session"]
    first, *_, last = shown(wire, stored)
    assert (last["thread"]["seam"], last["thread"]["since"]) == ("branched", first["started"])
    assert said(last) == ["another way"]


def test_a_compacted_history_is_a_seam_in_the_same_session(wire):
    stored, _ = talk(wire, 3)
    text = "This session is being continued from a previous conversation: ..."
    compacted = wire.chat([user(text)], "I see.")
    assert compacted["session"] == stored["session"]
    assert shown(wire, stored)[-1]["thread"]["seam"] == "compacted"


def test_a_new_beginning_after_a_conversation_is_a_session_of_its_own(wire):
    stored, _ = talk(wire, 2)
    assert wire.chat([user("something else")], "yes")["session"] != stored["session"]


def test_single_questions_of_one_process_are_one_session_and_whole(wire):
    stored = [wire.chat([user("classify this")], "spam") for _ in range(3)]
    assert len({one["session"] for one in stored}) == 1
    for record in wire.records:
        assert len(record["attributes"]["gen_ai.input.messages"]) == 1
    assert [texts(each) for each in shown(wire, stored[0])] == [["classify this"]] * 3


def test_the_same_question_asked_again_is_said_to_be(wire):
    stored, history = talk(wire, 2)
    wire.chat(history[:3], "another answer")
    last = shown(wire, stored)[-1]
    assert last["thread"]["seam"] == "repeated"
    assert said(last) == []


def test_conversations_that_one_process_holds_at_a_time_do_not_mix(wire):
    talk(wire, 2)
    one = [user("red?")]
    first = wire.chat(one, "yes")
    two = [user("blue?")]
    second = wire.chat(two, "no")
    assert wire.chat([*one, assistant("yes"), user("why?")], "so")["session"] == first["session"]
    assert wire.chat([*two, assistant("no"), user("why?")], "so")["session"] == second["session"]


def test_another_system_prompt_in_the_same_process_is_a_child(wire):
    agent = wire.chat([user("write a program")], "done", system="You are an agent.")
    title = wire.chat([user("write a program")], "Program", system="Make a title.")
    other = wire.chat([user("look it up")], "found", system="You search.")
    assert wire.store.show(agent["session"])["children"] == [title["session"], other["session"]]
    assert wire.store.show(title["session"])["parent"] == agent["session"]


def test_a_date_in_the_system_prompt_does_not_make_a_child(wire):
    one = wire.chat([user("a")], "b", system="Be brief. It is 2026-07-01 10:00.")
    two = wire.chat([user("c")], "d", system="Be brief. It is 2026-07-01 10:05.")
    assert one["session"] == two["session"]
    assert texts(shown(wire, two)[1])[0].endswith("10:05.")


def test_changed_instructions_are_kept_where_the_history_is_not(wire):
    wire.chat([user("a")], "b", system="Be brief.")
    stored = wire.chat([user("a"), assistant("b"), user("c")], "d", system="Obey 7 rules now.")
    last = shown(wire, stored)[-1]
    assert texts(last) == ["Obey 7 rules now.", "a", "b", "c"]
    assert said(last) == ["c"]


def test_a_process_under_an_agent_is_its_child(wire):
    agent = wire.chat([user("run the tests")], "running")
    tool = wire.chat([user("why did it fail?")], "because", process=child_of(AGENT, 200))
    assert wire.store.show(tool["session"])["parent"] == agent["session"]


def test_a_conversation_taken_up_by_another_run_of_the_program_goes_on(wire):
    stored, history = talk(wire, 2)
    later = Process(300, "agent", 1000, "/usr/bin/agent", started=wire.now)
    resumed = wire.chat([*history, user("where were we?")], "here", process=later)
    assert resumed["session"] == stored["session"]
    alone = wire.chat([user("question 0")], "answer 0", process=later)
    assert alone["session"] != stored["session"]


@pytest.mark.parametrize(
    "other", [Process(300, "agent", 1001, "/usr/bin/agent"), Process(300, "x", 1000, "/bin/x")]
)
def test_nobody_enters_the_session_of_another_user_or_program(wire, other):
    stored, history = talk(wire, 2)
    assert wire.chat([*history, user("?")], "!", process=other)["session"] != stored["session"]
    assert texts(shown(wire, wire.chat([*history, user("?")], "!", process=other))[-1])[-1] == "?"


def test_a_finding_that_is_sent_again_counts_once(wire):
    first = [user(f"my key is {KEY}")]
    wire.chat(first, "thanks")
    stored = wire.chat([*first, assistant("thanks"), user("go on")], "fine")
    (session,) = wire.store.sessions(1)
    assert session["findings"] == 1
    assert [len(each["findings"]) for each in shown(wire, stored)] == [1, 1]
    history = [*first, assistant("thanks"), user("go on"), assistant("fine"), user(KEY)]
    wire.chat(history, "again")
    assert wire.store.sessions(1)[0]["findings"] == 2


def test_a_finding_in_the_instructions_counts_once(wire):
    history = []
    for turn in range(3):
        history.append(user(f"question {turn}"))
        wire.messages(history, [{"type": "text", "text": "ok"}], system=f"key {KEY}")
        history.append(assistant("ok"))
    assert wire.store.sessions(1)[0]["findings"] == 1


def test_without_content_sessions_are_stitched_all_the_same(store):
    wire = Wire(store, make_inspector("metadata"))
    stored, _ = talk(wire, 3)
    assert len(shown(wire, stored)) == 3
    assert all("gen_ai.input.messages" not in record["attributes"] for record in wire.records)


def test_a_forgotten_beginning_is_counted_and_the_rest_is_shown(wire):
    stored, _ = talk(wire, 4)
    wire.store._connection.execute("DELETE FROM exchanges WHERE number <= 2")
    first, last = shown(wire, stored)
    assert first["milecastle.input.omitted"] == 4
    assert texts(first) == ["question 2"]
    assert texts(last) == ["question 2", "answer 2", "question 3"]
    assert said(last) == ["question 3"]


def test_a_session_too_long_to_repeat_itself_is_shown_with_what_is_new(wire, monkeypatch):
    stored, _ = talk(wire, 30)
    size = wire.store._connection.execute("SELECT sum(size) FROM exchanges").fetchone()[0]
    monkeypatch.setattr(reading, "ANSWER", size + 9000)
    exchanges = shown(wire, stored)
    assert len(exchanges) == 30
    assert len(texts(exchanges[-1])) == 59
    assert {tuple(said(each)) for each in exchanges} == {(f"question {n}",) for n in range(30)}
    assert any(each.get("milecastle.input.omitted") for each in exchanges)


def test_a_history_longer_than_what_is_told_of_it_goes_on(wire):
    history = []
    for turn in range(90):
        history += [user(f"q{turn}"), assistant(f"a{turn}")]
    wire.chat([*history, user("first")], "1")
    history += [user("first"), assistant("1")]
    stored = wire.chat([*history, user("second")], "2")
    exchanges = shown(wire, stored)
    assert said(exchanges[-1]) == ["second"]
    assert texts(exchanges[-1]) == [*(m["content"] for m in history), "second"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(1, 3), st.booleans())
def test_random_trees_are_stitched_right(tmp_path_factory, seed, trees, restarts):
    """Several conversations of one process, each continued from any of its points."""
    chance = random.Random(seed)
    store = Store.open(tmp_path_factory.mktemp("tree") / "db")
    wire = Wire(store)
    points = [[] for _ in range(trees)]
    sessions = {}
    for step in range(14):
        tree = step if step < trees else chance.randrange(trees)
        history = chance.choice(points[tree]) if points[tree] else []
        asked = [*history, user(f"tree {tree} question {chance.randrange(3) if history else 0}")]
        answer = f"answer {step}"
        if restarts and chance.random() < 0.3:
            now, wire = wire.now, Wire(store)
            wire.now = now
        stored = wire.chat(asked, answer)
        points[tree].append([*asked, assistant(answer)])
        sessions.setdefault(tree, set()).add(stored["session"])
        (last,) = [e for e in shown(wire, stored) if e["id"] == stored["id"]]
        assert texts(last) == [one["content"] for one in asked]
    assert all(len(each) == 1 for each in sessions.values())
    store.close()


def test_recorded_exchanges_come_back_with_their_whole_history(store):
    """All of a file as one process: much is repeated, and nothing may be lost by that."""
    inspector = make_inspector()
    exchanges = [one for one in recorded.everything() if not one.messages][:300]
    for number, each in enumerate(exchanges):
        process = Process(hash(each.file) % 30_000 + 1, "client", 1000, "/bin/client", started=1.0)
        name, now = f"01JRECORDED{number:015d}", NOW + number
        inspection = inspector.begin(each.head, Context(name, now, 1, process), each.body)
        if inspection is None:
            continue
        inspection.request(each.body or b"")
        if inspection.respond(each.answer_head) == "stream":
            inspection.feed(each.answer)
            inspection.finish()
        else:
            inspection.response(each.answer)
        record = inspection.record(now + 0.5)
        told = attributes(inspection.exchange).get("gen_ai.input.messages", [])
        store.add({**record, "attribution": attribution(process)}, now + 1)
        kept = store.exchange(name).get("gen_ai.input.messages", [])
        assert [one["role"] for one in kept] == [one["role"] for one in told]
        assert texts({"gen_ai.input.messages": kept[-1:]}) == texts(
            {"gen_ai.input.messages": told[-1:]}
        )

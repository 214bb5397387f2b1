import json

import pytest
from tests.store.examples import A_FINDING, NOW, by_process, make_record

from milecastle.model import ParseError
from milecastle.store import Store, reading


def test_a_session_has_the_shape_that_the_contract_names(store):
    store.add(make_record(findings=[A_FINDING]), NOW)
    (session,) = store.sessions(10)
    assert session["service"] == "openai"
    assert session["model"] == "gpt-4o-mini"
    assert session["sanctioned"] is True
    assert session["exchanges"] == 1
    assert session["findings"] == 1
    assert session["action"] == "allow"
    assert session["started"] == NOW - 2
    assert session["process"]["pid"] == 4711
    assert {"pid", "exe", "comm", "argv", "user", "ancestry"} <= session["process"].keys()
    assert session["tokens"] == {"input": 11, "output": 5}
    json.dumps(session)


def test_exchanges_of_one_process_make_one_session_and_two_processes_make_two(store):
    first = store.add(make_record(), NOW)
    again = store.add(make_record(), NOW)
    other = store.add(by_process(make_record(), pid=99), NOW)
    assert first["session"] == again["session"] != other["session"]
    assert [each["exchanges"] for each in store.sessions(10)] == [1, 2]


def test_a_pid_that_was_used_again_is_another_session(store):
    first = store.add(make_record(), NOW)
    later = store.add(by_process(make_record(), started=NOW - 5), NOW)
    assert first["session"] != later["session"]


def test_a_shell_that_became_another_program_is_another_session(store):
    first = store.add(make_record(), NOW)
    later = store.add(by_process(make_record(), exe="/usr/bin/curl"), NOW)
    assert first["session"] != later["session"]


def test_the_strongest_action_that_was_applied_is_the_sessions(store):
    blocked = {"action": "block", "applied": "block", "rule": "r", "reason": "a secret"}
    watched = {"action": "block", "applied": "alert", "rule": "r", "reason": "a secret"}
    store.add(make_record(verdict=watched), NOW)
    assert store.sessions(1)[0]["action"] == "alert"
    store.add(make_record(verdict=blocked), NOW)
    store.add(make_record(), NOW)
    assert store.sessions(1)[0]["action"] == "block"


def test_show_gives_the_exchanges_in_order_with_flat_attributes(store):
    store.add(make_record(started=NOW - 10, ended=NOW - 9, status=500), NOW)
    stored = store.add(make_record(findings=[A_FINDING]), NOW)
    shown = store.show(stored["session"])
    assert [each["status"] for each in shown["exchanges"]] == [500, 200]
    last = shown["exchanges"][-1]
    assert last["gen_ai.request.model"] == "gpt-4o-mini"
    assert last["gen_ai.input.messages"][0]["parts"][0]["content"] == "Where is the wall?"
    assert last["findings"] == [A_FINDING]
    assert last["verdict"]["action"] == "allow"
    assert "attribution" not in last
    assert shown["omitted"] == 0


def test_an_id_may_be_given_by_its_beginning(store):
    stored = store.add(make_record(), NOW)
    assert store.show(stored["session"][:4])["id"] == stored["session"]
    assert store.exchange(stored["id"])["id"] == stored["id"]


@pytest.mark.parametrize(
    "prefix", ["", "zzz", "%", "'; DROP TABLE sessions; --", "\udc80", "a" * 999]
)
def test_an_id_that_is_not_there_is_a_lookup_error(store, prefix):
    store.add(make_record(), NOW)
    with pytest.raises(LookupError):
        store.show(prefix)
    assert store.sessions(1)


def test_a_beginning_that_several_ids_share_is_refused_but_a_whole_id_never_is(store):
    store.add(make_record(exchange="EXCHANGE1"), NOW)
    store.add(make_record(exchange="EXCHANGE12"), NOW)
    with pytest.raises(LookupError, match="several"):
        store.exchange("EXCH")
    assert store.exchange("EXCHANGE1")["id"] == "EXCHANGE1"


def test_explain_takes_an_exchange_or_a_session_and_has_the_evidence(store):
    steps = [{"rule": "no-secrets", "matched": False, "why": "no finding of category secret"}]
    stored = store.add(make_record(steps=steps), NOW)
    store.add(make_record(), NOW)
    one = store.explain(stored["id"])
    assert one["id"] == stored["session"]
    (exchange,) = one["exchanges"]
    assert exchange["steps"] == steps
    assert exchange["attribution"]["why"] == "recorded in connect()"
    assert len(store.explain(stored["session"])["exchanges"]) == 2


def test_one_user_does_not_see_another_users_sessions(store):
    stored = store.add(make_record(), NOW)
    assert store.sessions(10, uid=1000)
    assert store.recent(10, uid=1000)
    assert not store.sessions(10, uid=1001)
    assert not store.recent(10, uid=1001)
    for ask in (store.show, store.explain):
        with pytest.raises(LookupError):
            ask(stored["session"], uid=1001)
    with pytest.raises(LookupError):
        store.exchange(stored["id"], uid=1001)


def test_recent_gives_the_latest_lines_oldest_first_and_no_content(store):
    for status in (200, 201, 202):
        store.add(make_record(status=status), NOW)
    lines = store.recent(2)
    assert [line["status"] for line in lines] == [201, 202]
    assert "Where is the wall?" not in json.dumps(lines)


def test_a_long_session_is_shown_from_its_end_and_says_what_it_left_out(store, monkeypatch):
    monkeypatch.setattr(reading, "ANSWER", 5000)
    for minute in range(10):
        at = NOW - 600 + minute * 60
        stored = store.add(make_record(started=at, ended=at), NOW)
    shown = store.show(stored["session"])
    assert shown["omitted"] > 0
    assert len(shown["exchanges"]) + shown["omitted"] == 10
    assert shown["exchanges"][-1]["started"] == NOW - 60


def test_a_second_record_with_the_same_id_is_refused_and_the_first_one_stays(store):
    record = make_record()
    store.add(record, NOW)
    with pytest.raises(ParseError, match="before"):
        store.add({**record, "status": 404}, NOW)
    assert store.exchange(record["exchange"])["status"] == 200
    assert store.add(make_record(), NOW)["stored"]


def test_a_record_without_attribution_is_kept_with_grade_unknown(store):
    stored = store.add(make_record(attribution=None), NOW)
    assert stored["grade"] == "unknown"
    (session,) = store.sessions(1)
    assert session["process"] == {}
    assert session["sanctioned"] is False


def test_names_of_processes_that_are_not_utf8_are_kept_as_far_as_they_are(store):
    stored = store.add(by_process(make_record(), argv=["py\udcff", "x"], exe="/tmp/\udc80"), NOW)
    assert store.show(stored["session"])["process"]["exe"] == "/tmp/?"


def test_what_was_recorded_is_there_after_closing(path):
    store = Store.open(path)
    stored = store.add(make_record(), NOW)
    store.close()
    again = Store.open(path)
    assert again.show(stored["session"])["exchanges"][0]["id"] == stored["id"]
    assert again.add(make_record(), NOW)["session"] == stored["session"]
    again.close()


def test_enormous_numbers_from_a_worker_do_not_overflow_the_sums(store):
    attributes = {"gen_ai.usage.input_tokens": 1 << 53, "gen_ai.usage.output_tokens": 1 << 53}
    for _ in range(5):
        store.add(make_record(attributes=attributes, cookie=(1 << 64) - 1), NOW)
    assert store.sessions(1)[0]["tokens"]["input"] == 5 * (1 << 53)


def test_pruning_forgets_what_is_too_old_and_sessions_that_became_empty(store):
    then = NOW - 10 * 86_400
    store.add(by_process(make_record(started=then, ended=then), pid=1), then)
    kept = store.add(make_record(), NOW)
    assert store.prune(NOW, keep_days=7, max_bytes=1 << 30) == 1
    assert [session["id"] for session in store.sessions(10)] == [kept["session"]]


def test_pruning_by_size_forgets_the_oldest_first_and_the_file_shrinks(store, path):
    for number in range(200):
        padding = {"gen_ai.padding": "x" * 20_000}
        store.add(make_record(attributes=padding, status=number), NOW)
    store.flush()
    before = store.health()["bytes"]
    while store.prune(NOW, keep_days=30, max_bytes=1 << 20):
        pass
    assert store.health()["bytes"] <= 1 << 20 < before
    statuses = [line["status"] for line in store.recent(100)]
    assert statuses[-1] == 199
    assert statuses == sorted(statuses)
    store.close()
    assert path.stat().st_size < 2 << 20


def test_health_says_how_much_is_kept(store):
    store.add(make_record(), NOW)
    health = store.health()
    assert (health["sessions"], health["exchanges"], health["lost"]) == (1, 1, 0)
    assert health["fault"] is None
    assert health["bytes"] > 0


def test_why_a_message_could_not_be_inspected_is_kept(store):
    stored = store.add(make_record(failures={"request": "ParseError: not JSON"}), NOW)
    (exchange,) = store.explain(stored["id"])["exchanges"]
    assert exchange["failures"] == {"request": "ParseError: not JSON"}
    with pytest.raises(ParseError, match="failures"):
        store.add(make_record(failures="all"), NOW)

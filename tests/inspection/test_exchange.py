import json

import pytest
from tests.inspection.samples import JSON, KEY, chat, completion

from milecastle.inspection import Block, Forward
from milecastle.model import Action, ResponseHead


def test_an_ordinary_request_goes_on_to_the_last_byte(begin):
    body = b' {"model" : "gpt-4o",\n"messages":[{"role":"user","content":"h\\u00e9llo"}]} '
    assert begin().request(body) == Forward(body)


def test_an_alert_changes_nothing_but_is_recorded(begin):
    inspection = begin("alert")
    body = chat(f"my key is {KEY}")
    assert inspection.request(body) == Forward(body)
    record = inspection.record(1.0)
    assert record["verdict"]["action"] == "alert"
    assert [one["rule"] for one in record["findings"]] == ["lab-key"]


def test_a_redaction_replaces_the_key_and_nothing_else(begin):
    body = chat(f"before {KEY} after", temperature=0.50)
    answer = begin("redact").request(body)
    assert answer == Forward(body.replace(KEY.encode(), b"[REDACTED:lab-key]"))


def test_every_place_of_a_key_is_redacted(begin):
    document = {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": f"Use {KEY}."},
            {"role": "user", "content": [{"type": "text", "text": f"{KEY},{KEY}, {KEY}"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "t1",
                        "type": "function",
                        "function": {"name": "f", "arguments": json.dumps({"key": KEY})},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": f"got {KEY}"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": f"try {KEY}"}}],
        "metadata": {"note": KEY},
        "user": KEY,
    }
    answer = begin("redact").request(json.dumps(document).encode())
    assert isinstance(answer, Forward)
    assert KEY.encode() not in answer.body
    assert json.loads(answer.body)["messages"][3]["content"] == "got [REDACTED:lab-key]"


def test_a_block_answers_in_the_provider_s_own_error_shape_with_the_reason(begin):
    answer = begin("block").request(chat(KEY))
    assert isinstance(answer, Block)
    assert answer.status == 403
    error = json.loads(answer.body)["error"]
    assert "no-secrets" in error["message"]
    assert "keys stay at home" in error["message"]
    assert "01EXCHANGE" in error["message"]
    assert KEY not in answer.body.decode()


def test_what_only_its_body_told_is_refused_in_its_own_shape_too(begin):
    ollama = {"model": "llama3", "messages": [{"role": "user", "content": KEY}]}
    answer = begin("block", path="/api/chat").request(json.dumps(ollama).encode())
    assert isinstance(answer, Block)
    assert isinstance(json.loads(answer.body)["error"], str), "Ollama's errors are plain text"


def test_in_monitor_mode_nothing_is_changed_and_the_record_says_what_would_have_been(begin):
    inspection = begin("block", mode="monitor")
    body = chat(KEY)
    assert inspection.request(body) == Forward(body)
    verdict = inspection.record(1.0)["verdict"]
    assert (verdict["action"], verdict["applied"]) == ("block", "alert")


def test_an_unreadable_request_passes_where_failures_are_open(begin):
    inspection = begin("block", on_failure="open")
    assert inspection.request(b"{broken") == Forward(b"{broken")
    assert inspection.told.verdict().applied is Action.ALERT
    assert "request" in inspection.record(1.0)["failures"]


def test_an_unreadable_request_is_refused_where_failures_are_closed(begin):
    answer = begin("block", on_failure="closed").request(b"{broken")
    assert isinstance(answer, Block)
    assert b"on_failure is closed" in answer.body


def test_a_request_that_can_be_read_in_two_ways_is_not_trusted(begin):
    twice = b'{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}'
    assert isinstance(begin("block", on_failure="closed").request(twice), Block)


def test_a_key_in_an_answer_is_redacted(begin):
    inspection = begin("redact")
    inspection.request(chat("what is the key?"))
    assert inspection.respond(JSON) == "buffer"
    answer = inspection.response(completion(f"It is {KEY}."))
    assert answer == Forward(completion("It is [REDACTED:lab-key]."))


def test_a_key_in_an_answer_can_block_it(begin):
    inspection = begin("block")
    inspection.request(chat("what is the key?"))
    inspection.respond(JSON)
    assert isinstance(inspection.response(completion(f"It is {KEY}.")), Block)


def test_an_answer_that_is_no_json_follows_on_failure(begin):
    for on_failure, kind in (("open", Forward), ("closed", Block)):
        inspection = begin("block", on_failure=on_failure)
        inspection.request(chat("hello"))
        inspection.respond(JSON)
        assert isinstance(inspection.response(b"{"), kind)


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b""])
def test_a_gateway_s_error_page_passes_even_where_failures_are_closed(begin, body):
    inspection = begin("block", on_failure="closed")
    inspection.request(chat("hello"))
    inspection.respond(ResponseHead(502, {"content-type": "text/html"}))
    assert inspection.response(body) == Forward(body)


def test_an_error_page_is_read_all_the_same(begin):
    inspection = begin("redact")
    inspection.request(chat("hello"))
    inspection.respond(ResponseHead(500, {"content-type": "text/plain"}))
    assert inspection.response(f"oops {KEY}".encode()) == Forward(b"oops [REDACTED:lab-key]")


def test_a_path_that_is_no_call_is_not_inspected(begin):
    assert begin(path="/favicon.ico") is None or begin(path="/favicon.ico").format.name


def test_a_host_outside_the_catalogue_is_not_inspected(begin):
    assert begin(host="www.example.test", path="/index.html") is None

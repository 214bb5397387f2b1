import json

import pytest
from tests.inspection.samples import JSON, KEY, chat, completion

from milecastle.inspection.record import TEXT


def told(begin, text, **options):
    inspection = begin(**options)
    inspection.request(chat(text))
    inspection.respond(JSON)
    inspection.response(completion("fine"))
    return inspection.record(1_700_000_001.0)


def test_a_record_holds_what_the_conventions_ask_for(begin):
    record = told(begin, "hello")
    attributes = record["attributes"]
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.provider.name"] == "openai"
    assert attributes["gen_ai.request.model"] == "gpt-4o"
    assert attributes["gen_ai.response.model"] == "gpt-4o-2024"
    assert attributes["gen_ai.input.messages"] == [
        {"role": "user", "parts": [{"type": "text", "content": "hello"}]}
    ]
    assert attributes["gen_ai.output.messages"][0]["parts"][0]["content"] == "fine"
    assert (record["service"], record["cookie"], record["status"]) == ("openai", 7, 200)


def test_no_key_is_in_a_record_wherever_it_stood(begin):
    assert KEY not in json.dumps(told(begin, f'one {KEY}, and in quotes "{KEY}"'))


def test_capture_full_keeps_the_text_and_metadata_keeps_none(begin):
    assert KEY in json.dumps(told(begin, f"key {KEY}", capture="full"))
    record = told(begin, f"key {KEY}", capture="metadata")
    assert not any("messages" in name for name in record["attributes"])
    assert [one["rule"] for one in record["findings"]] == ["lab-key"]


def test_an_endless_prompt_is_cut_in_the_record(begin):
    record = told(begin, "a" * (TEXT * 3))
    (message,) = record["attributes"]["gen_ai.input.messages"]
    assert len(message["parts"][0]["content"]) < TEXT + 100
    assert "more characters" in message["parts"][0]["content"]


def test_the_record_explains_each_rule(begin):
    (step,) = told(begin, f"key {KEY}")["steps"]
    assert step["rule"] == "no-secrets"
    assert step["matched"] is True


@pytest.mark.parametrize("name", ["path", "host"])
def test_a_query_is_never_recorded(begin, name):
    inspection = begin(path="/v1/chat/completions?key=AIzaSecret")
    inspection.request(chat("hello"))
    assert "AIza" not in inspection.record(1.0)[name]

"""``logprobs`` repeat an answer token by token; they go where its text is edited."""

from __future__ import annotations

import json

from milecastle import providers
from milecastle.model import Edit

TOKEN = {"token": "AKIA", "logprob": -0.1, "bytes": [65], "top_logprobs": []}


def edited(body: object, place: str) -> object:
    return json.loads(providers.rewrite(json.dumps(body).encode(), [Edit(place, 0, 4, "[X]")]))


def test_a_chat_answers_logprobs_go_with_the_text():
    body = {
        "choices": [
            {
                "message": {"content": "AKIA is it"},
                "logprobs": {"content": [TOKEN], "refusal": None},
            }
        ]
    }
    told = edited(body, "/choices/0/message/content")
    assert told == {"choices": [{"message": {"content": "[X] is it"}, "logprobs": None}]}


def test_a_response_items_logprobs_go_with_the_text():
    body = {"output": [{"content": [{"text": "AKIA", "logprobs": [TOKEN]}]}], "x": {"logprobs": []}}
    told = edited(body, "/output/0/content/0/text")
    assert told == {
        "output": [{"content": [{"text": "[X]", "logprobs": []}]}],
        "x": {"logprobs": []},
    }


def test_gemini_too():
    result = {"chosenCandidates": [{"token": "AKIA"}], "topCandidates": []}
    body = {"candidates": [{"content": {"parts": [{"text": "AKIA"}]}, "logprobsResult": result}]}
    told = edited(body, "/candidates/0/content/parts/0/text")
    assert "AKIA" not in json.dumps(told)


def test_parameters_of_that_name_stay():
    schema = {"properties": {"logprobs": {"type": "boolean"}}}
    body = {"logprobs": True, "top_logprobs": 2, "prompt": "AKIA", "tools": [schema]}
    assert edited(body, "/prompt") == {**body, "prompt": "[X]"}

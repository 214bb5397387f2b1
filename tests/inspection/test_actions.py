"""Coach, neutralise, limit, cut, and blocks that speak like an assistant."""

import json

import pytest
from tests.inspection.samples import JSON, KEY, SSE, chat, completion, event

from milecastle.inspection import Block, Forward
from milecastle.model import ResponseHead

DONE = b"data: [DONE]\n\n"
NOTE = "\n\n[Note from your organisation (milecastle): keys stay at home]"
RESPONSES = {"path": "/v1/responses"}
ANTHROPIC = {"host": "api.anthropic.com", "path": "/v1/messages"}


def policy(action, when="finding: {category: secret}", **more):
    rest = "".join(f"  {key}: {value}\n" for key, value in more.items())
    return (
        "version: 1\nmode: enforce\nrules:\n- id: no-secrets\n"
        f"  when: {{{when}}}\n  action: {action}\n  reason: keys stay at home\n{rest}"
    )


def coached(begin, body, **where):
    inspection = begin(document=policy("coach", "direction: request"), **where)
    assert inspection.request(body) == Forward(body)
    return inspection


# --- coach -----------------------------------------------------------------------------------


def test_a_coached_request_goes_on_and_its_answer_ends_with_the_reason(begin):
    inspection = coached(begin, chat("hello"))
    assert inspection.binding("response")
    inspection.respond(JSON)
    assert inspection.response(completion("Hi.")) == Forward(completion("Hi." + NOTE))
    verdict = inspection.record(1.0)["verdict"]
    assert (verdict["action"], verdict["reason"]) == ("coach", "keys stay at home")


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ({}, completion('{"a": 1}')),
        ({}, completion("```json\n{}\n```")),
        ({}, completion(None, tool_calls=[{"id": "t", "function": {"name": "f"}}])),
        ({}, completion("Let me.", tool_calls=[{"id": "t", "function": {"name": "f"}}])),
        ({}, completion("cut off").replace(b'"stop"', b'"length"')),
        ({"n": 2}, completion("one of two")),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {}},
                }
            },
            completion("7"),
        ),
    ],
)
def test_what_a_program_reads_bears_no_note(begin, asked, answered):
    inspection = coached(begin, chat("hello", **asked))
    inspection.respond(JSON)
    assert inspection.response(answered) == Forward(answered)
    assert inspection.record(1.0)["verdict"]["action"] == "coach"


def stream_of(inspection, chunks):
    inspection.respond(SSE)
    got = b"".join(inspection.feed(chunk).data for chunk in chunks)
    return got + inspection.finish().data


WORDS = [event({"role": "assistant", "content": ""}), *(event({"content": w}) for w in "abc")]
END = [event({}, finish_reason="stop"), DONE]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_stream_bears_the_note_in_its_last_event_of_text(begin, size):
    inspection = coached(begin, chat("hello", stream=True))
    wire = b"".join(WORDS + END)
    chunks = [wire[at : at + size] for at in range(0, len(wire), size)] if size else WORDS + END
    last = json.dumps("c" + NOTE)[1:-1].encode()
    assert stream_of(inspection, chunks) == wire.replace(
        b'"content": "c"', b'"content": "%s"' % last
    )


def test_a_stream_is_held_back_by_one_event_only(begin):
    inspection = coached(begin, chat("hello", stream=True))
    inspection.respond(SSE)
    assert inspection.feed(WORDS[0]).data == WORDS[0]
    assert inspection.feed(WORDS[1]).data == b""
    assert inspection.feed(WORDS[2]).data == WORDS[1]


def test_a_stream_that_calls_a_tool_passes_as_it_is(begin):
    inspection = coached(begin, chat("hello", stream=True))
    call = {"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}
    wire = [*WORDS, event({"tool_calls": [call]}), event({}, finish_reason="tool_calls"), DONE]
    assert stream_of(inspection, wire) == b"".join(wire)


def sse(kind, **body):
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **body}).encode() + b"\n\n"


def test_anthropic_s_note_stands_before_the_block_ends(begin):
    body = {"model": "claude", "max_tokens": 9, "stream": True}
    body["messages"] = [{"role": "user", "content": "hi"}]
    inspection = coached(begin, json.dumps(body).encode(), **ANTHROPIC)
    delta = {"type": "text_delta", "text": "Hi."}
    wire = [
        sse("message_start", message={"id": "m", "role": "assistant", "content": [], "usage": {}}),
        sse("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        sse("content_block_delta", index=0, delta=delta),
        sse("content_block_stop", index=0),
        sse("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
        sse("message_stop"),
    ]
    got = stream_of(inspection, wire)
    noted = sse("content_block_delta", index=0, delta={**delta, "text": "Hi." + NOTE})
    assert got == b"".join([*wire[:2], noted, *wire[3:]])


def test_every_event_that_repeats_the_text_has_the_note(begin):
    body = {"model": "gpt", "stream": True, "input": "hi"}
    inspection = coached(begin, json.dumps(body).encode(), **RESPONSES)
    at = {"item_id": "i", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "Hi.", "annotations": []}
    item = {"type": "message", "role": "assistant", "id": "i", "content": [part]}
    whole = {"id": "r", "status": "completed", "output": [item]}
    wire = [
        sse("response.output_text.delta", **at, delta="Hi."),
        sse("response.output_text.done", **at, text="Hi."),
        sse("response.content_part.done", **at, part=part),
        sse("response.output_item.done", output_index=0, item=item),
        sse("response.completed", response=whole),
    ]
    got = stream_of(inspection, wire)
    noted = json.dumps("Hi." + NOTE).encode()
    assert got.count(noted) == 5
    assert got == b"".join(wire).replace(b'"Hi."', noted)


def test_a_coach_in_monitor_mode_says_nothing(begin):
    inspection = begin(document=policy("coach", "direction: request").replace("enforce", "monitor"))
    inspection.request(chat("hello"))
    inspection.respond(JSON)
    assert inspection.response(completion("Hi.")) == Forward(completion("Hi."))


# --- neutralise ------------------------------------------------------------------------------


def test_a_passage_in_a_tool_result_becomes_a_notice_and_the_user_s_own_words_a_mark(begin):
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": f"mine: {KEY}"},
            {"role": "tool", "tool_call_id": "t", "content": f"page: {KEY} end"},
        ],
    }
    answer = begin(document=policy("neutralise")).request(json.dumps(body).encode())
    assert isinstance(answer, Forward)
    user, tool = (message["content"] for message in json.loads(answer.body)["messages"])
    assert user == "mine: [REDACTED:lab-key]"
    assert tool.startswith("[Removed by milecastle (lab-key): this passage was written")
    assert tool.endswith("Go on without it.]")


def test_what_an_order_wants_done_goes_with_it_and_what_stands_before_and_after_stays(begin):
    text = f"Opening hours: 9 to 5.\n\nNow: {KEY} and\n\nsend all{' it' * 120}\n\nSee you soon."
    body = {
        "model": "m",
        "messages": [{"role": "tool", "tool_call_id": "t", "content": text}],
    }
    answer = begin(document=policy("neutralise")).request(json.dumps(body).encode())
    (message,) = json.loads(answer.body)["messages"]
    assert message["content"].startswith("Opening hours: 9 to 5.\n\n[Removed by milecastle")
    assert message["content"].endswith("Go on without it.]\n\nSee you soon.")
    assert "send all" not in message["content"]


# --- limit -----------------------------------------------------------------------------------


def limiting(begin):
    return begin(
        document=policy("limit", "direction: request", limit="{calls: 2, per: hour, by: user}")
    )


def test_a_request_says_what_it_counts_against_and_is_stopped_over_the_limit(begin):
    inspection = limiting(begin)
    (charge,) = inspection.charges(chat("hello"))
    assert (charge.rule, charge.who, charge.most) == ("no-secrets", "uid 1000", 2)
    assert inspection.request(chat("hello")) == Forward(chat("hello"))
    answer = limiting(begin).request(chat("hello"), over={"no-secrets": 1_700_000_060.0})
    assert isinstance(answer, Block)
    assert answer.status == 429
    assert answer.headers["retry-after"] == "60"
    assert b"keys stay at home" in answer.body


def test_without_a_limit_nothing_is_counted(begin):
    assert begin("block").charges(chat("hello")) == ()


# --- cut and block ---------------------------------------------------------------------------


def test_a_cut_ends_a_stream_and_blocks_what_is_none(begin):
    inspection = begin(document=policy("cut"))
    inspection.request(chat("x", stream=True))
    got = stream_of(inspection, [event({"content": f"it is {KEY} "}), *END])
    assert KEY.encode() not in got
    assert b'"finish_reason":"content_filter"' in got
    whole = begin(document=policy("cut"))
    whole.request(chat("x"))
    whole.respond(JSON)
    assert isinstance(whole.response(completion(KEY)), Block)
    assert isinstance(begin(document=policy("cut")).request(chat(KEY)), Block)


def spoken(begin, body, **where):
    answer = begin(document=policy("block", style="message"), **where).request(body)
    assert isinstance(answer, Block)
    assert answer.status == 200
    return answer


def test_a_block_can_speak_like_the_assistant(begin):
    answer = spoken(begin, chat(KEY))
    told = json.loads(answer.body)
    (choice,) = told["choices"]
    assert choice["finish_reason"] == "stop"
    assert "keys stay at home" in choice["message"]["content"]
    assert answer.headers["content-type"] == "application/json"


def test_a_block_can_speak_in_a_stream(begin):
    answer = spoken(begin, chat(KEY, stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b"keys stay at home" in answer.body
    assert b'"finish_reason":"stop"' in answer.body
    assert answer.body.endswith(DONE)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("where", "body"),
    [
        (ANTHROPIC, {"max_tokens": 9, "messages": [{"role": "user", "content": KEY}]}),
        (RESPONSES, {"input": KEY}),
        (
            {
                "host": "generativelanguage.googleapis.com",
                "path": "/v1beta/models/gemini-pro:generateContent",
            },
            {"contents": [{"role": "user", "parts": [{"text": KEY}]}]},
        ),
    ],
    ids=["anthropic", "responses", "gemini"],
)
def test_every_provider_s_assistant_can_say_it(begin, where, body, stream):
    where = dict(where)
    if stream and "generateContent" in where["path"]:
        where["path"] = where["path"].replace("generateContent", "streamGenerateContent?alt=sse")
    elif stream:
        body = {**body, "stream": True}
    answer = spoken(begin, json.dumps({"model": "m", **body}).encode(), **where)
    assert b"keys stay at home" in answer.body
    again = begin("alert", **where)
    again.request(json.dumps({"model": "m", **body}).encode())
    kind = again.respond(ResponseHead(200, answer.headers))
    assert kind == ("stream" if stream else "buffer")
    if stream:
        again.feed(answer.body)
        again.finish()
    else:
        again.response(answer.body)
    attributes = again.record(1.0)["attributes"]
    (message,) = attributes["gen_ai.output.messages"]
    assert "keys stay at home" in message["parts"][0]["content"]
    assert message["finish_reason"] in ("stop", "end_turn", "STOP", "completed")
    assert again.told.failures == {}

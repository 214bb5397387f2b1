"""Formats of 2025 and 2026 of which no exchange was recorded, as SDKs and references show them."""

from __future__ import annotations

import base64
import json

import pytest
from tests.providers.test_formats import ask, rpc, said, sse, streamed, texts

from milecastle import providers
from milecastle.model import Edit, ParseError, RequestHead, ResponseHead
from milecastle.providers import eventstream
from milecastle.providers.gemini_calls import put

IMAGE = base64.b64encode(bytes(200)).decode()
SSE = "text/event-stream"
FRAMES = "application/vnd.amazon.eventstream"
GOOGLE, MISTRAL = "generativelanguage.googleapis.com", "api.mistral.ai"
AGENT = "bedrock-agent-runtime.us-east-1.amazonaws.com"


def answered(exchange, document):
    return providers.parse_response(
        exchange,
        ResponseHead(200, {"content-type": "application/json"}),
        json.dumps(document).encode(),
    )


# --- Gemini --------------------------------------------------------------------------------------


def test_an_interaction_is_read_with_its_steps():
    body = {
        "model": "gemini-3-flash",
        "system_instruction": "Be brief please",
        "previous_interaction_id": "v1_before",
        "input": [
            {"type": "text", "text": "what is this"},
            {"type": "image", "data": IMAGE, "mime_type": "image/png"},
            {"type": "function_result", "call_id": "c", "name": "f", "result": {"a": "red wall"}},
            {"role": "model", "content": [{"type": "text", "text": "said before"}]},
        ],
        "tools": [{"type": "function", "name": "look", "description": "Look around."}],
    }  # fmt: skip
    wire, asked = ask(GOOGLE, "/v1beta/interactions", body)
    assert (wire.name, asked.request_model) == ("gemini-interactions", "gemini-3-flash")
    assert asked.conversation_id == "v1_before"
    parts = [(m.role, [p.kind for p in m.parts]) for m in asked.input_messages]
    assert parts == [
        ("user", ["text", "blob"]), ("tool", ["tool_call_response"]), ("assistant", ["text"]),
    ]  # fmt: skip
    steps = [
        {"type": "thought", "summary": [{"type": "text", "text": "let me think"}]},
        {"type": "function_call", "id": "c2", "name": "look", "arguments": {"at": "the wall"}},
        {"type": "model_output", "content": [{"type": "text", "text": "A wall."}]},
    ]
    used = {"total_input_tokens": 9, "total_output_tokens": 4, "total_thought_tokens": 2}
    whole = {"id": "v1_x", "model": "gemini-3-flash", "status": "completed", "steps": steps}
    exchange = answered(asked, {**whole, "usage": used})
    assert said(exchange) == [
        ("reasoning", "let me think"), ("tool_call", '{"at":"the wall"}'), ("text", "A wall."),
    ]  # fmt: skip
    assert exchange.usage.input_tokens == 9
    assert exchange.usage.reasoning_tokens == 2
    events = [
        {"event_type": "interaction.created", "interaction": {"id": "v1_x"}},
        {"event_type": "step.start", "index": 0, "step": {"type": "thought"}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "thought_summary",
            "content": {"type": "text", "text": "let me think"}}},
        {"event_type": "step.start", "index": 1,
         "step": {"type": "function_call", "id": "c2", "name": "look", "arguments": {}}},
        {"event_type": "step.delta", "index": 1,
         "delta": {"type": "arguments_delta", "arguments": '{"at":"the '}},
        {"event_type": "step.delta", "index": 1,
         "delta": {"type": "arguments_delta", "arguments": 'wall"}'}},
        {"event_type": "step.start", "index": 2, "step": {"type": "model_output"}},
        {"event_type": "step.delta", "index": 2, "delta": {"type": "text", "text": "A "}},
        {"event_type": "step.delta", "index": 2, "delta": {"type": "text", "text": "wall."}},
        {"event_type": "interaction.completed", "interaction": {**whole, "usage": used}},
    ]  # fmt: skip
    grown, _ = streamed(asked, SSE, sse(*events))
    assert said(grown) == said(exchange)
    assert grown.usage == exchange.usage
    assert grown.output_messages[0].parts[1].name == "look"


def test_the_first_revision_of_interactions_is_read_alike():
    _, asked = ask(GOOGLE, "/v1beta/interactions", {"model": "g", "input": "hello you"})
    text = {"type": "text", "text": "Hi you"}
    assert said(answered(asked, {"status": "completed", "outputs": [text]})) == [("text", "Hi you")]
    events = [
        {"event_type": "content.start", "index": 0, "content": {"type": "text"}},
        {"event_type": "content.delta", "index": 0, "delta": {"type": "text", "text": "Hi "}},
        {"event_type": "content.delta", "index": 0, "delta": {"type": "text", "text": "you"}},
        {"event_type": "interaction.complete", "interaction": {"outputs": [text]}},
    ]
    assert said(streamed(asked, SSE, sse(*events))[0]) == [("text", "Hi you")]


def test_arguments_of_gemini_that_come_in_pieces_are_put_together():
    _, asked = ask(GOOGLE, "/v1beta/models/g:streamGenerateContent?alt=sse", {"contents": []})

    def piece(**call):
        return {"candidates": [{"content": {"parts": [{"functionCall": call}]}}]}

    def argument(path, value, kind="stringValue"):
        return {"partialArgs": [{"jsonPath": path, kind: value}], "willContinue": True}

    exchange, deltas = streamed(
        asked,
        SSE,
        sse(
            piece(name="sail", id="c1", willContinue=True),
            piece(**argument("$.to", "New")),
            piece(**argument("$.to", "castle")),
            piece(**argument("$.crew[1].name", "Ann Lee")),
            piece(**argument("$.days", 3, "numberValue")),
            piece(),
            {"candidates": [{"content": {"parts": [{"text": "Off!"}]}, "finishReason": "STOP"}]},
        ),
    )
    call, text = exchange.output_messages[0].parts
    assert (call.kind, call.name, call.call_id) == ("tool_call", "sail", "c1")
    expected = {"to": "Newcastle", "crew": [None, {"name": "Ann Lee"}], "days": 3}
    assert json.loads(call.text) == expected
    assert text.text == "Off!"
    assert "".join(each.text for each in deltas if each.kind == "tool_call") == "NewcastleAnn Lee"


@pytest.mark.parametrize("path", ["$.a[99999]", "$" + ".a" * 2000])
def test_a_path_out_of_bounds_is_refused(path):
    with pytest.raises(ParseError):
        put({}, path, "x")


# --- OpenAI --------------------------------------------------------------------------------------


def test_programs_and_computers_that_act_in_one_go_are_calls():
    items = [
        {"type": "program", "id": "p", "call_id": "c", "code": "tools.look()", "fingerprint": "f"},
        {"type": "program_output", "call_id": "c", "result": "a red wall", "status": "completed"},
        {"type": "computer_call", "call_id": "d", "actions": [{"type": "type", "text": "my word"}]},
    ]
    _, asked = ask("api.openai.com", "/v1/responses", {"model": "m", "input": items})
    parts = [(m.role, p.kind, p.name) for m in asked.input_messages for p in m.parts]
    assert parts == [
        ("assistant", "tool_call", "program"),
        ("tool", "tool_call_response", None),
        ("assistant", "tool_call", "computer"),
    ]
    assert not asked.unclaimed or all(leaf.text == "f" for leaf in asked.unclaimed)


def test_a_live_session_is_read_both_ways():
    head = RequestHead("GET", "api.openai.com", "/v1/live/sessions", {"upgrade": "websocket"})
    wire = providers.recognise(head, None)
    assert (wire.name, providers.has_session(wire)) == ("openai-live", True)
    session = providers.open_session(wire, head)
    tool = {"type": "function", "name": "look", "description": "Look around."}
    inner = {"model": "gpt-5", "instructions": "Use the tools", "tools": [tool]}
    begin = {"model": "gpt-live-1", "instructions": "Speak softly",
             "delegation": {"type": "responses", "responses": inner}}  # fmt: skip
    found = session.send(json.dumps({"type": "session.start", "session": begin}).encode())
    assert {"Speak softly", "Use the tools", "Look around."} <= {each.text for each in found}
    result = {"type": "function_call_output", "call_id": "c", "output": "a red wall"}
    (one,) = session.send(json.dumps({"type": "response.item.create", "item": result}).encode())
    assert (one.text, one.provenance) == ("a red wall", "tool_result")
    said_aside = {"type": "session.commentary.append", "content": "the wall is red"}
    assert session.send(json.dumps(said_aside).encode())[0].text == "the wall is red"
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": '{"at":"it all"}'}
    for event in (
        {"type": "session.started", "session": {"id": "s", "model": "gpt-live-1"}},
        {"type": "session.input_transcript.delta", "delta": "what is it"},
        {"type": "response.event", "event": {"type": "response.output_item.done",
            "output_index": 0, "item": call}},
        {"type": "session.output_transcript.delta", "delta": "A red "},
        {"type": "session.output_transcript.delta", "delta": "wall."},
    ):  # fmt: skip
        deltas = session.receive(json.dumps(event).encode())
    assert [each.text for each in deltas] == ["wall."]
    exchange = session.exchange
    assert said(exchange) == [("tool_call", '{"at":"it all"}'), ("text", "A red wall.")]
    assert (exchange.request_model, exchange.conversation_id) == ("gpt-live-1", "s")


def test_an_event_inside_an_event_is_rewritten_where_it_stands():
    head = RequestHead("GET", "api.openai.com", "/v1/live/sessions", {"upgrade": "websocket"})
    session = providers.open_session(providers.recognise(head, None), head)
    inner = {"type": "response.output_text.delta", "output_index": 0, "delta": "my key here"}
    raw = json.dumps({"type": "response.event", "event": inner}).encode()
    (delta,) = session.receive(raw)
    changed = providers.rewrite(raw, [Edit(delta.place, 3, 6, "***")])
    assert changed == raw.replace(b"my key here", b"my *** here")


# --- Mistral -------------------------------------------------------------------------------------


def test_a_conversation_of_mistral_is_read():
    body = {
        "model": "mistral-medium",
        "instructions": "Be brief please",
        "inputs": [
            {"type": "message.input", "role": "user", "content": "what is this"},
            {"type": "function.call", "tool_call_id": "c", "name": "f", "arguments": '{"a":"b c"}'},
            {"type": "function.result", "tool_call_id": "c", "result": "a red wall"},
        ],
    }  # fmt: skip
    wire, asked = ask(MISTRAL, "/v1/conversations", body)
    assert wire.name == "mistral-conversations"
    assert [(m.role, m.parts[0].text) for m in asked.input_messages] == [
        ("user", "what is this"), ("assistant", '{"a":"b c"}'), ("tool", "a red wall"),
    ]  # fmt: skip
    outputs = [
        {"type": "tool.execution", "name": "web_search", "arguments": '{"query":"red wall"}'},
        {"type": "message.output", "content": [{"type": "text", "text": "A wall."}]},
    ]
    used = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    exchange = answered(asked, {"conversation_id": "conv_1", "outputs": outputs, "usage": used})
    assert said(exchange) == [("tool_call", '{"query":"red wall"}'), ("text", "A wall.")]
    assert exchange.conversation_id == "conv_1"
    events = [
        {"type": "conversation.response.started", "conversation_id": "conv_1"},
        {"type": "tool.execution.started", "output_index": 0, "id": "t", "name": "web_search",
         "arguments": '{"query":"red wall"}'},
        {"type": "message.output.delta", "output_index": 1, "content": "A "},
        {"type": "message.output.delta", "output_index": 1,
         "content": {"type": "text", "text": "wall."}},
        {"type": "conversation.response.done", "usage": used},
    ]  # fmt: skip
    grown, _ = streamed(asked, SSE, sse(*events))
    assert said(grown) == said(exchange)
    assert grown.usage == exchange.usage
    again, _ = ask(MISTRAL, "/v1/conversations/conv_1", {"inputs": "and then"})
    assert again.conversation == "conv_1"


# --- Amazon --------------------------------------------------------------------------------------


def test_an_agent_of_bedrock_is_read():
    path = "/agents/AG1/agentAliases/AL1/sessions/s-1/text"
    wire, asked = ask(AGENT, path, {"inputText": "what is this", "enableTrace": True})
    assert (wire.name, wire.operation, wire.conversation) == (
        "bedrock-agent",
        "invoke_agent",
        "s-1",
    )
    assert texts(asked) == ["what is this"]

    def chunk(text):
        packed = base64.b64encode(text.encode()).decode()
        return eventstream.event("chunk", json.dumps({"bytes": packed}).encode())

    trace = {"trace": {"rationale": {"text": "I look around"}}}
    raw = chunk("A red ") + eventstream.event("trace", json.dumps(trace).encode()) + chunk("wall.")
    exchange, deltas = streamed(asked, FRAMES, raw)
    assert said(exchange) == [("text", "A red wall.")]
    assert "I look around" in [each.text for each in deltas]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_that_sagemaker_cuts_anywhere_is_read(size):
    path = "/endpoints/llama/invocations-response-stream"
    _, asked = ask("runtime.sagemaker.us-east-1.amazonaws.com", path, {"inputs": "hello you"})
    inner = sse({"token": {"text": "A red "}}, {"token": {"text": "wall."}})
    cut = [inner[at : at + size] for at in range(0, len(inner), size)]
    exchange, deltas = streamed(asked, FRAMES, *(eventstream.event("PayloadPart", x) for x in cut))
    assert said(exchange) == [("text", "A red wall.")]
    assert all(0 <= each.start < each.end for each in deltas)


# --- A2A -----------------------------------------------------------------------------------------


def test_agents_speak_to_one_another_as_of_a2a_1():
    message = {"messageId": "1", "contextId": "ctx", "role": "ROLE_USER",
               "parts": [{"text": "what is this"}, {"data": {"where": "the north"}}]}  # fmt: skip
    wire, asked = ask("agents.example.com", "/", rpc("SendMessage", message=message), known=False)
    assert (wire.name, wire.operation) == ("mcp", "invoke_agent")
    assert texts(asked)[:2] == ["what is this", "the north"]
    reply = {"role": "ROLE_AGENT", "parts": [{"text": "A wall."}]}
    task = {"id": "t", "artifacts": [{"parts": [{"text": "A long report"}]}],
            "status": {"state": "TASK_STATE_COMPLETED", "message": reply}}  # fmt: skip
    for result, expected in (
        ({"message": reply}, ["A wall."]),
        ({"task": task}, ["A wall.", "A long report"]),
        ({"artifactUpdate": {"artifact": {"parts": [{"text": "A part"}]}}}, ["A part"]),
        ({"statusUpdate": {"status": {"message": reply}}}, ["A wall."]),
    ):
        exchange = answered(asked, {"jsonrpc": "2.0", "id": 7, "result": result})
        assert [text for _, text in said(exchange)] == expected

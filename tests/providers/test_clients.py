"""What we say to a client in its provider's words is understood by the provider's own SDK."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from milecastle import providers
from milecastle.model import Edit, RequestHead, ResponseHead
from milecastle.providers.format import Format

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

CHAT = Format("openai-chat", "chat", "openai")
RESPONSES = Format("openai-responses", "chat", "openai")
MESSAGES = Format("anthropic-messages", "chat", "anthropic")
REASON = "Withheld: rule no-keys."


class Server:
    """A loopback server that answers everything with what it was given."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, {}, b""
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def gpt(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)


@pytest.fixture
def claude(server):
    return anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0)


def refuse(server, wire):
    server.status, server.headers, server.body = providers.error_body(
        wire, status=403, code="milecastle_blocked", message=REASON
    )


def stream_of(server, wire, path, request, events, *, cut):
    """Serve a stream that is cut after ``cut`` events and closed in the provider's grammar."""
    head = RequestHead("POST", "h", path, {"content-type": "application/json"})
    asked = providers.parse_request(wire, head, json.dumps(request).encode())
    answer = ResponseHead(200, {"content-type": "text/event-stream"})
    stream = providers.open_stream(asked, answer)
    body = b"".join(events[:cut])
    stream.feed(body)
    server.headers = {"content-type": "text/event-stream"}
    server.body = body + providers.closing_events(wire, stream, REASON)
    return stream


def event(kind, **body):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **body})}\n\n".encode()


def chunk(**delta):
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    told = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt"}
    return f"data: {json.dumps({**told, 'choices': [choice]})}\n\n".encode()


def test_openai_raises_permission_denied_with_the_reason(server, gpt):
    refuse(server, CHAT)
    with pytest.raises(openai.PermissionDeniedError) as raised:
        gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert REASON in str(raised.value)
    assert raised.value.code == "milecastle_blocked"


def test_anthropic_raises_permission_denied_with_the_reason(server, claude):
    refuse(server, MESSAGES)
    with pytest.raises(anthropic.PermissionDeniedError) as raised:
        claude.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert REASON in str(raised.value)


def test_a_cut_chat_stream_ends_cleanly_for_openai(server, gpt):
    call = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": '{"a'}}
    events = [chunk(role="assistant", content="Hel"), chunk(content="lo"), chunk(tool_calls=[call])]
    stream_of(server, CHAT, "/v1/chat/completions", {"model": "m"}, events, cut=3)
    with gpt.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "x"}], stream=True
    ) as stream:
        chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == "Hello" + REASON
    assert chunks[-1].choices[0].finish_reason == "content_filter"


def responses_events():
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress",
            "content": []}  # fmt: skip
    part = {"type": "output_text", "text": "", "annotations": []}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt",
                "status": "in_progress", "output": [], "parallel_tool_calls": True,
                "tool_choice": "auto", "tools": []}  # fmt: skip
    return [
        event("response.created", sequence_number=0, response=response),
        event("response.output_item.added", sequence_number=1, output_index=0, item=item),
        event("response.content_part.added", sequence_number=2, **where, part=part),
        event("response.output_text.delta", sequence_number=3, **where, delta="Hel", logprobs=[]),
        event("response.output_text.delta", sequence_number=4, **where, delta="lo", logprobs=[]),
    ]


def test_a_cut_responses_stream_ends_cleanly_for_openai(server, gpt):
    stream_of(server, RESPONSES, "/v1/responses", {"model": "m"}, responses_events(), cut=5)
    with gpt.responses.create(model="m", input="x", stream=True) as stream:
        events = list(stream)
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == "Hello" + REASON
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == "content_filter"


def claude_events():
    usage = {"input_tokens": 3, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
               "content": [], "stop_reason": None, "stop_sequence": None,
               "usage": usage}  # fmt: skip
    tool = {"type": "tool_use", "id": "toolu_1", "name": "run", "input": {}}
    return [
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
        event("content_block_stop", index=0),
        event("content_block_start", index=1, content_block=tool),
        event("content_block_delta", index=1,
              delta={"type": "input_json_delta", "partial_json": '{"cmd": "ls'}),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 6])
def test_a_stream_cut_anywhere_ends_cleanly_for_anthropic(server, claude, cut):
    stream_of(server, MESSAGES, "/v1/messages", {"model": "m"}, claude_events(), cut=cut)
    with claude.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]
    ) as stream:
        message = stream.get_final_message()
    assert message.content[-1].text == REASON
    assert message.stop_reason == "refusal"


@pytest.mark.parametrize("cut", [0, 1])
def test_a_stream_cut_at_its_beginning_ends_cleanly_for_openai(server, gpt, cut):
    stream_of(server, RESPONSES, "/v1/responses", {"model": "m"}, responses_events(), cut=cut)
    with gpt.responses.create(model="m", input="x", stream=True) as stream:
        assert list(stream)[-1].type == "response.incomplete"


def test_redacted_events_are_what_the_sdk_reads(server, gpt):
    head = RequestHead("POST", "h", "/v1/chat/completions", {})
    asked = providers.parse_request(CHAT, head, b'{"model":"m","stream":true}')
    stream = providers.open_stream(asked, ResponseHead(200, {"content-type": "text/event-stream"}))
    events = [chunk(content="key sk-"), chunk(content="123 end")]
    first, second = stream.feed(b"".join(events))
    server.body = (
        stream.rewrite(events[0], [Edit(first.place, 4, 7, "[REDACTED:key]")])
        + stream.rewrite(events[1], [Edit(second.place, 0, 3, "")])
        + b"data: [DONE]\n\n"
    )
    server.headers = {"content-type": "text/event-stream"}
    with gpt.chat.completions.create(model="m", messages=[], stream=True) as answer:
        text = "".join(c.choices[0].delta.content or "" for c in answer)
    assert text == "key [REDACTED:key] end"

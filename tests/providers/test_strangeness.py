"""That an exchange is of no known format, or of one that has changed, is noticed."""

from __future__ import annotations

import json

import pytest

from milecastle import providers
from milecastle.model import Exchange, RequestHead, ResponseHead

SSE = {"content-type": "text/event-stream"}
CHATGPT = ("chatgpt.com", "/backend-api/f/conversation")
CLAUDE = ("claude.ai", "/api/organizations/o/chat_conversations/c/completion")
ASKED = {"messages": [{"author": {"role": "user"}, "content": {"parts": ["what a fine day"]}}]}
ANSWERED = {"p": "/message/content/parts/0", "o": "append", "v": "a fine day indeed"}


def exchange(at: tuple[str, str], asked: dict, *events: dict) -> Exchange:
    host, path = at
    head = RequestHead("POST", host, path, {"content-type": "application/json"})
    body = json.dumps(asked).encode()
    wire = providers.recognise(head, body)
    assert wire is not None
    told = providers.parse_request(wire, head, body)
    if not events:
        return told
    raw = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)
    return providers.parse_response(told, ResponseHead(200, SSE), raw)


def test_json_of_no_known_format_is_unknown():
    told = exchange(("api.openai.com", "/v9/dreams"), {"dream": "of electric sheep"})
    assert told.format == "unknown"
    assert providers.strange(told) == "unknown_format"


@pytest.mark.parametrize(
    ("at", "asked", "events"),
    [
        (CHATGPT, ASKED, [ANSWERED]),
        (CHATGPT, ASKED, []),
        (CHATGPT, ASKED, [{"error": {"type": "limit", "message": "come again later"}}]),
        (CLAUDE, {"prompt": "what a fine day"}, [{"type": "completion", "completion": "fine day"}]),
        (("api.openai.com", "/v1/chat/completions"), {"messages": [], "x": "loose words"}, []),
    ],
)
def test_what_is_as_it_was_is_not_strange(at, asked, events):
    assert providers.strange(exchange(at, asked, *events)) == ""


@pytest.mark.parametrize(
    ("at", "asked", "events"),
    [
        (CHATGPT, {"turn": {"said": "what a fine day"}}, [ANSWERED]),
        (CHATGPT, ASKED, [{"v": {"delta2": "a fine day indeed"}, "p": "", "o": "add"}]),
        (CHATGPT, ASKED, [{"delta2": {"txt": "a fine day indeed"}}]),
        (CLAUDE, {"turns": [{"human": "what a fine day"}]}, []),
    ],
)
def test_a_web_interface_in_which_nothing_stands_where_it_did_has_changed(at, asked, events):
    told = exchange(at, asked, *events)
    assert providers.strange(told) == "changed_shape"
    found = providers.segments(told, "request") + providers.segments(told, "response")
    assert any("day" in each.text for each in found)

"""What the head alone can tell, and what waits for the body."""

from __future__ import annotations

import pytest

from milecastle import providers
from milecastle.model import RequestHead
from milecastle.providers.hosts import provider

JSON = {"content-type": "application/json"}


def test_a_format_that_only_its_body_tells_is_unknown_until_the_body_comes():
    head = RequestHead("POST", "ollama.com", "/api/chat", JSON)
    wire = providers.recognise(head, None)
    assert wire is not None
    assert wire.name == "unknown"
    body = b'{"model":"llama3.2","messages":[{"role":"user","content":"hello you"}]}'
    exchange = providers.parse_request(wire, head, body)
    assert (exchange.format, exchange.provider) == ("ollama", "ollama")


def test_a_path_that_nobody_knows_is_read_at_a_known_host():
    head = RequestHead("POST", "api.openai.com", "/v9/novelties", JSON)
    wire = providers.recognise(head, None)
    assert wire is not None
    exchange = providers.parse_request(wire, head, b'{"wish":"tell me a story"}')
    texts = [each.text for each in providers.segments(exchange, "request")]
    assert texts == ["tell me a story"]


@pytest.mark.parametrize(
    ("method", "headers", "known"),
    [
        ("GET", {}, True),
        ("POST", {"content-length": "0"}, True),
        ("POST", JSON, False),
        ("POST", {"content-type": "application/grpc"}, True),  # both sides may stream at once
        ("POST", {"content-type": "image/png"}, True),
    ],
)
def test_nothing_else_waits_for_its_body(method: str, headers: dict[str, str], known: bool):
    head = RequestHead(method, "api.openai.com", "/v9/novelties", headers)
    assert providers.recognise(head, None, known=known) is None


def test_a_regional_host_of_vertex_is_vertex():
    assert provider("us-central1-aiplatform.googleapis.com", "gemini") == "gcp.vertex_ai"

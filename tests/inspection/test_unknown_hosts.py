"""Hosts of no known service: what has the shape of a call is one, everything else is nobody's."""

import json

import pytest

from milecastle import catalogue, policy, shipped
from milecastle.inspection import Context, Inspector
from milecastle.model import RequestHead

HOST = "llm.example.com"
JSON = {"content-type": "application/json"}
CALLS = {
    "openai-chat": {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    "openai-responses": {"model": "m", "input": [{"role": "user", "content": "hello"}]},
}
OTHERS = [{"messages": ["a", "b"]}, {"prompt": "log in?"}, {"input": "x"}, [], 5, None]


@pytest.fixture(scope="module")
def inspector(engine):
    text = catalogue.hosts.document([HOST], shape=True)
    names, _ = catalogue.load([*shipped.texts("config", "catalogue"), ("hosts", text)])
    return Inspector(names, engine, policy.check("version: 1\n", "policy.yaml")[0])


def head(path="/ask", host=HOST, headers=JSON, method="POST"):
    return RequestHead(method, host, path, headers)


def begin(inspector, body, **asked):
    return inspector.begin(head(**asked), Context("01X", 1.0), json.dumps(body).encode())


@pytest.mark.parametrize("wire", CALLS)
def test_a_call_is_known_by_its_body_alone(inspector, wire):
    inspection = begin(inspector, CALLS[wire])
    assert (inspection.format.name, inspection.service.id) == (wire, "unknown-ai")


@pytest.mark.parametrize("body", OTHERS)
@pytest.mark.parametrize("path", ["/ask", "/v1/messages"])
def test_what_has_another_shape_is_no_call(inspector, body, path):
    assert begin(inspector, body, path=path) is None


def test_a_path_is_believed_with_what_belongs_to_it(inspector):
    assert begin(inspector, {"messages": ["odd"]}, path="/v1/chat/completions") is not None


def test_the_body_is_waited_for_where_it_may_tell_and_nowhere_else(inspector):
    def asks(**asked):
        return inspector.asks_for_body(head(**asked), Context("01X", 1.0))

    assert inspector.begin(head(), Context("01X", 1.0)) is None
    assert asks()
    assert not asks(method="GET")
    assert not asks(headers={"content-type": "video/mp4"})
    assert not asks(host="api.openai.com")
    assert not asks(host="www.example.test")


def test_a_server_of_this_host_is_known_by_its_connection_whatever_host_is_said(inspector):
    body = json.dumps({"model": "llama3", "prompt": "hello"}).encode()
    there = Context("01X", 1.0, service="ollama")
    asked = head(path="/api/generate", host="api.openai.com")
    inspection = inspector.begin(asked, there, body)
    assert (inspection.format.name, inspection.service.id) == ("ollama", "ollama")

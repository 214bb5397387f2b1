"""Every text that the SDKs' own types can hold is read, in requests, answers and events.

The types are the best documentation there is: bodies are made from them (``specimens``), with a
sentence of its own wherever a string may be anything, and each sentence has to be found again.
"""

from __future__ import annotations

import gzip
import importlib
import json
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import botocore
import orjson
import pytest
from tests.providers.specimens import SIMPLE, Specimens, sentences

from milecastle import providers
from milecastle.model import Exchange, RequestHead, ResponseHead
from milecastle.providers import eventstream

SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
OPENAI, ANTHROPIC = "api.openai.com", "api.anthropic.com"
GOOGLE, MISTRAL = "generativelanguage.googleapis.com", "api.mistral.ai"
COHERE, BEDROCK = "api.cohere.com", "bedrock-runtime.us-east-1.amazonaws.com"
GENERATE = "/v1beta/models/gemini:generateContent"
CONVERSE = "/model/amazon.nova-lite-v1:0/converse"


def named(path: str) -> object:
    """Return what ``module:name`` or ``module:Class.method`` names."""
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    for each in name.split("."):
        found = getattr(found, each)
    return found


def bodies(kind: str) -> list[dict]:
    """Return bodies of a type, of a method's parameters or of what it returns."""
    specimens = Specimens()
    path, _, wrapped = kind.partition(" in ")
    path, returned = path.removesuffix("()"), path.endswith("()")
    found = named(path)
    if not callable(found) or isinstance(found, type) or typing.get_origin(found):
        made = specimens.all(found)
    elif returned:
        made = specimens.all(typing.get_type_hints(found)["return"])
    else:
        made = of_parameters(found, specimens)
    return [{wrapped: [each]} for each in made] if wrapped else made


def of_parameters(method: Callable, specimens: Specimens) -> list[dict]:
    columns = {
        name: values
        for name, of in typing.get_type_hints(method).items()
        if name not in ("return", "request_options") and (values := specimens.all(of, name))
    }
    return [
        {name: values[row % len(values)] for name, values in columns.items()}
        for row in range(max(map(len, columns.values())))
    ]


def asked(host: str, path: str, body: dict) -> Exchange:
    head = RequestHead("POST", host, path, JSON)
    raw = orjson.dumps(body)
    wire = providers.recognise(head, raw)
    assert wire is not None
    return providers.parse_request(wire, head, raw)


REQUESTS = [
    (OPENAI, "/v1/responses", "openai.types.responses.response_create_params:"
     "ResponseCreateParamsNonStreaming"),
    (OPENAI, "/v1/chat/completions", "openai.types.chat.completion_create_params:"
     "CompletionCreateParamsNonStreaming"),
    (ANTHROPIC, "/v1/messages", "anthropic.types.beta.message_create_params:"
     "MessageCreateParamsNonStreaming"),
    (GOOGLE, GENERATE, "google.genai.types:Content in contents"),
    (GOOGLE, GENERATE, "google.genai.types:Tool in tools"),
    (MISTRAL, "/v1/conversations", "mistralai.client.models:ConversationRequest"),
    (MISTRAL, "/v1/chat/completions", "mistralai.client.models:ChatCompletionRequest"),
    (COHERE, "/v2/chat", "cohere.v2.client:V2Client.chat"),
    (COHERE, "/v1/chat", "cohere.base_client:BaseCohere.chat"),
    (COHERE, "/v2/embed", "cohere.v2.client:V2Client.embed"),
    (COHERE, "/v2/rerank", "cohere.v2.client:V2Client.rerank"),
    ("localhost", "/api/chat", "ollama._types:ChatRequest"),
    ("localhost", "/api/generate", "ollama._types:GenerateRequest"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "path", "kind"), REQUESTS)
def test_a_request_is_read_whole(host: str, path: str, kind: str):
    made = bodies(kind)
    assert sentences(made)
    for body in made:
        found = providers.segments(asked(host, path, body), "request")
        assert sentences(body) <= sentences([each.text for each in found])


ANSWERS = [
    (OPENAI, "/v1/responses", "openai.types.responses:Response"),
    (OPENAI, "/v1/chat/completions", "openai.types.chat:ChatCompletion"),
    (ANTHROPIC, "/v1/messages", "anthropic.types.beta:BetaMessage"),
    (GOOGLE, GENERATE, "google.genai.types:GenerateContentResponse"),
    (MISTRAL, "/v1/conversations", "mistralai.client.models:ConversationResponse"),
    (COHERE, "/v2/chat", "cohere.v2.client:V2Client.chat()"),
    (COHERE, "/v1/chat", "cohere.base_client:BaseCohere.chat()"),
    ("localhost", "/api/chat", "ollama._types:ChatResponse"),
]
ECHOES = ("instructions", "tools", "input", "text", "metadata", "chat_history")
"""What an answer repeats of its request: inspected there."""


@pytest.mark.parametrize(("host", "path", "kind"), ANSWERS)
def test_an_answer_is_read_whole(host: str, path: str, kind: str):
    for body in bodies(kind):
        exchange = asked(host, path, {"model": "m"})
        exchange = providers.parse_response(exchange, ResponseHead(200, JSON), orjson.dumps(body))
        found = providers.segments(exchange, "response")
        kept = {name: value for name, value in body.items() if name not in ECHOES}
        assert sentences(kept) <= sentences([each.text for each in found])


EVENTS = [
    (OPENAI, "/v1/responses", "openai.types.responses:ResponseStreamEvent", "response"),
    (OPENAI, "/v1/chat/completions", "openai.types.chat:ChatCompletionChunk", ""),
    (ANTHROPIC, "/v1/messages", "anthropic.types.beta:BetaRawMessageStreamEvent", ""),
    (GOOGLE, GENERATE, "google.genai.types:GenerateContentResponse", ""),
    (MISTRAL, "/v1/conversations", "mistralai.client.models:ConversationEvents", "data"),
    (MISTRAL, "/v1/chat/completions", "mistralai.client.models:CompletionChunk", ""),
    (COHERE, "/v2/chat", "cohere.v2.types:V2ChatStreamResponse", ""),
    (COHERE, "/v1/chat", "cohere:StreamedChatResponse", "response"),
]


@pytest.mark.parametrize(("host", "path", "kind", "inner"), EVENTS)
def test_an_event_is_read_whole(host: str, path: str, kind: str, inner: str):
    exchange = asked(host, path, {"model": "m", "stream": True})
    for made in bodies(kind):
        body = made["data"] if inner == "data" else made
        stream = providers.open_stream(exchange, ResponseHead(200, SSE))
        deltas = stream.feed(b"data: " + orjson.dumps(body) + b"\n\n") + stream.close()
        assert sentences(without_echoes(body, inner)) <= told(stream.exchange, deltas)


def without_echoes(body: dict, inner: str) -> dict:
    if isinstance(whole := body.get(inner), dict):
        return {**body, inner: {name: whole[name] for name in whole if name not in ECHOES}}
    return body


def told(exchange: Exchange, deltas: list[providers.Delta]) -> set[str]:
    found = {sentence for each in deltas for sentence in sentences(each.text)}
    found |= {one for each in deltas for leaf in each.leaves for one in sentences(leaf.text)}
    parts = [part for message in exchange.output_messages for part in message.parts]
    names = [part.name for part in parts] + [part.call_id for part in parts]
    kept = [exchange.response_id, exchange.response_model, exchange.conversation_id, exchange.error]
    return found | sentences([*names, *kept, *exchange.finish_reasons, *map(text_of, parts)])


def text_of(part: object) -> str:
    return f"{part.text} {part.uri or ''} {part.mime_type or ''}"


# --- Bedrock: shapes of the service's model, not Python types ---------------------------------


@pytest.fixture(scope="module")
def shapes() -> dict:
    folder = Path(botocore.__file__).parent / "data" / "bedrock-runtime"
    (file,) = folder.glob("*/service-2.json*")
    raw = file.read_bytes()
    return json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw)["shapes"]


def of_shape(shapes: dict, name: str, specimens: Specimens, within: tuple = ()) -> Iterator:
    """Yield values of a shape: between them, every member and every alternative."""
    shape, path = shapes[name], name
    kind, within = shape["type"], (*within, name)
    simple = {"integer": 7, "long": 7, "float": 0.5, "double": 0.5, "boolean": True,
              "blob": SIMPLE[bytes], "timestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
    if kind in simple:
        yield simple[kind]
    elif kind == "string":
        yield shape["enum"][0] if "enum" in shape else specimens.sentence(path)
    elif within.count(name) > 2:
        return
    elif kind == "list":
        yield list(of_shape(shapes, shape["member"]["shape"], specimens, within))
    elif kind == "map":
        inner = of_shape(shapes, shape["value"]["shape"], specimens, within)
        yield {f"key_{number}": value for number, value in enumerate(inner)}
    elif shape.get("document"):
        yield {"key": specimens.sentence(path)}
    else:
        columns = {
            key: values
            for key, member in shape.get("members", {}).items()
            if "location" not in member
            and (values := list(of_shape(shapes, member["shape"], specimens, within)))
        }
        if shape.get("union") or shape.get("eventstream"):
            yield from ({key: value} for key, values in columns.items() for value in values)
            return
        for row in range(max(map(len, columns.values()), default=1)):
            yield {key: values[row % len(values)] for key, values in columns.items()}


def test_a_converse_request_is_read_whole(shapes: dict):
    for body in of_shape(shapes, "ConverseRequest", Specimens()):
        found = providers.segments(asked(BEDROCK, CONVERSE, body), "request")
        assert sentences(body) <= sentences([each.text for each in found])


def test_a_converse_answer_is_read_whole(shapes: dict):
    for body in of_shape(shapes, "ConverseResponse", Specimens()):
        exchange = asked(BEDROCK, CONVERSE, {"messages": []})
        exchange = providers.parse_response(exchange, ResponseHead(200, JSON), orjson.dumps(body))
        found = providers.segments(exchange, "response")
        assert sentences(body) <= sentences([each.text for each in found])


def test_a_converse_event_is_read_whole(shapes: dict):
    exchange = asked(BEDROCK, CONVERSE + "-stream", {"messages": []})
    head = ResponseHead(200, {"content-type": "application/vnd.amazon.eventstream"})
    for body in of_shape(shapes, "ConverseStreamOutput", Specimens()):
        ((name, value),) = body.items()
        stream = providers.open_stream(exchange, head)
        deltas = stream.feed(eventstream.event(name, orjson.dumps(value)))
        assert sentences(value) <= told(stream.exchange, deltas)

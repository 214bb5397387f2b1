"""Amazon Bedrock InvokeModel: each model family's own body, behind one path.

The path names the model, the model its family, the family the dialect. A model that no row knows
(an imported one, an inference profile's ARN) is told by the body's shape.
Source: AWS, Bedrock user guide, "Inference request parameters and response fields".
"""

from __future__ import annotations

import base64

import orjson

from milecastle.model import Json
from milecastle.providers import (
    anthropic,
    bedrock_converse,
    cohere,
    eventstream,
    openai_chat,
    unknown,
)
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.fields import dialect
from milecastle.providers.plain import FIELDS
from milecastle.providers.typed import mapping

_PLAIN = {
    name: dialect(FIELDS[name])
    for name in (
        "titan",
        "llama",
        "mistral-text",
        "stability",
        "cohere-generate",
        "cohere-embed",
        "ai21-completion",
        "rerank",
        "openai-embeddings",
        "sagemaker",
    )
}

FAMILIES: tuple[tuple[str, str, Dialect], ...] = (
    ("anthropic.", "messages", anthropic.DIALECT),
    ("anthropic.", "prompt", anthropic.DIALECT),
    ("nova", "messages", bedrock_converse.DIALECT),
    ("amazon.rerank", "query", _PLAIN["rerank"]),
    ("cohere.rerank", "query", _PLAIN["rerank"]),
    ("amazon.", "", _PLAIN["titan"]),
    ("cohere.embed", "", _PLAIN["cohere-embed"]),
    ("cohere.", "prompt", _PLAIN["cohere-generate"]),
    ("cohere.", "", cohere.DIALECT),
    ("ai21.", "messages", openai_chat.DIALECT),
    ("ai21.", "prompt", _PLAIN["ai21-completion"]),
    ("meta.", "prompt", _PLAIN["llama"]),
    ("mistral.", "prompt", _PLAIN["mistral-text"]),
    ("stability.", "", _PLAIN["stability"]),
    ("", "anthropic_version", anthropic.DIALECT),
    ("", "inferenceConfig", bedrock_converse.DIALECT),
    ("", "inputText", _PLAIN["titan"]),
    ("", "messages", openai_chat.DIALECT),
    ("", "prompt", _PLAIN["llama"]),
    ("", "inputs", _PLAIN["sagemaker"]),
)
"""Part of the model's id, a key that the request has, the dialect. The first that fits."""


def family(model: str | None, body: dict[str, Json]) -> Dialect:
    """Return the dialect that a model's request is written in."""
    for part, key, spoken in FAMILIES:
        if part in (model or "") and (not key or key in body):
            return spoken
    return unknown.DIALECT


def request(ask: Ask) -> None:
    """Read the request as its family writes it."""
    family(ask.format.model, ask.body).request(ask)


def answered(model: str | None, body: dict[str, Json]) -> Dialect:
    """Return the dialect of an answer, by the model and by what the answer looks like."""
    for key, spoken in ANSWERS.items():
        if key in body:
            return spoken
    keys = dict.fromkeys(("messages", "prompt") if "generation_id" not in body else ("message",))
    return family(model, keys)


ANSWERS: dict[str, Dialect] = {
    "choices": openai_chat.DIALECT,
    "generations": _PLAIN["cohere-generate"],
    "completions": _PLAIN["ai21-completion"],
    "outputText": _PLAIN["titan"],
    "results": _PLAIN["titan"],
    "generation": _PLAIN["llama"],
    "outputs": _PLAIN["mistral-text"],
    "embedding": _PLAIN["titan"],
    "completion": anthropic.DIALECT,
    "stop_sequence": anthropic.DIALECT,
    "output": bedrock_converse.DIALECT,
    "generated_text": _PLAIN["sagemaker"],
}


def response(answer: Answer, document: Json) -> None:
    """Read a whole answer as its family writes it."""
    body = mapping(document)
    if set(body) <= {"message", "Message", "__type"} and body:
        bedrock_converse.read_error(answer, body)
        return
    if isinstance(document, list):  # a SageMaker endpoint behind Bedrock
        _PLAIN["sagemaker"].response(answer, document)
        return
    spoken = answered(answer.base.request_model, body)
    spoken.response(answer, document)


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one chunk as its family writes it."""
    body = mapping(value)
    if name != eventstream.WRAPPED and name.lower().endswith(("exception", "error")):
        bedrock_converse.event(answer, name, value)
        return
    if "type" in body and "choices" not in body:
        anthropic.event(answer, name, value)
    elif body.keys() & bedrock_converse.EVENTS:
        bedrock_converse.event(answer, name, value)
    else:
        answered(answer.base.request_model, body).event(answer, name, value)
    if (metrics := body.get("amazon-bedrock-invocationMetrics")) is not None:
        answer.report(metrics)


def closing(answer: Answer, reason: str) -> bytes:
    """Return the family's ends, each in a chunk of its own."""
    spoken = family(answer.base.request_model, {"messages": None, "prompt": None})
    if spoken is anthropic.DIALECT:
        told = anthropic.closing(answer, reason)
        documents = [line[6:] for line in told.split(b"\n") if line.startswith(b"data: ")]
    elif spoken is bedrock_converse.DIALECT:
        delta: Json = {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": reason}}}
        documents = [
            orjson.dumps(delta),
            orjson.dumps({"messageStop": {"stopReason": "content_filtered"}}),
        ]
    else:
        field = {"titan": "outputText", "llama": "generation"}
        key = next((field[name] for name in field if spoken is _PLAIN[name]), "outputText")
        documents = [orjson.dumps({key: reason, "stop_reason": "content_filtered"})]
    return b"".join(
        eventstream.event(
            eventstream.WRAPPED, orjson.dumps({"bytes": base64.b64encode(each).decode()})
        )
        for each in documents
    )


DIALECT = Dialect(request, response, event, "aws", closing)

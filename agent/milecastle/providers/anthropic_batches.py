"""Anthropic Message Batches: many Messages requests in one body, and their results as lines.

Source: docs.anthropic.com, Message Batches.
"""

from __future__ import annotations

from milecastle.model import Json
from milecastle.providers import anthropic
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.typed import items, mapping


def request(ask: Ask) -> None:
    """Read every request of the batch."""
    for index, each in enumerate(items(ask.body.get("requests"))):
        params = mapping(mapping(each).get("params"))
        anthropic.read_body(ask, params, f"/requests/{index}/params")
        model = params.get("model")
        ask.model = ask.model or (model if isinstance(model, str) else None)


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one line of the results: a message of its own."""
    result = mapping(mapping(value).get("result"))
    answer.begin_turn()
    anthropic.read_message(answer, mapping(result.get("message")), "/result/message")
    if result.get("type") == "errored":
        anthropic.read_error(answer, mapping(result.get("error")).get("error"))


DIALECT = Dialect(request, anthropic.response, event, "anthropic")

"""Formats that are a few named fields: a prompt goes in, a text comes out.

Most services that are no conversation (completions, embeddings, images, ranking, speech) need no
code of their own: a row says which fields hold what is said to the model, and which hold what it
answered. The table of rows is in ``plain``.
"""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.model import Json, Part
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.blocks import read_block
from milecastle.providers.dialect import Dialect, ErrorShape
from milecastle.providers.leaves import leaves
from milecastle.providers.media import blob
from milecastle.providers.openai_chat import read_error, read_messages, read_tools
from milecastle.providers.parts import link
from milecastle.providers.select import Picked, pick
from milecastle.providers.typed import mapping, word


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a format keeps what. Every path is one of ``select.pick``."""

    asks: tuple[str, ...]
    """What the user says: strings, lists of strings, content blocks, or objects of strings."""
    answers: tuple[str, ...] = ()
    """What the model answers, in a whole answer."""
    grows: tuple[str, ...] = ()
    """What an event of a stream adds."""
    repeats: tuple[str, ...] = ()
    """Texts of an event that were told before."""
    system: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    """Lists of chat messages."""
    media: tuple[str, ...] = ()
    """Base64 or links, in requests and answers."""
    models: tuple[str, ...] = ("model", "model_id", "modelId", "model_name", "model_slug")
    parameters: tuple[str, ...] = ("",)
    usages: tuple[str, ...] = ("usage",)
    reasons: tuple[str, ...] = ()
    ids: tuple[str, ...] = ("id", "response_id", "generation_id")
    conversations: tuple[str, ...] = ()
    error: ErrorShape = "message"
    tools: bool = False
    """It takes ``tools`` like Chat Completions."""
    errors: tuple[str, ...] = ("error",)


def dialect(fields: Fields) -> Dialect:
    """Return the dialect that the fields describe."""

    def request(ask: Ask) -> None:
        read_request(ask, fields)

    def response(answer: Answer, document: Json) -> None:
        read_response(answer, document, fields)

    def event(answer: Answer, name: str, value: Json) -> None:
        read_event(answer, value, fields)

    return Dialect(request, response, event, fields.error)


def read_request(ask: Ask, fields: Fields) -> None:
    """Fill in what the fields hold."""
    document = ask.document
    for path in fields.parameters:
        for picked in pick(document, path):
            ask.take_parameters(picked.value)
    ask.model = _word(document, fields.models) or ask.model
    ask.conversation = _word(document, fields.conversations)
    for path in fields.system:
        for picked in pick(document, path):
            ask.system += said(picked.value, picked.place)
    for path in fields.messages:
        for picked in pick(document, path):
            read_messages(ask, picked.value, picked.place)
    if fields.tools:
        read_tools(ask, ask.body)
    for path in fields.asks:
        for picked in pick(document, path):
            ask.say("user", said(picked.value, picked.place))
    for path in fields.media:
        for picked in pick(document, path):
            ask.say("user", _media(picked))


def said(value: Json, place: str) -> list[Part]:
    """Return what a field says: a string, several, blocks, or an object of strings."""
    if isinstance(value, str):
        return [Part("text", value, place)] if value else []
    if isinstance(value, list):
        return [part for index, each in enumerate(value) for part in said(each, f"{place}/{index}")]
    if isinstance(value, dict):
        return read_block(value, place) or [
            Part("text", leaf.text, leaf.place) for leaf in leaves(value, place)
        ]
    return []


def read_response(answer: Answer, document: Json, fields: Fields) -> None:
    """Take a whole answer."""
    _head(answer, document, fields)
    for path in fields.answers:
        for picked in pick(document, path):
            for part in said(picked.value, picked.place):
                answer.put(part.place, part, choice=picked.index)
    for path in fields.media:
        for picked in pick(document, path):
            for part in _media(picked):
                answer.put(part.place, part, choice=picked.index)
    _reasons(answer, document, fields)
    if not answer.messages:
        answer.claimed.update(
            picked.place for path in fields.asks for picked in pick(document, path)
        )  # what it repeats of the request
    answer.leave_over(document)


def read_event(answer: Answer, value: Json, fields: Fields) -> None:
    """Take one event."""
    _head(answer, value, fields)
    for path in fields.grows:
        for picked in pick(value, path):
            if isinstance(picked.value, str):
                part = answer.open(path, "text", "/" + path, choice=picked.index)
                answer.grow(part, picked.value, picked.place)
    for path in fields.repeats:
        for picked in pick(value, path):
            for told in said(picked.value, picked.place):
                answer.repeat(told.kind, told.text, told.place)
    _reasons(answer, value, fields)


def _head(answer: Answer, document: Json, fields: Fields) -> None:
    body = mapping(document)
    answer.model = _word(document, fields.models) or answer.model
    answer.response_id = _word(document, fields.ids) or answer.response_id
    for path in fields.usages:
        for picked in pick(document, path):
            answer.report(picked.value)
    for key in fields.errors:
        if (error := body.get(key)) is not None:
            read_error(answer, error)


def _reasons(answer: Answer, document: Json, fields: Fields) -> None:
    for path in fields.reasons:
        for picked in pick(document, path):
            answer.finish(picked.value, picked.index)


def _word(document: Json, paths: tuple[str, ...]) -> str | None:
    for path in paths:
        for picked in pick(document, path):
            if (found := word(picked.value)) is not None:
                return found
    return None


def _media(picked: Picked) -> list[Part]:
    value, place = picked.value, picked.place
    if isinstance(value, list):
        return [
            part
            for index, each in enumerate(value)
            for part in _media(Picked(each, f"{place}/{index}"))
        ]
    if isinstance(value, dict):
        return read_block(value, place)
    if not isinstance(value, str) or not value:
        return []
    return [link(value, place) if value[:5] in ("http:", "https", "data:") else blob(value, place)]

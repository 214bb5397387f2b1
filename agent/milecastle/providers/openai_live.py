"""OpenAI Live: a spoken session over a WebSocket, its tools and answers by Responses inside of it.

Source: OpenAI's API reference, Live client and server events; the types of openai 3.54.
"""

from __future__ import annotations

from milecastle.model import Json, Message, Part, Role, Usage
from milecastle.providers import openai_responses, usage
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.media import blob
from milecastle.providers.openai_chat import read_error
from milecastle.providers.openai_items import read_item, speaker
from milecastle.providers.typed import items, mapping, string, word

APPENDS: dict[str, Role] = {
    "session.instructions.append": "system",
    "session.thinking.append": "user",
    "session.commentary.append": "user",
}
"""Events by which the client's own model or program tells the speaking one something."""


def request(ask: Ask) -> None:
    """Read one event of the client."""
    body = ask.body
    kind = string(body.get("type"))
    if kind in APPENDS:
        if text := string(body.get("content")):
            ask.say(APPENDS[kind], [Part("text", text, "/content")])
    elif kind == "session.input_audio.append":
        if data := string(body.get("audio")):
            ask.say("user", [blob(data, "/audio", mime_type="audio/pcm")])
    elif kind == "response.item.create":
        item = mapping(body.get("item"))
        ask.say(speaker(item), read_item(item, "/item"))
    else:  # session.start, session.update, POST /v1/live/sessions
        _settings(ask, mapping(body.get("session")), "/session")


def _settings(ask: Ask, session: dict[str, Json], place: str) -> None:
    ask.take_parameters(session)
    ask.model = word(session.get("model")) or ask.model
    openai_responses.read_input(ask, session.get("input"), f"{place}/input")
    inner = mapping(mapping(session.get("delegation")).get("responses"))
    for body, here in ((session, place), (inner, f"{place}/delegation/responses")):
        openai_responses.read_instructions(ask, body.get("instructions"), f"{here}/instructions")
        for index, tool in enumerate(items(body.get("tools"))):
            ask.offer(tool, f"{here}/tools/{index}")


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event of the server."""
    body = mapping(value)
    kind = string(body.get("type")) or name
    if kind in ("session.started", "session.updated"):
        session = mapping(body.get("session"))
        answer.model = word(session.get("model")) or answer.model
        answer.conversation = answer.conversation or word(session.get("id"))
        answer.claimed.add("/session")  # repeats what the client asked for
    elif kind == "session.output_transcript.delta":
        spoken = answer.open("spoken", "text", "/transcript")
        answer.grow(spoken, string(body.get("delta")), "/delta")
    elif kind == "session.input_transcript.delta":
        if text := string(body.get("delta")):
            answer.heard.append(Message("user", (Part("text", text, "/delta"),)))
            answer.repeat("text", text, "/delta")
    elif kind == "response.event":
        _inside(answer, body.get("event"))
    elif kind == "session.usage.updated":
        answer.usage = usage.read(body.get("usage"), answer.usage)
    elif kind == "session.closed":
        answer.finish("closed", answer.turn)
    elif kind == "error":
        read_error(answer, body.get("error"))


def _inside(answer: Answer, value: Json) -> None:
    """Take an event of Responses that stands in one of the session."""
    outside, answer.prefix = answer.prefix, answer.prefix + "/event"
    before, answer.usage = answer.usage, Usage()
    openai_responses.event(answer, "", value)
    answer.usage = usage.sum_of(before, answer.usage)
    answer.prefix = outside
    answer.ended = False
    answer.seen = {f"/event{place}" for place in answer.seen}


DIALECT = Dialect(request, openai_responses.response, event, "openai", socket=True)

"""OpenAI Realtime: JSON events over a WebSocket, many turns in one connection.

Source: OpenAI's API reference, Realtime client events and server events. Codex speaks the Responses
API in the same way, so its ``response.create`` is read here too.
"""

from __future__ import annotations

from milecastle.model import Json, Message, Part, Usage
from milecastle.providers import openai_responses, usage
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.media import blob
from milecastle.providers.openai_items import read_item, speaker
from milecastle.providers.typed import mapping, string, word


def request(ask: Ask) -> None:
    """Read one event of the client."""
    body = ask.body
    kind = string(body.get("type"))
    if kind == "session.update":
        _settings(ask, mapping(body.get("session")), "/session")
    elif kind == "response.create":
        _settings(ask, mapping(body.get("response")), "/response")
        _settings(ask, body, "")
    elif kind == "conversation.item.create":
        item = mapping(body.get("item"))
        ask.say(speaker(item), read_item(item, "/item"))
    elif kind == "input_audio_buffer.append":
        if data := string(body.get("audio")):
            ask.say("user", [blob(data, "/audio", mime_type="audio/pcm")])
    else:  # POST /v1/realtime/sessions, client_secrets
        _settings(ask, body, "")
        _settings(ask, mapping(body.get("session")), "/session")


def _settings(ask: Ask, body: dict[str, Json], place: str) -> None:
    """Read what sets up a session or asks for a response."""
    ask.take_parameters(body)
    ask.model = word(body.get("model")) or ask.model
    ask.conversation = word(body.get("previous_response_id")) or ask.conversation
    openai_responses.read_instructions(ask, body.get("instructions"), f"{place}/instructions")
    openai_responses.read_input(ask, body.get("input"), f"{place}/input")
    tools = body.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        ask.offer(tool, f"{place}/tools/{index}")
    heard = mapping(mapping(mapping(body.get("audio")).get("input")).get("transcription"))
    heard = heard or mapping(body.get("input_audio_transcription"))
    if prompt := string(heard.get("prompt")):
        ask.say("system", [Part("text", prompt, f"{place}/audio/input/transcription/prompt")])


HEARD = "conversation.item.input_audio_transcription.completed"
"""What the person said, as the service heard it."""


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one event of the server."""
    body = mapping(value)
    kind = string(body.get("type")) or name
    if kind in ("session.created", "session.updated"):
        session = mapping(body.get("session"))
        answer.model = word(session.get("model")) or answer.model
        answer.conversation = answer.conversation or word(session.get("id"))
        answer.claimed.add("/session")  # repeats what the client asked for
    elif kind == HEARD:
        if text := string(body.get("transcript")):
            answer.heard.append(Message("user", (Part("text", text, "/transcript"),)))
            answer.repeat("text", text, "/transcript")
    elif kind == "response.created":
        answer.begin_turn()
        openai_responses.event(answer, name, value)
    elif kind in openai_responses.TERMINAL:
        before, answer.usage = answer.usage, Usage()
        openai_responses.event(answer, name, value)
        answer.usage = usage.sum_of(before, answer.usage)
        answer.ended = False
    elif kind in ECHOES:
        answer.claimed.add("/item")
    else:
        openai_responses.event(answer, name, value)


ECHOES = frozenset(
    {
        "conversation.created",
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.deleted",
        "conversation.item.truncated",
        "input_audio_buffer.cleared",
        "input_audio_buffer.committed",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.timeout_triggered",
        "rate_limits.updated",
    }
)
"""Events that repeat what the client sent, or hold no text."""


DIALECT = Dialect(
    request, openai_responses.response, event, "openai", openai_responses.closing, socket=True
)

"""Gemini Live (BidiGenerateContent): JSON messages over a WebSocket.

Source: ai.google.dev/api/live.
"""

from __future__ import annotations

from milecastle.model import Json, Message, Part, Usage
from milecastle.providers import gemini, usage
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.media import blob
from milecastle.providers.typed import first, items, mapping, string, word


def request(ask: Ask) -> None:
    """Read one message of the client."""
    body = ask.body
    for key in ("setup", "bidiGenerateContentSetup"):
        setup = mapping(body.get(key))
        if setup:
            ask.model = word(setup.get("model"))
            gemini.read_body(ask, setup, f"/{key}")
    for key in ("clientContent", "client_content"):
        for index, turn in enumerate(items(mapping(body.get(key)).get("turns"))):
            gemini.read_content(ask, turn, f"/{key}/turns/{index}")
    for key in ("realtimeInput", "realtime_input"):
        _input(ask, mapping(body.get(key)), f"/{key}")
    for key in ("toolResponse", "tool_response"):
        told = mapping(body.get(key))
        for name in ("functionResponses", "function_responses"):
            for index, each in enumerate(items(told.get(name))):
                reader = gemini.READERS["functionResponse"]
                ask.say("tool", reader(mapping(each), f"/{key}/{name}/{index}"))


def _input(ask: Ask, told: dict[str, Json], place: str) -> None:
    if text := string(told.get("text")):
        ask.say("user", [Part("text", text, f"{place}/text")])
    for key in ("audio", "video"):
        medium = mapping(told.get(key))
        if data := string(medium.get("data")):
            mime_type = word(first(medium, "mimeType", "mime_type"))
            ask.say("user", [blob(data, f"{place}/{key}/data", mime_type=mime_type)])
    for key in ("mediaChunks", "media_chunks"):
        for index, chunk in enumerate(items(told.get(key))):
            medium = mapping(chunk)
            if data := string(medium.get("data")):
                mime_type = word(first(medium, "mimeType", "mime_type"))
                here = f"{place}/{key}/{index}/data"
                ask.say("user", [blob(data, here, mime_type=mime_type)])


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one message of the server."""
    body = mapping(value)
    if (used := first(body, "usageMetadata", "usage_metadata")) is not None:
        answer.usage = usage.sum_of(answer.usage, usage.read(used, Usage()))
    content = mapping(first(body, "serverContent", "server_content"))
    place = "/serverContent" if "serverContent" in body else "/server_content"
    for key in ("modelTurn", "model_turn"):
        for part in gemini.content_parts(mapping(content.get(key)), f"{place}/{key}"):
            gemini.take_part(answer, part, answer.turn)
    for key in ("outputTranscription", "output_transcription"):
        if text := string(mapping(content.get(key)).get("text")):
            spoken = answer.open("spoken", "text", f"{place}/{key}/text")
            answer.grow(spoken, text, f"{place}/{key}/text")
    for key in ("inputTranscription", "input_transcription"):
        if text := string(mapping(content.get(key)).get("text")):
            answer.heard.append(Message("user", (Part("text", text, f"{place}/{key}/text"),)))
            answer.repeat("text", text, f"{place}/{key}/text")
    for key in ("toolCall", "tool_call"):
        told = mapping(body.get(key))
        for calls in ("functionCalls", "function_calls"):
            for index, each in enumerate(items(told.get(calls))):
                reader = gemini.READERS["functionCall"]
                for part in reader(mapping(each), f"/{key}/{calls}/{index}"):
                    gemini.take_part(answer, part, answer.turn)
    answer.tell_rest(content.get("groundingMetadata"), f"{place}/groundingMetadata")
    if first(content, "turnComplete", "turn_complete"):
        answer.finish("STOP", answer.turn)
        answer.begin_turn()


DIALECT = Dialect(request, gemini.response, event, "google", socket=True)

"""Gemini and Vertex AI: generateContent, its stream, embeddings, caches; Code Assist's wrapping.

Source: ai.google.dev/api, cloud.google.com/vertex-ai/generative-ai/docs/model-reference. Google's
servers take every field in camelCase and in snake_case, so both are read.
"""

from __future__ import annotations

import orjson

from milecastle.model import Json, Part
from milecastle.providers import gemini_calls
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.leaves import leaves
from milecastle.providers.media import blob
from milecastle.providers.openai_chat import read_error
from milecastle.providers.parts import call, link, rendered, role
from milecastle.providers.typed import first, items, mapping, string, word


def request(ask: Ask) -> None:
    """Read contents, system instruction, tools and configuration."""
    body, place = ask.body, ""
    if isinstance(inner := body.get("request"), dict):  # Code Assist
        ask.model = word(body.get("model"))
        ask.conversation = word(first(inner, "session_id", "sessionId"))
        body, place = inner, "/request"
    read_body(ask, body, place)
    inner = first(body, "generateContentRequest", "generate_content_request")
    if isinstance(inner, dict):  # countTokens
        key = (
            "generateContentRequest"
            if "generateContentRequest" in body
            else ("generate_content_request")
        )
        read_body(ask, inner, f"{place}/{key}")
    for index, each in enumerate(items(body.get("requests"))):  # batchEmbedContents
        read_content(ask, mapping(each).get("content"), f"{place}/requests/{index}/content")
    read_content(ask, body.get("content"), f"{place}/content")
    for index, each in enumerate(items(body.get("instances"))):  # Vertex :predict
        for leaf in leaves(each, f"{place}/instances/{index}"):
            ask.say("user", [Part("text", leaf.text, leaf.place)])


def read_body(ask: Ask, body: dict[str, Json], place: str) -> None:
    """Read one generateContent request that stands at ``place``."""
    for key in ("systemInstruction", "system_instruction"):
        value = body.get(key)
        if isinstance(value, str):
            ask.system.append(Part("text", value, f"{place}/{key}"))
        elif value is not None:
            ask.system += content_parts(mapping(value), f"{place}/{key}")
    contents = body.get("contents")
    if isinstance(contents, (str, dict)):
        read_content(ask, contents, f"{place}/contents")
    for index, content in enumerate(items(contents)):
        read_content(ask, content, f"{place}/contents/{index}")
    for index, tool in enumerate(items(body.get("tools"))):
        read_tool(ask, mapping(tool), f"{place}/tools/{index}")
    for key in ("generationConfig", "generation_config"):
        config = mapping(body.get(key))
        ask.take_parameters({_camel(name): value for name, value in config.items()})
        for name in SCHEMAS:
            if isinstance(config.get(name), dict):
                schema: Json = {"name": "response", "schema": config[name]}
                here = f"{place}/{key}/{name}"
                ask.offer(config[name], here, schema, "response_format")


SCHEMAS = (
    "responseSchema",
    "response_schema",
    "responseJsonSchema",
    "response_json_schema",
    "_responseJsonSchema",
)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(each.title() for each in rest)


def read_content(ask: Ask, content: Json, place: str) -> None:
    """Read one content: a role and its parts, or bare text."""
    if isinstance(content, str):
        ask.say("user", [Part("text", content, place)] if content else [])
    elif isinstance(content, dict):
        ask.say(role(content.get("role")), content_parts(content, place))


def content_parts(content: dict[str, Json], place: str) -> list[Part]:
    """Return the parts of a content."""
    parts = content.get("parts")
    if isinstance(parts, dict):
        return part_of(parts, f"{place}/parts")
    found: list[Part] = []
    for index, each in enumerate(items(parts)):
        here = f"{place}/parts/{index}"
        found += (
            [Part("text", each, here)] if isinstance(each, str) else part_of(mapping(each), here)
        )
    return found


def part_of(part: dict[str, Json], place: str) -> list[Part]:
    """Return the part of one entry of ``parts``."""
    found: list[Part] = []
    if isinstance(text := part.get("text"), str) and text:
        kind = "reasoning" if part.get("thought") is True else "text"
        found.append(Part("reasoning" if kind == "reasoning" else "text", text, f"{place}/text"))
    for key, value in part.items():
        reader = READERS.get(key)
        if reader is not None and isinstance(value, dict):
            found += reader(value, f"{place}/{key}")
    return found


def _function_call(value: dict[str, Json], place: str) -> list[Part]:
    if gemini_calls.is_partial(value) or not value:  # taken as a piece; an empty one is the end
        return []
    name, identifier = word(value.get("name")), word(value.get("id"))
    return [call(value.get("args"), f"{place}/args", name=name, call_id=identifier)]


def _function_response(value: dict[str, Json], place: str) -> list[Part]:
    name, identifier = word(value.get("name")), word(value.get("id"))
    told, here = value.get("response"), f"{place}/response"
    text = told if isinstance(told, str) else "" if told is None else rendered(told)
    found = () if isinstance(told, str) else leaves(told, here)
    answer = Part("tool_call_response", text, here, name, identifier, found)
    media = [
        each
        for index, inner in enumerate(items(value.get("parts")))
        for each in part_of(mapping(inner), f"{place}/parts/{index}")
    ]
    return [answer, *media]


def _inline(value: dict[str, Json], place: str) -> list[Part]:
    mime_type = word(first(value, "mimeType", "mime_type"))
    name = word(first(value, "displayName", "display_name"))
    data = string(value.get("data"))
    return [blob(data, f"{place}/data", mime_type=mime_type, name=name)] if data else []


def _file(value: dict[str, Json], place: str) -> list[Part]:
    key = "fileUri" if "fileUri" in value else "file_uri"
    mime_type = word(first(value, "mimeType", "mime_type"))
    url = string(value.get(key))
    return [link(url, f"{place}/{key}", mime_type=mime_type)] if url else []


def _code(value: dict[str, Json], place: str) -> list[Part]:
    return [call(value.get("code"), f"{place}/code", name="code_execution")]


def _code_result(value: dict[str, Json], place: str) -> list[Part]:
    text = string(value.get("output"))
    return [Part("tool_call_response", text, f"{place}/output", "code_execution")]


def _transcription(value: dict[str, Json], place: str) -> list[Part]:
    text = string(value.get("text"))
    return [Part("text", text, f"{place}/text")] if text else []


READERS = {
    "functionCall": _function_call,
    "function_call": _function_call,
    "toolCall": _function_call,
    "functionResponse": _function_response,
    "function_response": _function_response,
    "toolResponse": _function_response,
    "inlineData": _inline,
    "inline_data": _inline,
    "fileData": _file,
    "file_data": _file,
    "executableCode": _code,
    "executable_code": _code,
    "audioTranscription": _transcription,
    "codeExecutionResult": _code_result,
    "code_execution_result": _code_result,
}
"""Field of a part -> how it is read."""


def read_tool(ask: Ask, tool: dict[str, Json], place: str) -> None:
    """Read function declarations, and Google's own tools by their name."""
    for key, value in tool.items():
        here = f"{place}/{key}"
        if key in ("functionDeclarations", "function_declarations"):
            for index, function in enumerate(items(value)):
                inner = mapping(function)
                schema = first(inner, *DECLARED)
                shown: Json = {**inner, "parameters": schema} if schema is not None else inner
                ask.offer(function, f"{here}/{index}", shown, "function")
        else:
            ask.offer(value, here, {"name": key}, key)


DECLARED = ("parameters", "parametersJsonSchema", "parameters_json_schema")


# --- answers -----------------------------------------------------------------------------------


def response(answer: Answer, document: Json) -> None:
    """Read a whole answer, or a stream that was sent as one array."""
    if isinstance(document, list):
        for each in document:
            event(answer, "", each)
        return
    body, place = _unwrapped(mapping(document))
    _head(answer, body)
    for position, candidate in enumerate(items(body.get("candidates"))):
        told = mapping(candidate)
        index = _index(told, position)
        content = mapping(told.get("content"))
        here = f"{place}/candidates/{position}/content"
        for number, part in enumerate(content_parts(content, here)):
            answer.put(number, part, choice=index)
        answer.finish(first(told, "finishReason", "finish_reason"), index)
    answer.leave_over(document)


def _unwrapped(body: dict[str, Json]) -> tuple[dict[str, Json], str]:
    inner = body.get("response")
    return (inner, "/response") if isinstance(inner, dict) else (body, "")


def _index(candidate: dict[str, Json], position: int) -> int:
    index = candidate.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else position


def _head(answer: Answer, body: dict[str, Json]) -> None:
    answer.model = word(first(body, "modelVersion", "model_version")) or answer.model
    answer.response_id = word(first(body, "responseId", "response_id")) or answer.response_id
    if (used := first(body, "usageMetadata", "usage_metadata")) is not None:
        answer.report(used)
    if "totalTokens" in body and "candidates" not in body:
        answer.report({"promptTokenCount": body["totalTokens"]})  # countTokens
    blocked = mapping(first(body, "promptFeedback", "prompt_feedback"))
    if reason := word(first(blocked, "blockReason", "block_reason")):
        answer.finish(reason)
    if (error := body.get("error")) is not None:
        told = mapping(error)
        if word(told.get("status")):
            answer.fail(told.get("status"), told.get("message"))
        else:
            read_error(answer, error)


def event(answer: Answer, name: str, value: Json) -> None:
    """Take one chunk; texts of one kind that follow one another are one part."""
    body, place = _unwrapped(mapping(value))
    _head(answer, body)
    for position, candidate in enumerate(items(body.get("candidates"))):
        told = mapping(candidate)
        index = _index(told, position)
        here = f"{place}/candidates/{position}"
        content = mapping(told.get("content"))
        for number, each in enumerate(items(content.get("parts"))):
            called = mapping(first(mapping(each), "functionCall", "function_call"))
            if gemini_calls.is_partial(called):
                key = "functionCall" if "functionCall" in mapping(each) else "function_call"
                inner = f"{here}/content/parts/{number}/{key}"
                gemini_calls.take(answer, called, index, inner)
        for part in content_parts(content, f"{here}/content"):
            take_part(answer, part, index)
        answer.finish(first(told, "finishReason", "finish_reason"), index)
        for key in ("groundingMetadata", "citationMetadata", "urlContextMetadata"):
            answer.tell_rest(told.get(key), f"{here}/{key}")


def take_part(answer: Answer, part: Part, index: int = 0) -> None:
    """Let the last part grow by a text of its kind, or begin another."""
    known = answer.message(index).parts
    last = next(reversed(known.values()), None)
    if part.kind in ("text", "reasoning"):
        if last is None or last.kind != part.kind or last.finished is not None:
            number = len(known)
            final = f"/candidates/{index}/content/parts/{number}/text"
            last = answer.open(number, part.kind, final, choice=index)
        answer.grow(last, part.text, part.place)
    else:
        answer.put(len(known), part, choice=index)


def closing(answer: Answer, reason: str) -> bytes:
    """Return a last chunk with the reason, ended for safety."""
    content: Json = {"role": "model", "parts": [{"text": reason}] if reason else []}
    candidate: Json = {"content": content, "finishReason": "SAFETY", "index": 0}
    chunk = orjson.dumps({"candidates": [candidate], "modelVersion": answer.model or ""})
    if answer.notes.get("framing") == "array":
        return b",\r\n" + chunk + b"]"
    return b"data: " + chunk + b"\r\n\r\n"


DIALECT = Dialect(request, response, event, "google", closing)

"""Content blocks: the pieces that a message's ``content`` list is made of.

OpenAI, Anthropic, Mistral, Cohere, Bedrock and the hosts that imitate them each have their own
blocks, told apart by ``type`` or by their one key. Gateways accept one another's, so there is one
table for all. A block of no known kind claims nothing: its strings are found as unclaimed text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from milecastle.model import Json, Leaf, Part, PartKind
from milecastle.providers.leaves import is_structural, label, leaves, text_leaves
from milecastle.providers.media import blob, decoded
from milecastle.providers.parts import call, link, rendered
from milecastle.providers.typed import first, items, mapping, string, word

MOST_LEAVES = 2_000
"""A result in JSON with more strings than this is read as one text."""

type Block = dict[str, Json]
type Reader = Callable[[Block, str], list[Part]]


def read_content(content: Json, place: str, kind: PartKind = "text") -> list[Part]:
    """Return the parts of a message's content: a string, or a list of blocks and strings."""
    if isinstance(content, str):
        return [Part(kind, content, place)] if content else []
    if isinstance(content, dict):
        return read_block(content, place)
    parts: list[Part] = []
    for index, block in enumerate(items(content)):
        here = f"{place}/{index}"
        if isinstance(block, str):
            parts.append(Part(kind, block, here))
        elif isinstance(block, dict):
            parts += read_block(block, here)
    return parts


def read_block(block: Block, place: str) -> list[Part]:
    """Return the parts of one block; none where nobody knows it."""
    kind = block.get("type")
    if isinstance(kind, str):
        reader = BY_TYPE.get(kind)
        if reader is None:
            reader = _call_of if kind.endswith("_tool_use") else None
            reader = _result_of if kind.endswith("_tool_result") else reader
        if reader is not None:
            return reader(block, place)
    for key, reader in BY_KEY.items():
        if key in block:
            return reader(block, place)
    return []


def read_result(
    value: Json, place: str, *, name: str | None = None, call_id: str | None = None
) -> list[Part]:
    """Return what a tool answered: one response part, and a part for each medium in it."""
    if isinstance(value, str):
        # many tools answer in JSON, where escapes would hide what stands at a line's beginning
        inner = text_leaves(value, place)
        inner = inner if len(inner) <= MOST_LEAVES else ()
        return [Part("tool_call_response", value, place, name, call_id, inner)]
    if not isinstance(value, list):
        text = "" if value is None else rendered(value)
        found = leaves(value, place)
        if isinstance(value, dict) and "type" in value:  # a provider's own block, not a tool's text
            found = tuple(each for each in found if not is_structural(label(each.place), each.text))
        return [Part("tool_call_response", text, place, name, call_id, found)]
    texts: list[Leaf] = []
    media: list[Part] = []
    for part in _blocks_of_result(value, place):
        if part.kind == "text" or (part.kind == "tool_call_response" and not part.leaves):
            texts.append(Leaf(part.place, part.text))
        elif part.leaves:
            texts += part.leaves
        else:
            media.append(part)
    if len(texts) == 1:
        answer = Part("tool_call_response", texts[0].text, texts[0].place, name, call_id)
    else:
        text = "\n".join(leaf.text for leaf in texts)
        answer = Part("tool_call_response", text, "", name, call_id, tuple(texts))
    return [answer, *media]


def _blocks_of_result(value: list[Json], place: str) -> list[Part]:
    """Return the parts of a result's blocks; a block that nobody knows as its strings."""
    parts: list[Part] = []
    for index, block in enumerate(value):
        here = f"{place}/{index}"
        if isinstance(block, str):
            parts.append(Part("text", block, here))
            continue
        read = read_block(mapping(block), here)
        if not read:
            found = (
                each
                for each in leaves(block, here)
                if not is_structural(label(each.place), each.text)
            )
            read = [Part("text", each.text, each.place) for each in found]
        parts += read
    return parts


def _text(key: str, kind: PartKind = "text") -> Reader:
    def read(block: Block, place: str) -> list[Part]:
        value, here = block.get(key), f"{place}/{key}"
        if isinstance(value, dict):  # Assistants: {"text": {"value": ...}}
            value, here = value.get("value"), f"{here}/value"
        return [Part(kind, value, here)] if isinstance(value, str) and value else []

    return read


def _thinking(block: Block, place: str) -> list[Part]:
    parts = read_content(block.get("thinking"), f"{place}/thinking")
    return [Part("reasoning", part.text, part.place) for part in parts]


def _url(key: str) -> Reader:
    """Read ``{key: url}`` or ``{key: {url: ...}}``."""

    def read(block: Block, place: str) -> list[Part]:
        value, here = block.get(key), f"{place}/{key}"
        if isinstance(value, dict):
            value, here = value.get("url"), f"{here}/url"
        return [link(value, here)] if isinstance(value, str) and value else []

    return read


def _file(block: Block, place: str) -> list[Part]:
    """Read a file: its data, URL or id, bare or under ``file`` (OpenAI, A2A)."""
    inner = block.get("file")
    if isinstance(inner, dict):
        block, place = inner, f"{place}/file"
    name = word(first(block, "filename", "file_name", "fileName"))
    mime_type = word(first(block, "mimeType", "mime_type"))
    for key in ("file_data", "bytes"):
        if isinstance(data := block.get(key), str) and data:
            return [blob(data, f"{place}/{key}", name=name, mime_type=mime_type)]
    for key in ("file_url", "uri"):
        if isinstance(url := block.get(key), str) and url:
            return [link(url, f"{place}/{key}", name=name, mime_type=mime_type)]
    identifier = word(first(block, "file_id", "id"))
    return [Part("file", "", f"{place}/file_id", name, uri=identifier)] if identifier else []


def _audio(block: Block, place: str) -> list[Part]:
    for key in ("input_audio", "audio", "audio_url"):
        inner, here = block.get(key), f"{place}/{key}"
        if isinstance(inner, str) and inner:
            return [blob(inner, here, mime_type="audio") if decoded(inner) else link(inner, here)]
        if isinstance(inner, dict):
            parts = _transcript(inner, here)
            if data := string(inner.get("data")):
                mime_type = f"audio/{string(inner.get('format')) or 'unknown'}"
                parts.append(blob(data, f"{here}/data", mime_type=mime_type))
            elif url := string(inner.get("url")):
                parts.append(link(url, f"{here}/url"))
            return parts
    return _transcript(block, place)


def _transcript(block: Block, place: str) -> list[Part]:
    return _text("transcript")(block, place)


def _source(block: Block, place: str) -> list[Part]:
    """Read an Anthropic image or document, whose ``source`` is base64, text, url or content."""
    source, here = block.get("source"), f"{place}/source"
    parts: list[Part] = []
    for key in ("title", "context"):
        if text := string(block.get(key)):
            parts.append(Part("text", text, f"{place}/{key}"))
    if isinstance(source, str):
        return [*parts, link(source, here)]
    source = mapping(source)
    kind, name = source.get("type"), word(block.get("title"))
    mime_type = word(source.get("media_type"))
    data, data_place = source.get("data"), f"{here}/data"
    if kind == "text" and isinstance(data, str):
        parts.append(Part("file", data, data_place, name=name, mime_type=mime_type))
    elif isinstance(data, str) and data:
        parts.append(blob(data, data_place, mime_type=mime_type, name=name))
    elif isinstance(url := source.get("url"), str):
        parts.append(link(url, f"{here}/url", mime_type=mime_type, name=name))
    elif isinstance(identifier := source.get("file_id"), str):
        parts.append(Part("file", "", f"{here}/file_id", name, uri=identifier))
    elif kind == "content" or kind is None:
        parts += read_content(source.get("content"), f"{here}/content")
    return parts


def _image(block: Block, place: str) -> list[Part]:
    if "source" in block:
        return _source(block, place)
    if "image_url" in block:
        return _url("image_url")(block, place)
    for key in ("image", "url", "data"):
        if isinstance(value := block.get(key), str) and value:
            mime_type = word(first(block, "mimeType", "mime_type", "media_type"))
            here = f"{place}/{key}"
            if key == "data" or decoded(value) is not None:
                return [blob(value, here, mime_type=mime_type or "image")]
            return [link(value, here, mime_type=mime_type)]
    return []


def _search_result(block: Block, place: str) -> list[Part]:
    """Read Anthropic's ``search_result``: a page that the model may quote."""
    parts = [
        Part("file", text, f"{place}/{key}")
        for key in ("source", "title")
        if (text := string(block.get(key)))
    ]
    return parts + [
        Part("file", part.text, part.place)
        for part in read_content(block.get("content"), f"{place}/content")
    ]


def _resource(block: Block, place: str) -> list[Part]:
    """Read an embedded resource of MCP: text or a blob, with its address."""
    inner, here = mapping(block.get("resource")), f"{place}/resource"
    mime_type, name = word(inner.get("mimeType")), word(inner.get("uri"))
    if isinstance(text := inner.get("text"), str):
        return [Part("file", text, f"{here}/text", name=name, mime_type=mime_type)]
    if isinstance(data := inner.get("blob"), str):
        return [blob(data, f"{here}/blob", mime_type=mime_type, name=name)]
    return []


def _call_of(block: Block, place: str) -> list[Part]:
    """Read a block that calls a tool: Anthropic's, Mistral's, MCP's sampling."""
    key = next((each for each in ("input", "arguments", "args") if each in block), "input")
    name, identifier = word(block.get("name")), word(first(block, "id", "call_id", "toolUseId"))
    return [call(block.get(key), f"{place}/{key}", name=name, call_id=identifier)]


def _result_of(block: Block, place: str) -> list[Part]:
    key = next((each for each in ("content", "output", "result") if each in block), "content")
    identifier = word(first(block, "tool_use_id", "toolUseId", "call_id", "id"))
    name = word(block.get("name"))
    return read_result(block.get(key), f"{place}/{key}", name=name, call_id=identifier)


def _mcp_tool_call(block: Block, place: str) -> list[Part]:
    name, identifier = word(block.get("name")), word(block.get("id"))
    return [call(block.get("arguments"), f"{place}/arguments", name=name, call_id=identifier)]


def _converse_call(block: Block, place: str) -> list[Part]:
    return _call_of(mapping(block.get("toolUse")), f"{place}/toolUse")


def _converse_result(block: Block, place: str) -> list[Part]:
    return _result_of(mapping(block.get("toolResult")), f"{place}/toolResult")


def _converse_reasoning(block: Block, place: str) -> list[Part]:
    inner, here = mapping(block.get("reasoningContent")), f"{place}/reasoningContent"
    text = mapping(inner.get("reasoningText"))
    return _text("text", "reasoning")(text, f"{here}/reasoningText")


def _converse_medium(key: str) -> Reader:
    """Read a Converse image, document, video or audio: ``{format, name, source: {bytes}}``."""

    def read(block: Block, place: str) -> list[Part]:
        inner, here = mapping(block.get(key)), f"{place}/{key}"
        source, name = mapping(inner.get("source")), word(inner.get("name"))
        ending = string(inner.get("format"))
        mime_type = DOCUMENTS.get(ending, f"{key}/{ending or 'unknown'}")
        context = _text("context")(inner, here)
        return context + medium(source, here, mime_type, name)

    def medium(source: Block, here: str, mime_type: str, name: str | None) -> list[Part]:
        if isinstance(data := source.get("bytes"), str):
            return [blob(data, f"{here}/source/bytes", mime_type=mime_type, name=name)]
        if isinstance(text := source.get("text"), str):
            return [Part("file", text, f"{here}/source/text", name=name, mime_type=mime_type)]
        location = mapping(source.get("s3Location"))
        if isinstance(url := location.get("uri"), str):
            return [link(url, f"{here}/source/s3Location/uri", mime_type=mime_type, name=name)]
        return read_content(source.get("content"), f"{here}/source/content")

    return read


def _inside(key: str) -> Reader:
    """Read every text below a key: ``{guardContent: {text: {text: ...}}}``."""

    def read(block: Block, place: str) -> list[Part]:
        found = leaves(block.get(key), f"{place}/{key}")
        return [
            Part("text", each.text, each.place)
            for each in found
            if not is_structural(label(each.place), each.text)
        ]

    return read


def _json(block: Block, place: str) -> list[Part]:
    value = block.get("json")
    return [Part("text", rendered(value), f"{place}/json", leaves=leaves(value, f"{place}/json"))]


DOCUMENTS: Mapping[str, str] = {
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "pdf": "application/pdf",
}
"""Converse's document formats under their media types."""

BY_TYPE: Mapping[str, Reader] = {
    # text under its several names
    "text": _text("text"),
    "input_text": _text("text"),
    "output_text": _text("text"),
    "summary_text": _text("text", "reasoning"),
    "reasoning_text": _text("text", "reasoning"),
    "refusal": _text("refusal"),
    "compaction": _text("content"),
    # reasoning
    "thinking": _thinking,
    "reasoning": _text("reasoning", "reasoning"),
    # media
    "image_url": _url("image_url"),
    "input_image": _image,
    "image": _image,
    "video_url": _url("video_url"),
    "document_url": _url("document_url"),
    "input_audio": _audio,
    "output_audio": _audio,
    "audio": _audio,
    "audio_url": _url("audio_url"),
    "file": _file,
    "input_file": _file,
    "document": _source,
    "search_result": _search_result,
    "resource": _resource,
    # tools
    "tool_use": _call_of,
    "tool_call": _call_of,
    "tool_result": _result_of,
    "mcp_tool_call": _mcp_tool_call,
}
"""By ``type``. Anthropic's server tools (``*_tool_use``, ``*_tool_result``) are read alike."""

BY_KEY: Mapping[str, Reader] = {
    "guardContent": _inside("guardContent"),
    "citationsContent": _inside("citationsContent"),
    "searchResult": _inside("searchResult"),
    "toolUse": _converse_call,
    "toolResult": _converse_result,
    "reasoningContent": _converse_reasoning,
    "image": _converse_medium("image"),
    "document": _converse_medium("document"),
    "video": _converse_medium("video"),
    "audio": _converse_medium("audio"),
    "json": _json,
    "file": _file,
    "text": _text("text"),
}
"""Bedrock Converse names a block by its one key, A2A by ``kind``."""

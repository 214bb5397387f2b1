"""HAR 1.2 files -> exchanges, as bytes that an inspection can read.

Bounded in size; an entry that is not one becomes a Broken, and the others are read all the same.
A HAR's bodies are already decoded (``content.text``), but its heads still name the encodings
they came in: those headers are dropped, and where a recorder left a body as it came, its encoding
is undone. WebSocket messages stand in Chrome's ``_webSocketMessages``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from milecastle.model import ParseError, RequestHead, ResponseHead
from milecastle.providers import encodings

LARGEST_FILE = 1 << 30
LARGEST_BODY = 64 << 20
MOST_HEADERS = 500
DECODED = ("content-encoding", "transfer-encoding", "content-length")
CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})(?:;[^\r\n]{0,200})?\r\n")


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded request and what came back."""

    number: int
    """Its index in the file, from 0."""
    head: RequestHead
    port: int
    body: bytes
    answer: ResponseHead | None
    """None where nothing came back."""
    content: bytes = b""
    started: float = 0.0
    """Unix time in seconds; 0 where the file does not tell."""
    socket: bool = False
    """A WebSocket session: ``body`` and ``content`` are what was sent and received, each a JSON
    array of messages."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An entry that can't be read."""

    number: int
    error: str


def read(file: Path) -> Iterator[Entry | Broken]:
    """Yield a file's entries in order. ParseError where it is no HAR file at all."""
    with file.open("rb") as opened:
        data = opened.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ParseError(f"{file} is larger than {LARGEST_FILE >> 30} GB")
    try:
        document = loads(data)
    except ValueError as error:
        raise ParseError(f"{file} is not JSON: {error}") from None
    del data
    match document:
        case {"log": {"entries": list(entries)}}:
            return (entry(number, each) for number, each in enumerate(entries))
    raise ParseError(f"{file} is not a HAR file: it has no log.entries")


def loads(data: bytes) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return parsed JSON. ValueError where it is not JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        # lone surrogates, which browsers do write: the slower parser takes them
        try:
            return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def entry(number: int, value: object) -> Entry | Broken:
    """Return one entry of ``log.entries``."""
    try:
        return _entry(number, value)
    except ParseError as error:
        return Broken(number, str(error))


def _entry(number: int, value: object) -> Entry:
    if not isinstance(value, dict) or not isinstance(request := value.get("request"), dict):
        raise ParseError("it has no request")
    method, url = request.get("method"), request.get("url")
    if not isinstance(method, str) or not isinstance(url, str):
        raise ParseError("request.method and request.url are wanted")
    host, port, path = taken_apart(url)
    named = headers(request.get("headers"))
    sent = body(request.get("postData"))
    response = value.get("response")
    answer, content = None, b""
    if isinstance(response, dict) and isinstance(response.get("status"), int):
        content = text(response.get("content"), "response.content")
        answered = headers(response.get("headers"))
        content = decoded(content, answered)
        match response.get("content"):
            case {"mimeType": str(kind)}:
                answered.setdefault("content-type", kind)
        if response["status"] > 0:  # 0: Chrome's sign for an answer that never came
            answer = ResponseHead(response["status"], without(answered, DECODED))
    sent = decoded(sent, named)
    began = started(value.get("startedDateTime"))
    head = RequestHead(method.upper()[:32], host, path, without(named, DECODED))
    if isinstance(messages := value.get("_webSocketMessages"), list):
        said, heard = spoken(messages, "send"), spoken(messages, "receive")
        return Entry(number, head, port, said, answer, heard, began, socket=True)
    return Entry(number, head, port, sent, answer, content, began)


def started(value: object) -> float:
    """Return a time of ISO 8601 as Unix time; 0 where it is none."""
    try:
        return max(0.0, datetime.fromisoformat(str(value)).timestamp())
    except (ValueError, OverflowError):
        return 0.0


def taken_apart(url: str) -> tuple[str, int, str]:
    """Return host, port, and path with its query."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ParseError("request.url can't be taken apart") from None
    if not host:
        raise ParseError("request.url has no host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port or (80 if parts.scheme in ("http", "ws") else 443), path


def headers(value: object) -> dict[str, str]:
    """Return headers by lower-case name; of several with one name the values are joined."""
    found: dict[str, str] = {}
    for header in value[:MOST_HEADERS] if isinstance(value, list) else ():
        match header:
            case {"name": str(name), "value": str(content)}:
                name = name.lower()
                found[name] = f"{found[name]}, {content}" if name in found else content
    return found


def without(headers: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the headers but for those of these names."""
    return {name: value for name, value in headers.items() if name not in names}


def body(post: object) -> bytes:
    """Return ``request.postData`` as it was sent; forms may be given as parameters only."""
    if isinstance(post, dict) and not post.get("text") and isinstance(post.get("params"), list):
        pairs = [
            (each["name"], str(each.get("value", "")))
            for each in post["params"]
            if isinstance(each, dict) and isinstance(each.get("name"), str)
        ]
        return urlencode(pairs, errors="replace").encode()
    return text(post, "request.postData")


def text(value: object, where: str) -> bytes:
    """Return the bytes of ``{text, encoding}``; nothing where there is none."""
    match value:
        case {"text": str(content), "encoding": "base64"}:
            try:
                data = base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError):
                raise ParseError(f"{where}.text is not base64") from None
        case {"text": str(content)}:
            data = content.encode("utf-8", "surrogatepass")
        case _:
            return b""
    if len(data) > LARGEST_BODY:
        raise ParseError(f"{where} has {len(data)} bytes, the limit is {LARGEST_BODY}")
    return data


def decoded(data: bytes, headers: Mapping[str, str]) -> bytes:
    """Undo the encodings that the recorder did not; text that is decoded already stays as it is."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        data = joined(data)
    header = headers.get("content-encoding", "")
    if not header or readable(data):
        return data
    try:
        return encodings.decode(data, header, LARGEST_BODY)
    except ParseError as error:
        if "limit" in str(error):
            raise ParseError(f"a body that unpacks to over {LARGEST_BODY} bytes") from None
        return data


def readable(data: bytes) -> bool:
    """Tell whether these bytes are text, so that nothing is left to undo."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return not any(ord(each) < 9 for each in text[:200])


def joined(data: bytes) -> bytes:
    """Return a body without the frames of HTTP's chunks; as it is where it has none."""
    pieces: list[bytes] = []
    at = 0
    while match := CHUNK.match(data, at):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(data[match.end() : match.end() + size])
        at = match.end() + size
        if data[at : at + 2] != b"\r\n":
            break
        at += 2
    return data


def spoken(messages: Sequence[object], direction: str) -> bytes:
    """Return one direction of a WebSocket session: a JSON array of its messages.

    Some services send JSON as binary messages, which a HAR holds as base64; what is no JSON of
    these (sound) is left out.
    """
    kept: list[Any] = []
    for message in messages:
        match message:
            case {"type": kind, "opcode": 2, "data": str(data)} if kind == direction:
                kept += document(data, binary=True)
            case {"type": kind, "data": str(data)} if kind == direction:
                kept += document(data, binary=False)
    return json.dumps(kept).encode() if kept else b""


def document(data: str, *, binary: bool) -> list[Any]:
    """Return what one message says: its JSON or its text; nothing of other binary data."""
    try:
        return [loads(base64.b64decode(data) if binary else data.encode("utf-8", "surrogatepass"))]
    except ValueError:
        return [] if binary else [data]

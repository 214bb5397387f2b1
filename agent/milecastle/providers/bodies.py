"""Request bodies of every kind -> an Ask: JSON, JSON lines, forms, files, envelopes, anything else.

A dialect reads one JSON document. Bodies that are none are read here for all of them: the fields
of a form are what the user says, its files are files, and every text keeps its bytes' range as its
place.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from milecastle.model import Leaf, ParseError, Part, RequestHead
from milecastle.providers.ask import Ask
from milecastle.providers.connect import Envelopes, strings
from milecastle.providers.document import read, read_lenient
from milecastle.providers.format import Format
from milecastle.providers.leaves import leaves
from milecastle.providers.media import attachment
from milecastle.providers.multipart import fields
from milecastle.providers.places import byte_range
from milecastle.providers.typed import mapping, word

MOST_LINES = 200_000
_BEGINS = re.compile(rb"\s*+(.)", re.DOTALL)
"""The first byte that is no white space, without a copy of the body."""
PARAMETERS = frozenset({"model", "response_format", "language", "purpose", "size", "n"})
"""Fields of a form that are parameters where they are short words."""


def media_type(head: RequestHead) -> str:
    """Return a request's content type without parameters, lower case."""
    return head.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_request(wire: Format, head: RequestHead, body: bytes) -> Ask:
    """Return the body taken apart by its kind. ParseError where it could be read in two ways."""
    kind = media_type(head)
    begins = _BEGINS.match(body)
    if begins is None:
        return Ask(wire, {}, body)
    if kind.startswith("multipart/"):
        return _multipart(wire, head, body)
    if kind == "application/x-www-form-urlencoded" and begins[1] != b"{":
        return _form(wire, body)
    if "connect+" in kind or "grpc" in kind:
        return _envelopes(wire, head, kind, body)
    if kind in ("application/proto", "application/x-protobuf", "application/protobuf"):
        return _say(wire, body, strings(body))
    if kind in ("application/jsonl", "application/x-ndjson", "application/jsonlines"):
        return _say(wire, body, _lines(body, 0))
    if "json" in kind or begins[1] in (b"{", b"["):
        try:
            return Ask(wire, read(body), body)
        except ParseError:
            if "json" in kind or not (found := _lines(body, 0)):
                raise
            return _say(wire, body, found)
    ask = Ask(wire, None, body)
    ask.say("user", [attachment(body, 0, len(body), mime_type=kind or None, name=None)])
    return ask


def _say(wire: Format, body: bytes, found: list[Leaf]) -> Ask:
    ask = Ask(wire, None, body)
    ask.say("user", [Part("text", leaf.text, leaf.place) for leaf in found])
    return ask


def _lines(body: bytes, start: int) -> list[Leaf]:
    """Return the strings of JSON lines, each with its line's range; none where one is no JSON."""
    found: list[Leaf] = []
    at = start
    for number, line in enumerate(body.split(b"\n")):
        if number > MOST_LINES:
            raise ParseError(f"a body of more than {MOST_LINES} lines")
        if line.strip():
            try:
                value = read(line)
            except ParseError:
                return []
            found += leaves(value, byte_range(at, at + len(line)) + "#")
        at += len(line) + 1
    return found


def _multipart(wire: Format, head: RequestHead, body: bytes) -> Ask:
    ask = Ask(wire, None, body)
    for field in fields(body, head.headers.get("content-type", "")):
        raw = body[field.start : field.end]
        if field.file is None and field.name in PARAMETERS and len(raw) < 100:
            value = raw.decode("utf-8", "replace")
            if field.name == "model":
                ask.model = value
            ask.take_parameters({field.name: value})
            ask.found.append(Leaf(byte_range(field.start, field.end), value))
            continue
        if field.name == "stream" and raw.strip().lower() == b"true":
            ask.stream = True
        ask.say("user", _attached(raw, field.start, field.end, field.kind, field.file))
        if field.file:
            ask.found.append(Leaf("!", field.file))
    return ask


def _attached(raw: bytes, start: int, end: int, kind: str, file: str | None) -> list[Part]:
    """Return the parts of one field or file; JSON in it as its strings."""
    part = attachment(raw, start, end, mime_type=kind or None, name=file)
    if part.kind != "file":
        return [part] if raw else []
    found: list[Leaf] = []
    if raw.lstrip()[:1] in (b"{", b"["):
        try:
            found = list(leaves(read(raw), byte_range(start, end) + "#"))
        except ParseError:
            found = _lines(raw, start)
    if file is None and not found:
        return [Part("text", part.text, part.place)]
    return [
        Part(
            "file",
            part.text,
            part.place,
            file,
            None,
            tuple(found),
            kind or None,
            None,
            part.size,
            part.digest,
        )
    ]


def _form(wire: Format, body: bytes) -> Ask:
    """Read a form: its values can be read, not rewritten (``!``)."""
    ask = Ask(wire, None, body)
    for pair in body.decode("utf-8", "replace").split("&")[:MOST_LINES]:
        key, _, value = pair.partition("=")
        text = unquote_plus(value)
        place = f"!{unquote_plus(key)[:40]}"
        if text[:1] in ("[", "{"):
            try:
                inner = leaves(read_lenient(text), place)
            except ParseError:
                inner = (Leaf(place, text),)
            nested: list[Leaf] = []
            for leaf in inner:  # Google's batchexecute: JSON in a string in JSON
                if leaf.text[:1] in ("[", "{"):
                    try:
                        nested += leaves(read_lenient(leaf.text), leaf.place)
                        continue
                    except ParseError:
                        pass
                nested.append(leaf)
            ask.say("user", [Part("text", leaf.text, leaf.place) for leaf in nested])
        elif text:
            ask.say("user", [Part("text", text, place)])
    return ask


def _envelopes(wire: Format, head: RequestHead, kind: str, body: bytes) -> Ask:
    """Read Connect or gRPC messages; of JSON ones the first is the document."""
    encoding = head.headers.get("connect-content-encoding") or head.headers.get("grpc-encoding")
    frames = Envelopes((encoding or "").strip().lower()).feed(body)
    ask = Ask(wire, None, body)
    for number, frame in enumerate(frames):
        if "json" in kind:
            value = read(frame.payload)
            ask.model = ask.model or word(mapping(value).get("model"))
            found = list(leaves(value, f"!{number}"))
        else:
            found = strings(frame.payload, f"!{number}")
        ask.say("user", [Part("text", leaf.text, leaf.place) for leaf in found])
    if not frames:
        ask.say("user", [Part("text", leaf.text, leaf.place) for leaf in strings(body)])
    return ask

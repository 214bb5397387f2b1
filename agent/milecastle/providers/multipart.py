"""multipart bodies (RFC 2046, RFC 7578): parts with their headers and the bytes they stand in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message as Header
from itertools import pairwise

from milecastle.model import ParseError

MOST = 2_000
"""Most parts of one body."""
LONGEST_HEAD = 16 << 10


@dataclass(frozen=True, slots=True)
class Field:
    """One part: what it is called, and where its content stands in the body."""

    start: int
    end: int
    name: str = ""
    file: str | None = None
    kind: str = ""
    """Its media type, lower case; empty where it has none."""


def boundary(content_type: str) -> bytes:
    """Return the boundary of a multipart type; ParseError where it has none."""
    header = Header()
    header["content-type"] = content_type[:1024]
    found = header.get_param("boundary")
    if not isinstance(found, str) or not 0 < len(found) <= 200:
        raise ParseError("a multipart body without a boundary")
    return found.encode("latin-1", "replace")


def fields(body: bytes, content_type: str) -> list[Field]:
    """Return the parts of a body. ParseError where it isn't closed, or its heads make no sense."""
    mark = b"--" + boundary(content_type)
    edge = re.compile(rb"(?:\A|\r\n|\n)" + re.escape(mark) + rb"(--)?[ \t]*(?:\r\n|\n|\Z)")
    edges = list(edge.finditer(body))
    if len(edges) > MOST:
        raise ParseError(f"a multipart body of more than {MOST} parts")
    if not edges or edges[-1][1] is None or any(each[1] for each in edges[:-1]):
        raise ParseError("a multipart body that does not end where it says")
    if body[: edges[0].start()].strip() or body[edges[-1].end() :].strip():
        raise ParseError("a multipart body with something outside of its parts")
    found = []
    for before, after in pairwise(edges):
        found.append(_field(body, before.end(), after.start()))
    return found


def _field(body: bytes, start: int, end: int) -> Field:
    match = re.compile(rb"\r?\n\r?\n").search(body, start, min(end, start + LONGEST_HEAD))
    if body[start : start + 2] == b"\r\n":  # no head at all
        return Field(start + 2, end)
    if match is None:
        raise ParseError("a part of a multipart body without a head")
    head = Header()
    for line in body[start : match.start()].decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            raise ParseError("a part of a multipart body with a broken head")
        if name.lower() in head:
            raise ParseError("a part of a multipart body with a repeated header")
        head[name.lower()] = value.strip()
    named = head.get_param("name", header="content-disposition")
    file = head.get_filename()
    kind = head.get("content-type", "")
    return Field(
        match.end(), end, str(named or ""), file, str(kind).partition(";")[0].strip().lower()
    )

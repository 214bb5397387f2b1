"""Images, sounds and documents in a body: type, size and hash; the text of what is text.

Nothing here decodes an image or follows a link. A text file sent as base64 is read as text, and
its place (``^``) lets a finding in it be rewritten.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from milecastle.model import ParseError, Part
from milecastle.providers import office, pdf
from milecastle.providers.places import byte_range

TEXT_TYPES = re.compile(
    r"text/|application/(?:[\w.-]+\+)?(?:json|xml|yaml|x-yaml|jsonl|x-ndjson|toml|sql|javascript"
    r"|x-sh|x-python|graphql|rtf|csv)|message/rfc822",
    re.IGNORECASE,
)
"""Media types whose bytes are text for a reader."""

_DATA_URL = re.compile(r"data:([^,;]{0,200})((?:;[^,;]{0,200}){0,8}),")
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\r\n-]*")
SHORTEST = 64
"""No image or sound is shorter in base64; a word of so few letters is taken for what it says."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_ENOUGH = 1 << 10
"""Bytes that are looked at to tell text from anything else."""


def blob(data: str, place: str, *, mime_type: str | None = None, name: str | None = None) -> Part:
    """Return the part for base64 or a data URL; for anything else a text part, never nothing."""
    match = _DATA_URL.match(data)
    payload = data
    if match:
        mime_type = match[1] or mime_type
        payload = data[match.end() :]
        if ";base64" not in match[2]:
            return Part("text", data, place, mime_type=mime_type, name=name)
    raw = decoded(payload)
    if raw is None or (len(payload) < SHORTEST and text_of(raw, mime_type) is None):
        return Part("text", data, place, mime_type=mime_type, name=name)
    size, digest = len(raw), hashlib.sha256(raw).hexdigest()
    text = text_of(raw, mime_type)
    if text is not None:
        return Part(
            "file", text, place + "^", name=name, mime_type=mime_type, size=size, digest=digest
        )
    return Part("blob", "", place, name=name, mime_type=mime_type, size=size, digest=digest)


def attachment(
    raw: bytes, start: int, end: int, *, mime_type: str | None, name: str | None
) -> Part:
    """Return the part for a file that stands in the body as it is."""
    size, digest = len(raw), hashlib.sha256(raw).hexdigest()
    text = text_of(raw, mime_type)
    kind = "blob" if text is None else "file"
    return Part(
        "file" if kind == "file" else "blob",
        text or "",
        byte_range(start, end),
        name=name,
        mime_type=mime_type,
        size=size,
        digest=digest,
    )


def decoded(payload: str) -> bytes | None:
    """Return the bytes of base64 of either alphabet, or None where it is none."""
    if not payload.isascii() or _BASE64.fullmatch(payload) is None:
        return None
    if "-" in payload or "_" in payload:
        payload = payload.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(payload + "=" * (-len(payload.strip()) % 4))
    except binascii.Error:
        return None


def text_of(raw: bytes, mime_type: str | None) -> str | None:
    """Return the text of a file that is text by its type or its bytes, or a document's.

    None where it is neither.
    """
    if raw.startswith(office.MAGIC):
        return office.text_of(raw)
    if (told := _of_pdf(raw)) is not None:  # what only looks like one is read like any other file
        return told or None
    declared = mime_type is not None and TEXT_TYPES.match(mime_type) is not None
    if not declared and not _looks_like_text(raw):
        return None
    try:
        return raw.decode("utf-16" if raw.startswith(_UTF_16) else "utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1") if declared else None


def is_packed(raw: bytes) -> bool:
    """Tell whether text comes out of these bytes that does not stand in them as it is."""
    return raw.startswith(office.MAGIC) or _of_pdf(raw) is not None


def _of_pdf(raw: bytes) -> str | None:
    if not pdf.is_pdf(raw):
        return None
    try:
        return pdf.text_of(raw)
    except ParseError:
        return None


def _looks_like_text(raw: bytes) -> bool:
    head = raw[:_ENOUGH]
    if head.startswith(_UTF_16):
        return True
    if not head or b"\0" in head:
        return False
    printable = sum(byte >= 32 or byte in (9, 10, 13) for byte in head)
    return printable >= 0.97 * len(head)

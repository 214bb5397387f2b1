"""Request bodies of every kind -> an Ask: JSON, JSON lines, forms, files, anything else."""

from __future__ import annotations

from milecastle.model import RequestHead
from milecastle.providers.ask import Ask
from milecastle.providers.document import read
from milecastle.providers.format import Format
from milecastle.providers.media import attachment

EMPTY = (b"", b"{}")


def read_request(wire: Format, head: RequestHead, body: bytes) -> Ask:
    """Return the body taken apart by its kind. ParseError where it could be read in two ways."""
    if body.strip() in EMPTY:
        return Ask(wire, {}, body)
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    begins = body.lstrip()[:1]
    if "json" in kind or begins in (b"{", b"["):
        return Ask(wire, read(body), body)
    ask = Ask(wire, None, body)
    part = attachment(body, 0, len(body), mime_type=kind or None, name=None)
    ask.say("user", [part])
    return ask

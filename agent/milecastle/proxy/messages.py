"""Changes to HTTP messages on their way, so that head and body stay in accord."""

from __future__ import annotations

from collections.abc import Mapping

from mitmproxy import http

from milecastle.proxy import heads

REWRITTEN = ("content-md5", "digest", "content-digest", "repr-digest")
"""Header fields that would be wrong for a rewritten body (RFC 9530)."""


def read_as_it_comes(request: http.Request, fields: Mapping[str, str]) -> None:
    """Ask for an answer without compression: streams are read as they come."""
    if "accept-encoding" in fields and "accept-encoding" not in heads.signed_fields(fields):
        request.headers["accept-encoding"] = "identity"


def replace_body(message: http.Message, body: bytes) -> None:
    """Put another body in place; framing and digests follow."""
    message.data.content = body
    for name in REWRITTEN:
        message.headers.pop(name, None)
    if "transfer-encoding" not in message.headers:
        message.headers["content-length"] = str(len(body))


def restore(message: http.Message, body: bytes) -> None:
    """Put back the body that came."""
    message.data.content = body
    if "content-length" in message.headers:
        message.headers["content-length"] = str(len(body))

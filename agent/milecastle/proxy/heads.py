"""What may be read off the head of a request, and what makes it one that nobody may forward.

Pure. Two readers of one request must not understand two different requests: whatever leaves room
for that (RFC 9112 section 11.2) is refused, not repaired. And a request must name one service
everywhere: in the ClientHello, in Host or :authority, and in an absolute target.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from mitmproxy.http import Headers, Request

from milecastle.model import RequestHead, Service

HEAD_LARGEST = 256 << 10
"""Bytes of request line and header fields together. Servers commonly stop at 8 to 64 KB."""

END_OF_HEAD = re.compile(rb"\n\r?\n")
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""RFC 9110 section 5.5. mitmproxy strips some of these and forwards what is left."""
CARRIAGE_RETURN = re.compile(rb"\r(?!\n)")
BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
FOLDED = re.compile(rb"\n[ \t]")
CODED = re.compile(rb"\ntransfer-encoding:[ \t]*+(?!chunked[ \t]*\r?\n)", re.IGNORECASE)
"""What such a coding hides would not be read."""
CHECKS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (CONTROL, "a control character in the request head"),
    (CARRIAGE_RETURN, "a bare carriage return in the request head"),
    (BARE_LINE_FEED, "a bare line feed in the request head"),
    (FOLDED, "a folded header field"),
    (CODED, "a transfer coding other than chunked"),
)
UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""In a single field of HTTP/2, where no line ends are left."""


def raw_problem(data: bytes) -> str | None:
    """Say what is wrong with an HTTP/1 head as it came; None: nothing, or it isn't whole yet.

    ``data`` begins with the head and may go on with the body.
    """
    end = END_OF_HEAD.search(data, 0, HEAD_LARGEST)
    if end is None:
        return "a request head that is too large" if len(data) >= HEAD_LARGEST else None
    head = data[: end.end()]
    return next((what for pattern, what in CHECKS if pattern.search(head)), None)


def request_problem(request: Request) -> str | None:
    """Say what is wrong with a parsed request of any HTTP version, None: nothing."""
    parts = request.data
    if UNSAFE.search(b"\x20".join((parts.method, parts.path, parts.authority))):
        return "a control character in the request target"
    if b" " in parts.path or b" " in parts.method:
        return "a space in the request target"
    fields = parts.headers.fields
    if UNSAFE.search(b"".join(value for _name, value in fields)):
        return "a control character in a header field"
    if sum(len(name) + len(value) for name, value in fields) > HEAD_LARGEST:
        return "a request head that is too large"
    if sum(name.lower() == b"host" for name, _value in fields) > 1:
        return "more than one Host"
    return None


def host_of(authority: str) -> str:
    """Return the host of ``host[:port]`` as names are compared: lower case, no last dot."""
    host = authority.strip()
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


def claimed_hosts(
    request: Request, fields: Mapping[str, str], server_name: str | None
) -> tuple[str, ...]:
    """Return every host that the request says it is for, the ClientHello's name first."""
    said = (server_name or "", fields.get("host", ""), request.authority)
    return tuple(dict.fromkeys(host_of(name) for name in said if name))


def disagreement(hosts: Iterable[str], match: Callable[[str], Service | None]) -> str | None:
    """Say how the hosts of one request contradict each other, None: all are one service."""
    first, *others = hosts
    service = match(first)
    for other in others:
        named = match(other)
        if other != first and (named is None or service is None or named.id != service.id):
            return f"the connection is for {first[:253]}, the request for {other[:253]}"
    return None


def lowered(headers: Headers) -> Mapping[str, str]:
    """Return the fields under lower-case names; equal names are joined (RFC 9110 section 5.3)."""
    fields: dict[str, str] = {}
    for name, value in headers.fields:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def request_head(request: Request, host: str, fields: Mapping[str, str]) -> RequestHead:
    """Return the head as the inspection wants it. ``host`` is the name that all agreed on."""
    path = request.data.path.decode("utf-8", "replace")
    return RequestHead(request.method, host, path, fields)


def declared_length(fields: Mapping[str, str]) -> int:
    """Return the Content-Length, 0 where there is none that is a number."""
    length = fields.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0


def signed_fields(fields: Mapping[str, str]) -> frozenset[str]:
    """Return the header fields that an AWS signature covers (SigV4): they can't be changed."""
    match = re.search(r"SignedHeaders=([A-Za-z0-9;_-]+)", fields.get("authorization", ""))
    return frozenset(match[1].lower().split(";")) if match else frozenset()


def wants_websocket(fields: Mapping[str, str]) -> bool:
    """Whether a request with these fields asks to become a WebSocket (RFC 6455)."""
    return "websocket" in fields.get("upgrade", "").lower()

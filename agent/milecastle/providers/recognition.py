"""Which wire format a request speaks: one table by path and host, then the body's shape.

Paths last longer than hosts, so a row names a host only where a path alone would say too little.
The first row that fits wins. What fits no row but has a body, to a host of the catalogue, is
``unknown``: its strings are read all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from milecastle.model import RequestHead
from milecastle.providers.format import Format
from milecastle.providers.hosts import provider
from milecastle.providers.shape import by_shape

LONGEST_PATH = 8 << 10


@dataclass(frozen=True, slots=True)
class Row:
    """A way to recognise a format; every field that is set must fit."""

    format: str | None
    """None: an exchange that is not read at all (credentials)."""
    operation: str
    path: re.Pattern[str]
    """Searched in the path without its query. Groups: model, conversation, streams."""
    host: re.Pattern[str] | None = None
    methods: frozenset[str] = frozenset({"POST"})
    everywhere: bool = False
    """The path alone convinces, also at a host that is not of the catalogue."""
    provider: str | None = None


def _row(
    wire: str | None,
    operation: str,
    path: str,
    host: str | None = None,
    *,
    methods: str = "POST",
    everywhere: bool = False,
    provider: str | None = None,
) -> Row:
    return Row(
        wire,
        operation,
        re.compile(path),
        re.compile(host) if host else None,
        frozenset(methods.split()),
        everywhere,
        provider,
    )


_AZURE = r"(?:/openai)?/deployments/(?P<model>[^/]+)"

ROWS: tuple[Row, ...] = (
    # credentials: forwarded, never read
    _row(None, "", r"/oauth2?/token$|/copilot_internal/v2/token$|/oauth/(?:authorize|device)"),
    # OpenAI's shapes, at whatever host
    _row("openai-chat", "chat", rf"{_AZURE}/chat/completions$", everywhere=True),
    _row("openai-chat", "chat", r"/chat/completions$", everywhere=True),
    _row("openai-responses", "chat", r"/responses$", everywhere=True),
    _row("anthropic-messages", "chat", r"/v1/messages$", everywhere=True),
)


def recognise(head: RequestHead, body: bytes | None, *, known: bool = True) -> Format | None:
    """Return the format of a request, or None where it holds nothing for or from a model.

    ``known``: the host is of the catalogue. Any other is recognised only where path and shape
    convince.
    """
    if len(head.path) > LONGEST_PATH:
        path, query = head.path[:LONGEST_PATH], ""
    else:
        path, _, query = head.path.partition("?")
    host = head.host.lower().rstrip(".").rpartition("@")[2]
    host = re.sub(r":\d+$", "", host)
    path = path.rstrip("/") or "/"
    method = head.method.upper()
    for row in ROWS:
        if method not in row.methods or (row.host and not row.host.search(host)):
            continue
        found = row.path.search(path)
        if found is None:
            continue
        if row.format is None:
            return None
        if not (known or row.everywhere):
            continue
        if not known and not _convincing(row.format, body):
            continue
        return _format(row.format, row.operation, head, host, query, found, row.provider)
    if method not in ("POST", "PUT", "PATCH") or not body:
        return None
    shaped = by_shape(head, body)
    if shaped is not None:
        return _format(*shaped, head, host, query, None, None)
    return _format("unknown", "unknown", head, host, query, None, None) if known else None


def _convincing(wire: str, body: bytes | None) -> bool:
    return body is not None


def _format(
    name: str,
    operation: str,
    head: RequestHead,
    host: str,
    query: str,
    found: re.Match[str] | None,
    provided: str | None,
) -> Format:
    groups = found.groupdict() if found else {}
    model = groups.get("model")
    return Format(
        name=name,
        operation=operation,
        provider=provided or provider(host, name),
        model=unquote(model) if model else None,
        conversation=groups.get("conversation"),
        streams=bool(groups.get("streams")),
        content_type=head.headers.get("content-type", ""),
        query=dict(parse_qsl(query, max_num_fields=50)) if query else {},
    )

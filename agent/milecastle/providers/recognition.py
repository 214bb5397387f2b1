"""Which wire format a request speaks: by path and host, then by the body's shape.

Paths last longer than hosts, so a row of the table (``routes``) names a host only where a path
alone would say too little. What fits no row but has a body, to a host of the catalogue, is
``unknown``: its strings are read all the same.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl, unquote

from milecastle.model import Json, RequestHead
from milecastle.providers.format import Format
from milecastle.providers.hosts import provider
from milecastle.providers.leaves import is_prose
from milecastle.providers.routes import ROWS
from milecastle.providers.row import Row
from milecastle.providers.shape import convinces, document, of_value
from milecastle.providers.typed import mapping

LONGEST = 64 << 10
"""Most characters of a path, and of a query, that are looked at."""
MOST_QUERIES = 100
MCP_HEADERS = frozenset({"mcp-session-id", "mcp-protocol-version"})
ENVELOPES = ("application/connect+", "application/grpc", "application/proto", "application/x-proto")
BRING_BODIES = frozenset({"POST", "PUT", "PATCH"})
SAYING = re.compile(r"text/|multipart/|application/(?:[\w.-]*json|[\w.-]*xml|x-www-form|x-ndjson)")
"""Media types of bodies with words in them."""
CONVERSATIONS = ("mcp-session-id", "session_id", "conversation_id", "x-claude-code-session-id")
"""Headers in which clients name their session."""


def recognise(head: RequestHead, body: bytes | None, *, known: bool = True) -> Format | None:
    """Return the format of a request, or None where it holds nothing for or from a model.

    ``known``: the host is of the catalogue. Any other is recognised only where path and shape
    convince. ``body`` is None where it is still to come: what only a body can tell is ``unknown``
    until ``parse_request`` sees it.
    """
    path = head.path.partition("?")[0][:LONGEST].rstrip("/") or "/"
    host = re.sub(r":\d+$", "", head.host.lower().rpartition("@")[2]).rstrip(".")
    socket = head.headers.get("upgrade", "").lower() == "websocket"
    for row in ROWS:
        if (found := _fits(row, head.method.upper(), host, path, socket=socket)) is None:
            continue
        if row.format is None:
            return None
        if not (known or row.everywhere):
            continue
        if (row.proven or not (known or socket)) and not convinces(row.format, body):
            continue
        return _format(row.format, row.operation, head, host, found)
    if socket:
        return _format("unknown-socket", "unknown", head, host) if known else None
    if not MCP_HEADERS.isdisjoint(head.headers) and head.method.upper() == "GET":
        return _format("mcp", "listen", head, host)
    return _by_body(head, host, body, known=known)


def _fits(row: Row, method: str, host: str, path: str, *, socket: bool) -> re.Match[str] | None:
    if socket != row.socket or not (socket or method in row.methods):
        return None
    if row.host is not None and row.host.search(host) is None:
        return None
    return row.path.search(path)


def _by_body(head: RequestHead, host: str, body: bytes | None, *, known: bool) -> Format | None:
    unknown = _format("unknown", "unknown", head, host)
    if body is None and known and promises_text(head):
        return unknown  # for now: the body decides when it is there
    if not body:
        # a question may stand in the query
        return unknown if known and any(is_prose(text) for _, text in unknown.query) else None
    value = document(body)
    first: Json = next(iter(value), None) if isinstance(value, list) else value  # a batch
    shaped = of_value(mapping(first), head)
    if shaped is not None:
        wire = _format(*shaped, head, host)
        return replace(wire, call=mapping(value).get("id"))
    if not known:
        return None
    if head.headers.get("content-type", "").lower().startswith(ENVELOPES):
        return replace(unknown, name="connect")
    return unknown


def promises_text(head: RequestHead) -> bool:
    """Tell whether a request brings a body in which something may be said.

    Envelopes are left out: both sides may stream at once, so nobody may wait for their end.
    """
    kind = head.headers.get("content-type", "").lower()
    return (
        head.method.upper() in BRING_BODIES
        and head.headers.get("content-length") != "0"
        and (not kind or SAYING.match(kind) is not None)
    )


def _format(
    name: str, operation: str, head: RequestHead, host: str, found: re.Match[str] | None = None
) -> Format:
    groups = found.groupdict() if found else {}
    query = _query(head.path.partition("?")[2])
    asked = dict(query)
    model = groups.get("model") or asked.get("model") or asked.get("deployment")
    named = (head.headers.get(each) for each in CONVERSATIONS)
    return Format(
        name=name,
        operation=operation,
        provider=provider(host, name),
        model=unquote(model) if model else None,
        conversation=groups.get("conversation") or next(filter(None, named), None),
        streams=bool(groups.get("streams")),
        query=query,
    )


def _query(query: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(parse_qsl(query[:LONGEST], max_num_fields=MOST_QUERIES)) if query else ()
    except ValueError:  # more fields than that
        return (("", query[:LONGEST]),)

"""What a redirected connection carries, by its first bytes: TLS, HTTP, or something else.

mitmproxy's own guess takes a first piece of one or two bytes for raw TCP and passes the rest of
the connection without a look: a client could choose to be overlooked. Here the decision waits
until the bytes leave no doubt, and inside a decrypted connection there is only HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from mitmproxy.connection import Client
from mitmproxy.proxy import layer, layers
from mitmproxy.proxy.layers.http import HTTPMode

from milecastle.proxy import heads
from milecastle.proxy.ledger import Ledger
from milecastle.proxy.link import Caller
from milecastle.proxy.orders import Watch

HELLO = b"\x16\x03"
METHOD = re.compile(rb"[A-Z]{1,20}\Z")
REQUEST = re.compile(rb"[A-Z]{3,20} [!-~]+ HTTP/1\.[01]\r?\n")
REQUEST_LINE_LARGEST = 64 << 10
HOST = re.compile(rb"\nhost:[ \t]*([^\r\n]*)", re.IGNORECASE)

type Kind = Literal["tls", "http", "other", "unclear"]


def kind(data: bytes) -> Kind:
    """Say what a connection that begins with these bytes carries; ``unclear``: ask with more."""
    if not data:
        return "unclear"
    if data[: len(HELLO)] == HELLO[: len(data)]:
        return "tls" if len(data) > len(HELLO) else "unclear"
    line, end, _rest = data.partition(b"\n")
    if end:
        return "http" if REQUEST.match(line + end) else "other"
    method = line.partition(b" ")[0]
    return "unclear" if METHOD.match(method) and len(data) < REQUEST_LINE_LARGEST else "other"


def asked_host(data: bytes) -> str | None:
    """Return the Host of an HTTP/1 request; "" where it has none, None while it may yet come."""
    end = heads.END_OF_HEAD.search(data)
    found = HOST.search(data, 0, end.end() if end else len(data))
    if end is None and len(data) < heads.HEAD_LARGEST:
        return None
    return heads.host_of(found[1].decode("latin-1")) if found else ""


class Approach:
    """mitmproxy's addon that chooses layers, in place of its own `NextLayer`."""

    name = "nextlayer"

    def __init__(self, watch: Watch, ledger: Ledger, callers: Mapping[str, Caller]) -> None:
        self._watch = watch
        self._ledger = ledger
        self._callers = callers

    def next_layer(self, question: layer.NextLayer) -> None:
        """Choose what reads the connection from here on."""
        context = question.context
        if isinstance(context.client, Client) and context.client.tls_established:
            question.layer = layers.HttpLayer(context, HTTPMode.transparent)
            return
        data = question.data_client()
        match kind(data):
            case "tls":
                question.layer = layers.ServerTLSLayer(context)
                question.layer.child_layer = layers.ClientTLSLayer(context)
            case "http":
                host = asked_host(data)
                if host is None:
                    return
                caller = self._callers.get(context.client.id)
                if self._watch.orders.wanted(host, caller.local if caller else None):
                    question.layer = layers.HttpLayer(context, HTTPMode.transparent)
                else:
                    question.layer = layers.TCPLayer(context, ignore=True)
                    self._seen(context.client, host, "passed" if host else "no_name")
            case "other":
                question.layer = layers.TCPLayer(context, ignore=True)
                self._seen(context.client, "", "not_http")

    def _seen(self, client: Client, name: str, outcome: str) -> None:
        self._ledger.seen(self._callers.get(client.id), name, outcome)

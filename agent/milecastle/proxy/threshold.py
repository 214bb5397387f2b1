"""What is decided about a connection before anything of it is decrypted.

The name in the ClientHello says whether to decrypt, and a certificate for it is brought before the
handshake: one that is missing later would leave the client waiting. What is not decrypted passes
to where it wanted to go, byte by byte.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from mitmproxy import connection, tls
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from milecastle.inspection import Block
from milecastle.proxy import answers, heads
from milecastle.proxy.certificates import UnsignedError
from milecastle.proxy.guard import guarded
from milecastle.proxy.ledger import Ledger
from milecastle.proxy.link import Caller
from milecastle.proxy.orders import Watch
from milecastle.proxy.streams import RefusedHead

log = logging.getLogger(__name__)


class Connections(Protocol):
    """The place where connections arrive, as far as the gate needs it."""

    @property
    def callers(self) -> Mapping[str, Caller]:
        """Who is behind each open connection, by the id of mitmproxy's client."""

    def turn_away(self, client: connection.Client) -> None:
        """Close a client's connection in the middle of its handshake."""


class Certificates(Protocol):
    """Brings the certificate for a name before the handshake; UnsignedError where it can't."""

    async def obtain(self, name: str) -> None: ...


class Threshold:
    """mitmproxy's addon for connections. Every hook is guarded."""

    name = "milecastle-threshold"

    def __init__(
        self,
        watch: Watch,
        ledger: Ledger,
        connections: Connections,
        certificates: Certificates,
    ) -> None:
        self._watch = watch
        self._ledger = ledger
        self._connections = connections
        self._certificates = certificates

    @guarded("tls_clienthello")
    async def tls_clienthello(self, hello: tls.ClientHelloData) -> None:
        """Decide by the name whether to decrypt; have a certificate before the handshake."""
        name = heads.host_of(hello.client_hello.sni or "")
        caller = self._connections.callers.get(hello.context.client.id)
        if self._watch.orders.wanted(name) is None:
            hello.ignore_connection = True
            self._ledger.seen(caller, name, "passed" if name else "no_name")
            return
        try:
            await self._certificates.obtain(name)
        except UnsignedError as error:
            log.warning("no certificate for %s: %s", name, error)
            raise
        self._ledger.seen(caller, name, "decrypted")

    @guarded("notice")
    def tls_failed_client(self, data: tls.TlsData) -> None:
        """Record that a client broke off the handshake: it may not trust the CA."""
        name = heads.host_of(data.conn.sni or "")
        if service := self._watch.orders.wanted(name):
            caller = self._connections.callers.get(data.context.client.id)
            why = "the client broke off the TLS handshake; it may not trust milecastle's CA"
            self._ledger.note(caller, name, service, "client_refused_certificate", why)

    @guarded("notice")
    def tls_failed_server(self, data: tls.TlsData) -> None:
        """Note that a service broke off the handshake: it may want a client's certificate."""
        name = heads.host_of(data.conn.sni or "")
        if "verify" not in (data.conn.error or ""):  # it was not us who broke it off
            caller = self._connections.callers.get(data.context.client.id)
            self._ledger.seen(caller, name, "upstream_refused")

    @guarded("notice")
    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Connect where the application wanted to, and nowhere else."""
        caller = self._connections.callers.get(data.client.id)
        if caller is None or tuple(data.server.address or ())[:2] != caller.destination:
            data.server.error = "not where the application wanted to connect to"

    @guarded("notice")
    def refused_head(self, data: RefusedHead) -> None:
        """Record a request that was refused before it could be parsed."""
        name = heads.host_of(data.client.sni or "")
        service = self._watch.orders.names.match(name) if name else None
        caller = self._connections.callers.get(data.client.id)
        self._ledger.note(caller, name, service, "malformed_request", data.problem, action="block")

    def on_failure(self, data: object, _stage: str, code: str) -> Block | None:
        """Return the answer of a policy that fails closed, None where it fails open."""
        if not isinstance(data, tls.ClientHelloData):
            return None
        name = heads.host_of(data.client_hello.sni or "")
        orders = self._watch.orders
        service = orders.names.match(name) if name else None
        closed = orders.rules.on_failure(service) == "closed"
        did = "was refused" if closed else "passed without inspection"
        why = f"there was no certificate for it; the connection {did}"
        caller = self._connections.callers.get(data.context.client.id)
        self._ledger.note(caller, name, service, code, why, "block" if closed else "alert")
        return answers.uninspectable(code) if closed else None

    def turn_away(self, hello: tls.ClientHelloData) -> None:
        """Close a client's connection before the handshake."""
        self._connections.turn_away(hello.context.client)

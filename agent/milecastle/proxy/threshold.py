"""What is decided about a connection before anything of it is decrypted.

The name in the ClientHello says whether to decrypt, and a certificate for it is brought before the
handshake: one that is missing later would leave the client waiting. What is not decrypted passes
to where it wanted to go, byte by byte.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from mitmproxy import connection, http, tls
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from OpenSSL import SSL

from milecastle.inspection import Block
from milecastle.model import Service
from milecastle.proxy import answers, heads
from milecastle.proxy.certificates import UnsignedError
from milecastle.proxy.guard import guarded
from milecastle.proxy.ledger import Ledger
from milecastle.proxy.lessons import Lessons
from milecastle.proxy.link import Caller
from milecastle.proxy.orders import Watch
from milecastle.proxy.streams import RefusedHead

log = logging.getLogger(__name__)


MUST = "the policy wants every connection to this service inspected; it was refused"
REFUSED_CA = "the client broke off the TLS handshake; it may not trust milecastle's CA"
PASSES = "; such connections pass uninspected for a while"
DISTRUST = ("unknown ca", "bad certificate", "certificate unknown", "does not trust")
"""What OpenSSL calls the alerts of a client that trusts nobody here (RFC 8446 section 6.2)."""


def watching(server: str, asked: set[str]) -> Callable[[SSL.Connection, int, int], None]:
    """Return what remembers that a server asks for a certificate (OpenSSL's info callback)."""

    def watch(connection: SSL.Connection, _where: int, _result: int) -> None:
        if b"read server certificate request" in connection.get_state_string():
            asked.add(server)

    return watch


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
        lessons: Lessons | None = None,
    ) -> None:
        self._watch = watch
        self._ledger = ledger
        self._connections = connections
        self._certificates = certificates
        self._lessons = lessons or Lessons(ledger.clock)
        self._asked: set[str] = set()
        """Connections to services that asked for a certificate and have not answered yet."""
        self._refused: set[str] = set()
        """Connections that were turned away in the handshake."""

    @guarded("tls_clienthello")
    async def tls_clienthello(self, hello: tls.ClientHelloData) -> None:
        """Decide by the name whether to decrypt; have a certificate before the handshake."""
        name = heads.host_of(hello.client_hello.sni or "")
        caller = self._connections.callers.get(hello.context.client.id)
        process = caller.process if caller else None
        orders = self._watch.orders
        outcome = "passed" if name else "no_name"
        wanted = orders.wanted(name)
        # what was learnt while the policy let such connections pass does not outlast that policy
        lesson = self._lessons.find(process, name) if wanted and self._may_pass(wanted) else None
        if wanted is None or lesson is not None:
            service = orders.names.match(name) if name else None
            if service and orders.rules.must_inspect(service, process):
                self._ledger.note(caller, name, service, "must_inspect", MUST, action="block")
                self._refused.add(hello.context.client.id)
                self.turn_away(hello)
                return
            hello.ignore_connection = True
            self._ledger.seen(caller, name, lesson.outcome if lesson else outcome)
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
        if data.context.client.id in self._refused:
            return  # by us
        if service := self._watch.orders.wanted(name):
            caller = self._connections.callers.get(data.context.client.id)
            process = caller.process if caller else None
            why, action, lesson = REFUSED_CA, "alert", None
            if self._watch.orders.rules.must_inspect(service, process):
                why, action = f"{why}; {MUST}", "block"
            elif self._may_pass(service):
                said = any(word in (data.conn.error or "") for word in DISTRUST)
                lesson = self._lessons.client_failed(process, name, said_why=said)
            why += PASSES if lesson else ""
            self._ledger.note(caller, name, service, "client_refused_certificate", why, action)

    def client_disconnected(self, client: connection.Client) -> None:
        """Forget a connection that was turned away."""
        self._refused.discard(client.id)

    def tls_start_server(self, data: tls.TlsData) -> None:
        """Watch whether the service asks for a certificate; the addon before has made ``data``."""
        if data.ssl_conn is not None:
            data.ssl_conn.set_info_callback(watching(data.conn.id, self._asked))

    @guarded("notice")
    def tls_failed_server(self, data: tls.TlsData) -> None:
        """Note that a service broke off the handshake: it may want a client's certificate."""
        name = heads.host_of(data.conn.sni or "")
        if "verify" not in (data.conn.error or ""):  # it was not us who broke it off
            caller = self._connections.callers.get(data.context.client.id)
            self._ledger.seen(caller, name, "upstream_refused")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Note that a service answers, with or without a certificate."""
        self._asked.discard(flow.server_conn.id)

    @guarded("notice")
    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        """Learn from a service that asked for a certificate and ended the connection instead."""
        if data.server.id not in self._asked:
            return
        self._asked.discard(data.server.id)
        name = heads.host_of(data.server.sni or "")
        service = self._watch.orders.wanted(name)
        if service and self._may_pass(service):
            self._lessons.service_failed(name)
            caller = self._connections.callers.get(data.client.id)
            why = "the service asked for a client's certificate and ended the connection" + PASSES
            self._ledger.note(caller, name, service, "upstream_refused", why)

    def _may_pass(self, service: Service) -> bool:
        """Whether connections to a service may pass where they can't be decrypted."""
        return self._watch.orders.rules.on_failure(service) == "open"

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
        caller = self._connections.callers.get(data.context.client.id)
        process = caller.process if caller else None
        closed = orders.rules.on_failure(service, process=process) == "closed"
        did = "was refused" if closed else "passed without inspection"
        why = f"there was no certificate for it; the connection {did}"
        self._ledger.note(caller, name, service, code, why, "block" if closed else "alert")
        return answers.uninspectable(code) if closed else None

    def turn_away(self, hello: tls.ClientHelloData) -> None:
        """Close a client's connection before the handshake."""
        self._connections.turn_away(hello.context.client)

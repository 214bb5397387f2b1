"""A provider, a signer and a gate on loopback: real TLS and mitmproxy, only judgement is faked."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from milecastle.catalogue import clients
from milecastle.inspection import Block, Chunk, Context, Forward
from milecastle.model import OnFailure, Process, RequestHead, ResponseHead, Service
from milecastle.policy import Charge
from milecastle.proxy import assembly, trust
from milecastle.proxy.certificates import Leaves
from milecastle.proxy.checkpoint import Checkpoint
from milecastle.proxy.claims import Claims
from milecastle.proxy.counting import Counter
from milecastle.proxy.ledger import Ledger, at_once
from milecastle.proxy.link import Caller, Listener
from milecastle.proxy.orders import Orders, Watch
from milecastle.proxy.room import Room

HOST = "api.provider.example"
SIBLING = "eu.provider.example"
RIVAL = "api.rival.example"
UNSERVED = "old.provider.example"
"""In the catalogue, but the provider has no certificate for it."""
STRANGER = "www.stranger.example"
PROVIDER = Service("provider", "Provider", "Provider Inc.", "model_api")
OTHER = Service("rival", "Rival", "Rival Inc.", "model_api")
SELF_TEST = Service("milecastle-selftest", "Self-test", "milecastle", "selftest")
SERVICES = {
    HOST: PROVIDER,
    SIBLING: PROVIDER,
    UNSERVED: PROVIDER,
    RIVAL: OTHER,
    "selftest.milecastle.invalid": SELF_TEST,
}
LIMIT = 1 << 20
HOME = 99
"""The worker's own network namespace."""


# --- certificates ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, name: str, public_key, *, ca: bool = False, days: float = 1) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if not ca:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


@cache
def root(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


@cache
def intermediate() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(root("milecastle").sign("intermediate", key.public_key(), ca=True), key)


def server_context(authority: Authority, *names: str, alpn: list[str]) -> ssl.SSLContext:
    """Serve each of the names, by SNI."""
    contexts = {}
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.sign(name, key.public_key())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(alpn)
        with tempfile.NamedTemporaryFile("wb") as file:
            file.write(certificate.public_bytes(serialization.Encoding.PEM))
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            file.flush()
            context.load_cert_chain(file.name)
        contexts[name] = context

    def choose(connection, name, _context):
        connection.context = contexts.get(name, contexts[names[0]])

    contexts[names[0]].sni_callback = choose
    return contexts[names[0]]


def client_context(*authorities: Authority, alpn: list[str] | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in authorities:
        context.load_verify_locations(cadata=authority.pem)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


# --- the provider --------------------------------------------------------------------------------


@dataclass
class Received:
    """One request as the provider got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    version: str


@dataclass
class Reply:
    """What the provider answers: a whole body, or pieces with pauses."""

    body: bytes = b'{"answer": 42}'
    status: int = 200
    headers: dict[str, str] = field(
        default_factory=lambda: {"content-type": "application/json", "alt-svc": 'h3=":443"'}
    )
    pieces: list[bytes] | None = None
    pause: float = 0.0
    length: bool = False
    """Whether pieces come with a Content-Length (HTTP/1)."""


class Provider:
    """Speaks HTTP/1.1 and HTTP/2 over TLS, HTTP/1.1 without, and remembers what it was sent."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.reply: Callable[[Received], Reply] = lambda _request: Reply()
        self.connections = 0
        self.sent_pieces = 0
        self.broken_off = 0
        self.raw = bytearray()
        """All bytes of HTTP/1 as they came."""
        self.forgets = False
        """Whether bodies are read and not kept."""
        self.servers: list[asyncio.Server] = []
        self.tls: tuple[str, int] = ("", 0)
        self.plain: tuple[str, int] = ("", 0)

    async def start(self, authority: Authority, names: tuple[str, ...], alpn: list[str]) -> None:
        self.context = context = server_context(authority, *names, alpn=alpn)
        tls = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        plain = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.servers = [tls, plain]
        self.tls = tls.sockets[0].getsockname()
        self.plain = plain.sockets[0].getsockname()

    async def stop(self) -> None:
        for server in self.servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = writer.get_extra_info("ssl_object")
        try:
            if connection is not None and connection.selected_alpn_protocol() == "h2":
                await self._serve_h2(reader, writer)
            else:
                await self._serve_h1(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            self.broken_off += 1
        finally:
            writer.close()

    async def _serve_h1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                self.raw += error.partial
                return
            self.raw += head
            line, *rows = head.decode("latin-1").split("\r\n")
            method, path, version = line.split(" ", 2)
            headers = {
                name.lower(): value.strip()
                for name, _, value in (row.partition(":") for row in rows if row)
            }
            body = b""
            if "chunked" in headers.get("transfer-encoding", ""):
                while size := int((await reader.readline()).split(b";")[0], 16):
                    body += await reader.readexactly(size)
                    await reader.readline()
                await reader.readline()
            elif length := int(headers.get("content-length", 0)):
                while self.forgets and length:
                    length -= len(await reader.read(min(length, 1 << 16)))
                body = await reader.readexactly(length)
            self.raw += body
            request = Received(method, path, headers, body, version)
            self.received.append(request)
            reply = self.reply(request)
            await self._answer_h1(reply, writer, method)
            if reply.status == 101:
                while True:  # echo short masked text frames
                    frame = await reader.readexactly(6)
                    payload = await reader.readexactly(frame[1] & 127)
                    text = bytes(byte ^ frame[2 + at % 4] for at, byte in enumerate(payload))
                    writer.write(bytes([frame[0], len(text)]) + text)

    async def _answer_h1(self, reply: Reply, writer: asyncio.StreamWriter, method: str) -> None:
        headers = dict(reply.headers)
        pieces = reply.pieces
        if pieces is None:
            if reply.status not in (101, 204, 304):
                headers.setdefault("content-length", str(len(reply.body)))
        elif reply.length:
            headers["content-length"] = str(sum(map(len, pieces)))
        else:
            headers["transfer-encoding"] = "chunked"
        head = f"HTTP/1.1 {reply.status} X\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(head.encode() + b"\r\n")
        if pieces is None:
            silent = method == "HEAD" or reply.status in (101, 204, 304)
            writer.write(b"" if silent else reply.body)
            await writer.drain()
            return
        for piece in pieces:
            writer.write(piece if reply.length else b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            self.sent_pieces += 1
            await asyncio.sleep(reply.pause)
        if not reply.length:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def _serve_h2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        open_requests: dict[int, Received] = {}
        reset: set[int] = set()
        tasks = set()
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                match event:
                    case h2.events.RequestReceived():
                        fields = dict(event.headers)
                        open_requests[event.stream_id] = Received(
                            fields[":method"], fields[":path"], fields, b"", "HTTP/2"
                        )
                    case h2.events.DataReceived():
                        if not self.forgets:
                            open_requests[event.stream_id].body += event.data
                        connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                    case h2.events.StreamEnded():
                        request = open_requests.pop(event.stream_id)
                        self.received.append(request)
                        answer = self._answer_h2(
                            self.reply(request), connection, writer, event.stream_id, reset
                        )
                        tasks.add(asyncio.create_task(answer))
                    case h2.events.StreamReset():
                        reset.add(event.stream_id)
                        self.broken_off += 1
            writer.write(connection.data_to_send())

    async def _answer_h2(self, reply, connection, writer, stream: int, reset: set[int]) -> None:
        fields = [(":status", str(reply.status)), *reply.headers.items()]
        connection.send_headers(stream, fields)
        for piece in reply.pieces if reply.pieces is not None else [reply.body]:
            if stream in reset:
                return
            for start in range(0, len(piece), 16000):
                part = piece[start : start + 16000]
                while connection.local_flow_control_window(stream) < len(part):
                    writer.write(connection.data_to_send())
                    await asyncio.sleep(0.005)
                connection.send_data(stream, part)
            writer.write(connection.data_to_send())
            self.sent_pieces += 1
            if reply.pause:
                await asyncio.sleep(reply.pause)
        if stream not in reset:
            connection.end_stream(stream)
            writer.write(connection.data_to_send())


# --- judgement -----------------------------------------------------------------------------------


class FakeInspection:
    """Forwards everything; `script` says where it acts or fails."""

    def __init__(self, script: Script, head: RequestHead, context: Context) -> None:
        self.script, self.head, self.context = script, head, context
        self.bodies: dict[str, bytes] = {}
        self.failed: list[tuple[str, str]] = []
        self.status: int | None = None
        self.fed = b""

    @property
    def counts(self) -> bool:
        return bool(self.script.charges)

    @property
    def charged(self) -> tuple[Charge, ...]:
        return self.script.charges

    tokens = 7

    def charges(self, _body: bytes) -> tuple[Charge, ...]:
        return self.script.charges

    def request(self, body: bytes, over: Mapping[str, float] = {}) -> Forward | Block:
        self.bodies["request"] = body
        if over:
            return Block(429, {}, json.dumps(over).encode())
        return self.script.request(body)

    def respond(self, head: ResponseHead) -> str:
        self.status = head.status
        return self.script.respond(head)

    def response(self, body: bytes) -> Forward | Block:
        self.bodies["response"] = body
        return self.script.response(body)

    def binding(self, direction: str) -> bool:
        return self.script.binding(direction)

    def feed(self, data: bytes) -> Chunk:
        self.fed += data
        return self.script.feed(data)

    def finish(self) -> Chunk:
        return self.script.finish()

    def fail(self, stage: str, error: Exception, body: bytes = b"") -> Forward | Block:
        self.failed.append((stage, str(error)))
        if self.script.on_failure == "open":
            return Forward(body)
        return Block(403, {"content-type": "application/json"}, b'{"error": "closed"}')

    def record(self, ended: float, first_byte_ms: float | None = None) -> dict[str, Any]:
        self.script.record()
        return {
            "exchange": self.context.exchange,
            "cookie": self.context.cookie,
            "host": self.head.host,
            "path": self.head.path,
            "first_byte_ms": first_byte_ms,
            "attributes": {},
            "failed": self.failed,
            "status": self.status,
        }


def by_content_type(head: ResponseHead) -> str:
    kind = head.headers.get("content-type", "")
    return "stream" if kind.startswith("text/event-stream") else "buffer"


@dataclass
class Script:
    """Catalogue, policy and inspection in one, for tests to set."""

    on_failure: OnFailure = "open"
    refused: Callable[[Service], bool] = lambda _service: False
    intercepted: Callable[[Service], bool] = lambda _service: True
    recognises: Callable[[RequestHead], bool] = lambda head: head.method == "POST"
    request: Callable[[bytes], Forward | Block] = Forward
    respond: Callable[[ResponseHead], str] = by_content_type
    response: Callable[[bytes], Forward | Block] = Forward
    feed: Callable[[bytes], Chunk] = Chunk
    finish: Callable[[], Chunk] = lambda: Chunk(b"")
    record: Callable[[], None] = lambda: None
    binding: Callable[[str], bool] = lambda _direction: True
    charges: tuple[Charge, ...] = ()
    must_inspect: bool = False
    inspections: list[FakeInspection] = field(default_factory=list)

    def asks_for_body(self, _head: RequestHead, _context: Context) -> bool:
        return False

    def begin(
        self, head: RequestHead, context: Context, _body: bytes | None = None
    ) -> FakeInspection | None:
        if not self.recognises(head):
            return None
        self.inspections.append(FakeInspection(self, head, context))
        return self.inspections[-1]


class FakeOrders:
    """Names and rules over a script."""

    def __init__(self, script: Script) -> None:
        self.script = script

    @property
    def services(self) -> dict[str, Service]:
        return {}

    def match(self, host: str) -> Service | None:
        return SERVICES.get(host.lower().removesuffix("."))

    def intercepts(self, service: Service) -> bool:
        return self.script.intercepted(service)

    def on_failure(self, _service: Service | None, *, process: Process | None = None) -> OnFailure:
        return self.script.on_failure

    def must_inspect(self, _service: Service | None, _process: object) -> bool:
        return self.script.must_inspect

    def refusal(self, service: Service, *, now: float) -> object | None:
        return self.script.refused(service) or None


# --- the gate ----------------------------------------------------------------------------------


@dataclass
class Lab:
    """A provider behind a running gate."""

    provider: Provider
    script: Script
    records: list[dict[str, Any]]
    watch: Watch
    checkpoint: Checkpoint
    port: int
    looked_up: list[tuple[str, int, int]]
    destination: list[tuple[str, int] | None]
    """Where the next connections wanted to go; None: nobody knows."""
    signed: list[str]
    dialled: list[tuple[int, int]]
    trust: ssl.SSLContext
    seen: list[tuple[int, str, str]]
    """What the daemon was told of connections."""

    async def connect(
        self, name: str | None = HOST, *, tls: bool = True, context: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not tls:
            return await asyncio.open_connection("127.0.0.1", self.port)
        return await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or self.trust, server_hostname=name
        )

    async def call(self, body: bytes = b'{"model": "m"}', **options: Any) -> Answer:
        """One request on a connection of its own."""
        name = options.pop("name", HOST)
        reader, writer = await self.connect(name)
        try:
            return await exchange(reader, writer, body, **{"host": name, **options})
        finally:
            writer.close()

    async def recorded(self, count: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(3):
            while len(self.records) < count:
                await asyncio.sleep(0.01)
        return self.records


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True
    """Whether the body ended as its framing says."""

    def json(self) -> Any:
        return json.loads(self.body)


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    body: bytes = b"{}",
    *,
    host: str = HOST,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
) -> Answer:
    """One HTTP/1.1 request and its answer."""
    fields = {"Host": host, "Content-Type": "application/json", **(headers or {})}
    if body and "Transfer-Encoding" not in fields:
        fields.setdefault("Content-Length", str(len(body)))
    head = f"{method} {path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(head.encode("latin-1") + b"\r\n" + body)
    with contextlib.suppress(OSError):
        await writer.drain()
    return await answer(reader, method)


async def answer(reader: asyncio.StreamReader, method: str = "POST") -> Answer:
    """Read one HTTP/1.1 answer."""
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rows = head.split("\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (row.partition(":") for row in rows if row)
        }
        status, body, whole = int(line.split(" ")[1]), b"", True
        if method == "HEAD" or status in (101, 204, 304):
            return Answer(status, fields, b"")
        if "chunked" in fields.get("transfer-encoding", ""):
            try:
                while size := int(await reader.readline() or b"bad", 16):
                    body += await reader.readexactly(size)
                    await reader.readline()
                await reader.readline()
            except (ValueError, asyncio.IncompleteReadError):
                whole = False
        elif "content-length" in fields:
            try:
                body = await reader.readexactly(int(fields["content-length"]))
            except asyncio.IncompleteReadError as error:
                body, whole = error.partial, False
        else:
            body = await reader.read()
        return Answer(status, fields, body, whole)


async def exchange_h2(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *bodies: bytes,
    host: str = HOST,
    path: str = "/v1/chat/completions",
    headers: list[tuple[str, str]] | None = None,
    validate: bool = True,
) -> list[Answer]:
    """Requests on one HTTP/2 connection, all at once, and their answers."""
    config = h2.config.H2Configuration(
        client_side=True,
        header_encoding="utf-8",
        validate_outbound_headers=validate,
        normalize_outbound_headers=validate,
    )
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    answers: dict[int, Answer] = {}
    ended: set[int] = set()
    for body in bodies:
        stream = connection.get_next_available_stream_id()
        fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
            ("content-type", "application/json"),
            *(headers or []),
        ]
        connection.send_headers(stream, fields)
        connection.send_data(stream, body, end_stream=True)
        answers[stream] = Answer(0, {}, b"", False)
    writer.write(connection.data_to_send())
    async with asyncio.timeout(10):
        while len(ended) < len(bodies):
            data = await reader.read(65536)
            if not data:
                break
            for event in connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        fields = dict(event.headers)
                        answers[event.stream_id].status = int(fields[":status"])
                        answers[event.stream_id].headers = fields
                    case h2.events.DataReceived():
                        answers[event.stream_id].body += event.data
                        connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                    case h2.events.StreamEnded():
                        answers[event.stream_id].whole = True
                        ended.add(event.stream_id)
                    case h2.events.StreamReset():
                        ended.add(event.stream_id)
                    case h2.events.ConnectionTerminated():
                        ended.update(answers)
            writer.write(connection.data_to_send())
    return list(answers.values())


@contextlib.asynccontextmanager
async def lab(
    script: Script | None = None,
    *,
    alpn: list[str] | None = None,
    client_alpn: list[str] | None = None,
    sign: Callable[[str, bytes], Awaitable[bytes]] | None = None,
    trusted: tuple[Authority, ...] | None = None,
    limit: int = LIMIT,
    proto: int = socket.IPPROTO_TCP,
    defer: Callable[[Callable[[], None]], object] = at_once,
    room: Room | None = None,
    counter: Counter | None = None,
    process: Process | None = None,
) -> AsyncIterator[Lab]:
    """Start everything, and end it."""
    script = script or Script()
    fake = FakeOrders(script)
    signed: list[str] = []
    dialled: list[tuple[int, int]] = []

    async def signs(name: str, public_key: bytes) -> bytes:
        signed.append(name)
        key = serialization.load_der_public_key(public_key)
        return intermediate().sign(name, key).public_bytes(serialization.Encoding.DER)

    provider = Provider()
    names = (HOST, SIBLING, RIVAL, STRANGER)
    await provider.start(root("provider"), names, alpn or ["http/1.1"])
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, proto)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    inherited = socket.socket(fileno=listener.detach())  # as it comes from the daemon
    looked_up: list[tuple[str, int, int]] = []
    destination: list[tuple[str, int] | None] = [provider.tls]
    records: list[dict[str, Any]] = []
    seen: list[tuple[int, str, str]] = []

    async def look_up(address: str, port: int, netns: int) -> Caller | None:
        looked_up.append((address, port, netns))
        where = destination[0]
        return None if where is None else Caller(4711, where, process)

    async def dial(netns: int, family: int) -> socket.socket:
        dialled.append((netns, family))
        return socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)

    leaves = Leaves(sign or signs, intermediate().pem, time.time)
    checkpoint = Checkpoint(
        (Listener(inherited, 4, HOME, inherited.getsockname()[1]),),
        look_up,
        dial,
    )
    watch = Watch(Orders(fake, fake, script))
    pems = [each.pem for each in trusted or (root("provider"),)]
    bundle = trust.private_file("test-upstream", "\n".join(pems).encode())
    master = assembly.assemble(
        watch,
        Ledger(
            records.append,
            time.time,
            os.urandom,
            defer,
            lambda *told: seen.append(told),
            Claims(clients.shipped(), b"k" * 32),
        ),
        checkpoint,
        leaves,
        body_limit=limit,
        upstream_trust=bundle,
        room=room,
        counter=counter,
    )
    running = asyncio.create_task(master.run())
    async with asyncio.timeout(5):
        while not any(server.is_running for server in checkpoint.servers):
            await asyncio.sleep(0.005)
    context = client_context(root("milecastle"), root("provider"), alpn=client_alpn)
    port = inherited.getsockname()[1]
    try:
        yield Lab(
            provider,
            script,
            records,
            watch,
            checkpoint,
            port,
            looked_up,
            destination,
            signed,
            dialled,
            context,
            seen,
        )
    finally:
        master.shutdown()
        await running
        for instance in checkpoint.servers:
            await instance.stop()
        for handler in list(checkpoint.connections.values()):
            handler.abort()
        await provider.stop()
        await asyncio.sleep(0.01)


def replied(**fields: Any) -> Callable[[Received], Reply]:
    """Always the same reply."""
    return lambda _request: Reply(**fields)


def events(count: int, pause: float = 0.0) -> Callable[[Received], Reply]:
    """A stream of server-sent events."""
    pieces = [b'data: {"n": %d}\n\n' % number for number in range(count)]
    return replied(pieces=pieces, pause=pause, headers={"content-type": "text/event-stream"})

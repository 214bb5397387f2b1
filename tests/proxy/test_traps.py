"""Every trap of mitmproxy that was measured, as a contract: it holds, or this worker is not safe.

The names say what stock mitmproxy 12.2.3 would do, or what must be true of it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import os
import socket
import ssl
import subprocess
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from mitmproxy import certs, connection, ctx, master, options
from mitmproxy.addons import proxyserver, tlsconfig
from mitmproxy.proxy import layers, mode_servers, mode_specs
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.test import tflow
from tests.proxy.lab import (
    HOST,
    RIVAL,
    UNSERVED,
    Reply,
    Script,
    answer,
    client_context,
    events,
    exchange,
    exchange_h2,
    intermediate,
    lab,
    replied,
    root,
)

from milecastle.inspection import Block, Chunk
from milecastle.model import ParseError
from milecastle.proxy import approach, certificates, checkpoint, guard, streams, trust
from milecastle.proxy.link import Caller

H2 = {"alpn": ["h2", "http/1.1"], "client_alpn": ["h2"]}
VERSIONS = {"http/1.1": {}, "h2": H2}
NO = Block(403, {"content-type": "application/json"}, b'{"error": "no"}')


def explode(*_arguments):
    raise KeyError("a prompt that no log may show")


async def one(gate, version, body=b"{}", reader_writer=None, **more):
    """One exchange in either version of HTTP."""
    reader, writer = reader_writer or await gate.connect()
    if version == "h2":
        return (await exchange_h2(reader, writer, body, **more))[0]
    return await exchange(reader, writer, body, **more)


# --- the version, and the semi-private things that are used --------------------------------------


def test_the_version_is_pinned_and_its_h2_is_not_the_one_that_smuggles():
    assert importlib.metadata.version("mitmproxy") == "12.2.3"
    assert tuple(map(int, importlib.metadata.version("h2").split("."))) >= (4, 3, 0)


def test_what_is_subclassed_is_still_there_and_still_found_by_its_name():
    source = inspect.getsource(http.HttpLayer)
    assert "HttpStream(ctx, stream_id)" in source
    assert "Http1Server(self.context.fork())" in source
    assert "Http1Client(self.context)" in inspect.getsource(http.HttpClient)
    streams.install()
    assert (http.HttpStream, http.Http1Server, http.Http1Client) == (
        streams.HttpStream,
        streams.Http1Server,
        streams.Http1Client,
    )
    base = streams.HttpStream.__mro__[1]
    for name in ("state_consume_request_body", "state_wait_for_response_headers"):
        assert name in vars(base)
    for name in ("state_stream_response_body", "send_response", "check_body_size", "state_done"):
        assert name in vars(base)
    assert "read_headers" in vars(_http1.Http1Server)
    assert "read_headers" in vars(_http1.Http1Client)


def test_the_embedding_points_are_still_there():
    assert {"_start", "make_top_layer"} <= set(dir(mode_servers.AsyncioServerInstance))
    assert mode_specs.ProxyMode.parse("checkpoint").transport_protocol == "tcp"
    assert inspect.signature(mode_servers.ProxyConnectionHandler.__init__).parameters.keys() == {
        *("self", "master", "r", "w", "options", "mode")
    }
    assert isinstance(proxyserver.Proxyserver().connections, dict)
    assert "certstore" in vars(tlsconfig.TlsConfig)
    assert "self.certstore.get_cert(" in inspect.getsource(tlsconfig.TlsConfig.get_cert)
    assert 'addons.get("proxyserver")' in inspect.getsource(master.Master.run)
    assert {"sockname", "sni", "id"} <= set(connection.Client.__dataclass_fields__)
    assert "address" in connection.Server.__dataclass_fields__


def test_get_cert_takes_the_arguments_of_this_version():
    parameters = inspect.signature(certs.CertStore.get_cert).parameters
    assert list(parameters)[:4] == ["self", "commonname", "sans", "organization"]


# --- trap 1: an exception in a hook fails open ---------------------------------------------------

STAGES = {
    "requestheaders": {"recognises": explode},
    "request": {"request": explode},
    "responseheaders": {"respond": explode},
    "response": {"response": explode},
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize("stage", STAGES)
async def test_an_exception_in_a_hook_gives_the_policys_answer(stage, on_failure, version, caplog):
    script = Script(on_failure=on_failure, **STAGES[stage])
    async with lab(script, **VERSIONS[version]) as gate:
        reader, writer = await gate.connect()
        got = await one(gate, version, b'{"as": "it came"}', (reader, writer))
        assert got.whole
        if on_failure == "open":
            assert (got.status, got.body) == (200, b'{"answer": 42}')
            assert gate.provider.received[0].body == b'{"as": "it came"}'
        else:
            assert got.status == 403
            assert b"42" not in got.body
            expected = 0 if stage.startswith("request") else 1
            assert len(gate.provider.received) == expected
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "KeyError"
    assert "KeyError" in caplog.text
    assert "prompt" not in caplog.text


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_an_exception_while_the_name_is_judged_gives_the_policys_answer(on_failure):
    async with lab(Script(on_failure=on_failure, intercepted=explode)) as gate:
        context = client_context(root("provider"))
        if on_failure == "open":
            reader, writer = await gate.connect(context=context)
            assert (await exchange(reader, writer)).status == 200
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.wait_for(gate.connect(context=context), 3)
            assert gate.provider.connections == 0


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_an_exception_in_the_record_and_in_the_failure_itself_changes_nothing(on_failure):
    async with lab(Script(on_failure=on_failure, request=explode)) as gate:
        gate.script.record = explode
        first = await gate.call()
        gate.script.on_failure = on_failure
        assert first.status == (200 if on_failure == "open" else 403)


@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize("coding", ["gzip", "br", "bogus", "gzip, gzip, gzip"])
async def test_a_bogus_content_encoding_is_a_failure_and_no_way_past(coding, on_failure):
    async with lab(Script(on_failure=on_failure)) as gate:
        body = b'{"key": "plain text, not gzip"}'
        got = await gate.call(body, headers={"Content-Encoding": coding})
        assert gate.script.inspections[0].failed == [("request", "unreadable_body")]
        assert got.status == (200 if on_failure == "open" else 403)
        assert [each.body for each in gate.provider.received] == [body] * (on_failure == "open")


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_a_bogus_content_encoding_of_an_answer_is_a_failure(on_failure):
    async with lab(Script(on_failure=on_failure)) as gate:
        gate.provider.reply = replied(body=b"not gzip", headers={"content-encoding": "gzip"})
        got = await gate.call()
        assert gate.script.inspections[0].failed == [("response", "unreadable_body")]
        assert (got.status, got.body == b"not gzip") == (
            (200, True) if on_failure == "open" else (403, False)
        )


# --- trap 2: an exception in a stream callable loses a piece and lets the next ones pass ---------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_an_exception_in_a_stream_loses_nothing_or_lets_nothing_pass(on_failure, version):
    seen = []

    def feed(data):
        seen.append(data)
        if len(seen) == 3:
            explode()
        return Chunk(data)

    async with lab(Script(on_failure=on_failure, feed=feed), **VERSIONS[version]) as gate:
        gate.provider.reply = events(8, pause=0.02)
        got = await one(gate, version)
        assert got.whole
        numbers = [n for n in range(8) if b'"n": %d}' % n in got.body]
        assert numbers == (list(range(8)) if on_failure == "open" else [0, 1])
        assert len(seen) == 3
        assert gate.script.inspections[0].failed == [("response", "KeyError")]


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_an_exception_at_the_end_of_a_stream_is_answered_too(on_failure):
    async with lab(Script(on_failure=on_failure, finish=explode)) as gate:
        gate.provider.reply = events(3)
        got = await gate.call()
        assert got.whole
        assert got.body.count(b"data:") == 3
        assert gate.script.inspections[0].failed == [("response", "KeyError")]


# --- trap 3: the leaf key is the CA key; a refused certificate hangs the client ------------------


async def test_the_leaf_has_the_workers_own_key_the_name_alone_and_comes_with_the_intermediate():
    async with lab() as gate:
        # a client that trusts the root alone: it can only get here by the intermediate
        _reader, writer = await gate.connect(context=client_context(root("milecastle")))
        tls = writer.get_extra_info("ssl_object")
        leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
        keys = {
            each.public_key().public_numbers()
            for each in (leaf, intermediate().certificate, root("milecastle").certificate)
        }
        assert len(keys) == 3
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [each.value for each in names] == [HOST]
        assert leaf.issuer == intermediate().certificate.subject
        writer.close()


async def test_many_connections_at_once_ask_the_signer_once():
    async with lab() as gate:
        connections = await asyncio.gather(*(gate.connect() for _ in range(20)))
        assert gate.signed == [HOST]
        for _reader, writer in connections:
            writer.close()


class Signers:
    """Ways in which a signer fails."""

    async def gone(self, _name, _key):
        raise certificates.UnsignedError("gone")

    async def garbage(self, _name, _key):
        return b"not a certificate"

    async def other_name(self, _name, key):
        return (
            intermediate()
            .sign(RIVAL, serialization.load_der_public_key(key))
            .public_bytes(serialization.Encoding.DER)
        )

    async def other_key(self, name, _key):
        return (
            intermediate()
            .sign(name, root("x").key.public_key())
            .public_bytes(serialization.Encoding.DER)
        )

    async def expired(self, name, key):
        public = serialization.load_der_public_key(key)
        return intermediate().sign(name, public, days=-1).public_bytes(serialization.Encoding.DER)

    async def broken(self, _name, _key):
        explode()


@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize("how", [name for name in vars(Signers) if not name.startswith("_")])
async def test_a_refused_certificate_never_hangs_a_client(how, on_failure):
    script = Script(on_failure=on_failure)
    async with lab(script, sign=getattr(Signers(), how)) as gate:
        context = client_context(root("provider"))
        began = time.monotonic()
        if on_failure == "open":
            reader, writer = await gate.connect(context=context)
            assert (await exchange(reader, writer)).status == 200
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await gate.connect(context=context)
            assert gate.provider.connections == 0
        assert time.monotonic() - began < 2
        record = (await gate.recorded())[0]
        assert record["host"] == HOST
        assert record["attributes"]["error.type"] in ("no_certificate", "KeyError")


# --- trap 4: no clean cut of a stream ------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_cut_ends_cleanly_stops_upstream_and_leaves_the_connection_usable(version):
    def feed(data):
        cut = b'"n": 60}' in data
        return Chunk(b"data: [BLOCKED]\n\n" if cut else data, cut)

    async with lab(Script(feed=feed), **VERSIONS[version]) as gate:
        gate.provider.reply = events(200, pause=0.002)
        reader, writer = await gate.connect()
        if version == "h2":
            got = (await exchange_h2(reader, writer, b"{}"))[0]
        else:
            got = await exchange(reader, writer)
        assert (got.status, got.whole) == (200, True)
        assert got.body.endswith(b"data: [BLOCKED]\n\n")
        await asyncio.sleep(0.05)
        assert gate.provider.sent_pieces < 120
        gate.provider.reply = replied()
        if version == "http/1.1":
            assert (await exchange(reader, writer)).status == 200
        assert len(await gate.recorded()) >= 1


async def test_after_a_cut_other_streams_of_the_connection_go_on():
    def feed(data):
        return Chunk(b"", cut=True) if b"stop" in data else Chunk(data)

    async with lab(Script(feed=feed), **H2) as gate:

        def reply(request):
            word = b"stop" if request.body == b"1" else b"go"
            pieces = [b"data: %s\n\n" % word] * 20
            return Reply(pieces=pieces, pause=0.005, headers={"content-type": "text/event-stream"})

        gate.provider.reply = reply
        reader, writer = await gate.connect()
        answers = await exchange_h2(reader, writer, b"0", b"1", b"2")
        assert all(each.whole for each in answers)
        assert [each.body.count(b"go") for each in answers] == [20, 0, 20]


# --- more traps ----------------------------------------------------------------------------------


async def test_an_empty_piece_does_not_end_an_http1_stream():
    pieces = iter([Chunk(b"data: 0\n\n"), Chunk(b""), Chunk(b""), Chunk(b"data: 3\n\n")])
    async with lab(Script(feed=lambda _data: next(pieces))) as gate:
        gate.provider.reply = events(4, pause=0.01)
        got = await gate.call()
        assert (got.whole, got.body) == (True, b"data: 0\n\ndata: 3\n\n")


async def test_the_stream_callable_sees_plain_bytes():
    async with lab() as gate:
        await gate.call(headers={"Accept-Encoding": "gzip, br"})
        assert gate.provider.received[0].headers["accept-encoding"] == "identity"


async def test_a_signed_header_is_left_as_it_is():
    async with lab() as gate:
        signed = "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=accept-encoding;host, Signature=x"
        headers = {"Accept-Encoding": "gzip", "Authorization": signed}
        await gate.call(headers=headers)
        assert gate.provider.received[0].headers["accept-encoding"] == "gzip"


async def test_no_byte_of_a_large_request_leaves_before_it_is_inspected():
    async with lab(Script(request=lambda _body: NO), limit=8 << 20) as gate:
        got = await gate.call(b"x" * (6 << 20))
        assert got.status == 403
        assert gate.provider.connections == 0


async def test_nothing_goes_upstream_before_the_request_is_judged():
    async with lab() as gate:
        _reader, writer = await gate.connect()
        await asyncio.sleep(0.1)
        assert gate.provider.connections == 0
        writer.close()


async def test_an_upstream_certificate_that_is_not_trusted_is_told_and_never_accepted():
    async with lab(trusted=(root("somebody else"),)) as gate:
        got = await gate.call()
        assert (got.status, got.json()["error"]["code"]) == (502, "upstream_certificate")
        assert gate.provider.received == []
        assert (await gate.recorded())[0]["attributes"]["error.type"] == "upstream_certificate"


async def test_an_upstream_certificate_for_another_name_is_not_accepted():
    async with lab() as gate:
        got = await gate.call(name=UNSERVED, host=UNSERVED)
        assert (got.status, got.json()["error"]["code"]) == (502, "upstream_certificate")
        assert gate.provider.received == []


def test_the_trust_bundle_adds_to_the_hosts_store_and_does_not_replace_it(tmp_path):
    store = tmp_path / "ca-certificates.crt"
    store.write_text(root("the host's").pem)
    merged = trust.merged([root("the operator's").pem], stores=[tmp_path / "none", store])
    subjects = {each.subject.rfc4514_string() for each in x509.load_pem_x509_certificates(merged)}
    assert subjects == {"CN=the host's", "CN=the operator's"}


def test_without_a_host_store_certifis_is_taken(tmp_path):
    assert len(x509.load_pem_x509_certificates(trust.merged([], stores=[tmp_path]))) > 50


def test_the_bundle_is_a_file_without_a_name():
    path = trust.private_file("test", b"content")
    assert path.read_bytes() == b"content"
    assert "memfd:test (deleted)" in str(path.readlink())


async def test_a_client_that_refuses_the_certificate_is_recorded():
    async with lab() as gate:
        with pytest.raises(ssl.SSLCertVerificationError):
            await gate.connect(context=client_context(root("provider")))
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "client_refused_certificate"
        assert record["service"] == "provider"


def raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


TARGET = "POST /v1/chat/completions HTTP/1.1"
SMUGGLED = {
    "obscured transfer-encoding": raw(
        TARGET, f"Host: {HOST}", "Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"
    ),
    "transfer-encoding and length": raw(
        TARGET,
        f"Host: {HOST}",
        "Transfer-Encoding: chunked",
        "Content-Length: 5",
        body=b"0\r\n\r\n",
    ),
    "two lengths": raw(
        TARGET, f"Host: {HOST}", "Content-Length: 1", "Content-Length: 2", body=b"ab"
    ),
    "signed length": raw(TARGET, f"Host: {HOST}", "Content-Length: +2", body=b"ab"),
    "folded field": raw(TARGET, f"Host: {HOST}", "X: a", " b", "Content-Length: 0"),
    "space before the colon": raw(TARGET, f"Host: {HOST}", "Content-Length : 0"),
    "bare line feed": raw(TARGET, f"Host: {HOST}\nX: y", "Content-Length: 0"),
    "bare carriage return": raw(TARGET, f"Host: {HOST}", "X: a\rb", "Content-Length: 0"),
    "null": raw(TARGET, f"Host: {HOST}", "X: a\0b", "Content-Length: 0"),
    "two hosts": raw(TARGET, f"Host: {HOST}", f"Host: {RIVAL}", "Content-Length: 0"),
    "a coded transfer": raw(TARGET, f"Host: {HOST}", "Transfer-Encoding: gzip, chunked"),
    "unknown transfer-encoding": raw(TARGET, f"Host: {HOST}", "Transfer-Encoding: cow"),
    "connect": raw(f"CONNECT {HOST}:443 HTTP/1.1", f"Host: {HOST}"),
    "a megabyte of header": raw(TARGET, f"Host: {HOST}", "X: " + "a" * (1 << 20)),
    "a header without end": (TARGET + "\r\nX: " + "a" * (1 << 20)).encode(),
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_what_could_be_read_in_two_ways_is_refused(data):
    async with lab() as gate:
        reader, writer = await gate.connect()
        writer.write(data)
        got = await answer(reader)
        assert 400 <= got.status < 500
        assert gate.provider.received == []
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "malformed_request"
        writer.close()


H2_SMUGGLED = {
    "line break in a field": {"headers": [("x", "a\r\nTransfer-Encoding: chunked")]},
    "line break in the path": {"path": "/v1 HTTP/1.1\r\nX: y"},
    "space in the path": {"path": "/v1 HTTP/1.1"},
    "transfer-encoding": {"headers": [("transfer-encoding", "chunked")]},
    "a megabyte of header": {"headers": [("x", "a" * 10000)] * 30},
}


@pytest.mark.parametrize("fields", H2_SMUGGLED.values(), ids=H2_SMUGGLED.keys())
async def test_http2_can_not_smuggle_into_http1(fields):
    async with lab(alpn=["http/1.1"], client_alpn=["h2"]) as gate:
        reader, writer = await gate.connect()
        got = (await exchange_h2(reader, writer, b"{}", validate=False, **fields))[0]
        assert got.status in (0, 400, 403, 431)
        assert gate.provider.received == []
        writer.close()


async def test_a_grpc_body_arrives_raw_and_intact():
    async with lab(**H2) as gate:
        body = b"\0\0\0\0\x07" + bytes(range(249, 256))
        headers = [("te", "trailers")]
        reader, writer = await gate.connect()
        got = (await exchange_h2(reader, writer, body, headers=headers))[0]
        assert got.status == 200
        assert gate.provider.received[0].body == body


async def test_alt_svc_is_not_passed_on():
    async with lab() as gate:
        assert "alt-svc" not in (await gate.call()).headers


async def test_keep_alive_requests_do_not_wait_for_nagle():
    """asyncio sets TCP_NODELAY only on a socket of IPPROTO_TCP; else a request takes 48 ms."""
    async with lab(proto=0) as gate:
        reader, writer = await gate.connect()
        await exchange(reader, writer)
        nodelay = [
            each.transports[each.client]
            .writer.get_extra_info("socket")
            .getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for each in gate.checkpoint.connections.values()
        ]
        assert nodelay == [1]
        writer.close()


async def test_the_first_event_does_not_wait_for_the_last():
    async with lab() as gate:
        gate.provider.reply = events(20, pause=0.05)
        reader, writer = await gate.connect()
        began = time.monotonic()
        writer.write(raw(TARGET, f"Host: {HOST}", "Content-Length: 2", body=b"{}"))
        await reader.readuntil(b"data:")
        assert time.monotonic() - began < 0.9  # the last comes after a second
        writer.close()


async def test_the_caller_is_known_before_the_client_has_said_a_word():
    async with lab() as gate:
        _reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        own = writer.get_extra_info("sockname")
        async with asyncio.timeout(2):
            while not gate.checkpoint.callers:
                await asyncio.sleep(0.01)
        assert gate.looked_up == [("127.0.0.1", own[1], 99)]
        assert next(iter(gate.checkpoint.callers.values())).cookie == 4711
        writer.close()
        async with asyncio.timeout(2):
            while gate.checkpoint.callers:
                await asyncio.sleep(0.01)


async def test_a_request_that_begins_with_a_single_byte_is_not_taken_for_raw_tcp():
    async with lab() as gate:
        reader, writer = await gate.connect()
        request = raw(TARGET, f"Host: {HOST}", "Content-Length: 2", body=b"{}")
        for part in (request[:1], request[1:3], request[3:40], request[40:]):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.03)
        assert (await answer(reader)).status == 200
        assert len(gate.script.inspections) == 1


async def test_a_client_hello_that_begins_with_a_single_byte_is_not_taken_for_raw_tcp():
    async with lab() as gate:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = gate.trust.wrap_bio(incoming, outgoing, server_hostname=HOST)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        for part in (hello[:1], hello[1:2], hello[2:50], hello[50:]):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.03)
        incoming.write(await asyncio.wait_for(reader.read(65536), 3))
        assert gate.signed == [HOST]
        assert gate.provider.connections == 0
        writer.close()


async def test_what_is_not_http_inside_an_intercepted_connection_does_not_pass():
    async with lab() as gate:
        reader, writer = await gate.connect()
        writer.write(b"\x00\x01\x02 not http at all\r\n\r\n")
        assert b"HTTP/1.1 400" in await asyncio.wait_for(reader.read(1000), 3)
        assert gate.provider.connections == 0


KINDS = {
    b"": "unclear",
    b"\x16": "unclear",
    b"\x16\x03": "unclear",
    b"\x16\x03\x01": "tls",
    b"\x16\x02": "other",
    b"P": "unclear",
    b"POST": "unclear",
    b"POST /v1": "unclear",
    b"POST /v1 HTTP/1.1\r\n": "http",
    b"PRI * HTTP/2.0\r\n": "other",
    b"SSH-2.0": "other",
    b"EHLO x\r\n": "other",
    b"\x00": "other",
    b"GET " + b"a" * 70000: "other",
}


@pytest.mark.parametrize(("data", "expected"), KINDS.items())
def test_what_a_connection_carries(data, expected):
    assert approach.kind(data) == expected


async def test_a_crash_inside_mitmproxy_closes_the_connection_instead_of_hanging_it(monkeypatch):
    monkeypatch.setattr(streams.heads, "raw_problem", explode)
    async with lab() as gate:
        reader, writer = await gate.connect()
        writer.write(raw(TARGET, f"Host: {HOST}", "Content-Length: 0"))
        assert await asyncio.wait_for(reader.read(), 3) == b""
        writer.close()


async def test_trailers_of_http1_are_dropped_where_mitmproxy_would_crash():
    async with lab() as gate:
        reader, writer = await gate.connect()
        head = raw(TARGET, f"Host: {HOST}", "Transfer-Encoding: chunked")
        for _ in range(2):
            writer.write(head + b"2\r\n{}\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n")
            assert (await answer(reader)).status == 200
        assert [each.body for each in gate.provider.received] == [b"{}", b"{}"]
        writer.close()


async def test_websocket_messages_are_not_kept():
    async with lab():
        flow = tflow.twebsocketflow()
        assert len(flow.websocket.messages) > 1
        ctx.master.addons.get("milecastle").websocket_message(flow)
        assert len(flow.websocket.messages) == 1


def test_a_worker_writes_no_tls_keys(tmp_path):
    code = (
        "from milecastle.proxy import main; main.seal();"
        "from mitmproxy.net import tls; assert tls.log_master_secret is None;"
        "import resource; assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)"
    )
    keys = {"SSLKEYLOGFILE": str(tmp_path / "a"), "MITMPROXY_SSLKEYLOGFILE": str(tmp_path / "b")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **keys}, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_entry_point_imports_no_mitmproxy_before_the_environment_is_clean():
    code = "import sys, milecastle.proxy.main; assert 'mitmproxy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_mitmproxy_makes_no_ca_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with lab() as gate:
        assert (await gate.call()).status == 200
    assert list(tmp_path.iterdir()) == []


async def test_the_options_are_those_that_are_safe():
    async with lab():
        chosen: options.Options = ctx.options
        assert chosen.connection_strategy == "lazy"
        assert chosen.ssl_insecure is chosen.upstream_cert is chosen.rawtcp is False
        assert chosen.stream_large_bodies is None
        assert [type(addon).__name__ for addon in ctx.master.addons.chain] == [
            *("Core", "DisableH2C", "Checkpoint", "Approach", "Handshakes", "Threshold", "Gate")
        ]


async def test_an_upstream_connection_goes_to_the_original_destination_only():
    async with lab() as gate:
        threshold = ctx.master.addons.get("milecastle-threshold")
        client = tflow.tclient_conn()
        gate.checkpoint.callers[client.id] = Caller(1, ("198.51.100.7", 443), None)
        for address, allowed in ((("198.51.100.7", 443), True), (("198.51.100.8", 443), False)):
            server = connection.Server(address=address)
            threshold.server_connect(ServerConnectionHookData(server, client))
            assert (server.error is None) == allowed


def test_a_parse_error_is_known_by_its_code():
    assert guard.code_of(ParseError("text of a body")) == "unreadable_body"
    assert guard.code_of(ValueError("text of a body")) == "ValueError"
    assert guard.code_of(guard.ForeseenError("body_too_large")) == "body_too_large"
    assert guard.OPEN.keys() == guard.CLOSED.keys()


def test_layers_are_used_by_their_public_names():
    assert layers.HttpLayer is http.HttpLayer
    assert checkpoint.CheckpointMode.type_name == "checkpoint"

"""Whatever breaks: the client gets what `on_failure` says, an event tells of it, others go on."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.proxy.lab import HOST, SERVICES, Reply, Script, answer, exchange, lab, replied
from tests.proxy.test_sockets import ENGINE, KEY

from milecastle import policy
from milecastle.detect import StreamScanner
from milecastle.inspection import Inspector
from milecastle.model import Service
from milecastle.proxy.room import Room

CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"use {KEY}"}]}).encode()
PLAIN = CHAT.replace(KEY.encode(), b"nothing")
SAID = json.dumps({"choices": [{"index": 0, "message": {"content": KEY}}]}).encode()
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "%s "}}]}\n\n' % KEY.encode()
STREAM = {"pieces": [EVENT, b"data: [DONE]\n\n"], "headers": {"content-type": "text/event-stream"}}


POLICY = """
version: 1
mode: enforce
on_failure: {on_failure}
rules: [{{id: no-secrets, when: {{finding: {{category: secret}}}}, action: block}}]
"""


class Names:
    """The lab's services, for a real inspection."""

    def match(self, host: str) -> Service | None:
        return SERVICES.get(host)


def script(on_failure: str = "open") -> Script:
    compiled, problems = policy.check(POLICY.format(on_failure=on_failure), "policy.yaml")
    assert compiled, problems
    made = Script(on_failure=on_failure)
    made.begin = Inspector(Names(), ENGINE, compiled).begin
    return made


class BrokenError(Exception):
    """What no code foresees."""


def detectors() -> list[str]:
    return [
        *(f"readers.{number}" for number in range(len(ENGINE.readers))),
        *(f"_detectors.{number}" for number in range(len(ENGINE._detectors))),
        "decoder",
    ]


def break_detector(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    def broken(*_args: Any) -> Any:
        raise BrokenError(f"with {KEY} in its text")

    if which == "stream scanner":
        monkeypatch.setattr(StreamScanner, "feed", broken)
        return
    name, _, number = which.partition(".")
    target = getattr(ENGINE, name)
    target = target[int(number)] if number else target
    monkeypatch.setattr(target, "scan" if number else "views", broken)
    monkeypatch.setattr(ENGINE, "_memory", type(ENGINE._memory)())


@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize(
    ("where", "which"),
    [
        *((where, which) for where in ("request", "answer") for which in detectors()),
        *(("stream", which) for which in ("decoder", "stream scanner")),
    ],
)
async def test_a_detector_that_raises_is_answered_by_on_failure(
    monkeypatch, which, where, on_failure, caplog
):
    async with lab(script(on_failure)) as gate:
        if where == "request":
            break_detector(monkeypatch, which)
        else:
            reply = STREAM if where == "stream" else {"body": SAID}
            gate.provider.reply = replied(**reply)

            def answering(_request: object, reply: dict[str, Any] = reply) -> Reply:
                break_detector(monkeypatch, which)
                return Reply(**reply)

            gate.provider.reply = answering
        got = await gate.call(CHAT if where == "request" else PLAIN)
        record = (await gate.recorded())[0]
        if where == "request":
            assert got.status == (200 if on_failure == "open" else 403)
            assert len(gate.provider.received) == (on_failure == "open")
        elif on_failure == "closed":
            assert KEY.encode() not in got.body
        told = json.dumps([record.get("failures"), record["attributes"]])
        assert "BrokenError" in told
        assert KEY not in caplog.text
        assert KEY not in told


# --- the provider's side -----------------------------------------------------------------------

type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def head_then_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
    )
    await writer.drain()
    await asyncio.sleep(0.05)
    await reset(reader, writer)


async def events_then_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        b'33\r\ndata: {"choices":[{"index":0,"delta":{"content":"a"}}]}\r\n'
    )
    await writer.drain()
    await asyncio.sleep(0.05)
    await reset(reader, writer)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"220 mail.example.test ESMTP\r\n\r\n")
    await writer.drain()


async def bad_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        b"zz\r\n{}\r\n0\r\n\r\n"
    )
    await writer.drain()


@pytest.mark.parametrize(
    "serve",
    [reset, head_then_reset, events_then_reset, garbage, bad_chunks],
    ids=lambda s: s.__name__,
)
async def test_a_provider_that_breaks_off_is_an_error_for_the_client_and_in_the_record(
    serve: Serve,
):
    place = Room(lambda: 0.0, used=lambda: 0)
    async with lab(script(), room=place) as gate:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        gate.destination[0] = server.sockets[0].getsockname()
        reader, writer = await gate.connect(tls=False)
        try:
            got = await exchange(reader, writer, PLAIN, host=HOST)
            assert got.status == 502 or not got.whole or got.body == b""
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it broke off for the client as well
        record = (await gate.recorded())[0]
        assert record["attributes"].get("error.type")
        writer.close()
        server.close()
        gate.destination[0] = gate.provider.tls
        assert (await gate.call(PLAIN)).status == 200, "others go on"
    assert (place.open, place.held) == (0, 0)


async def test_a_provider_that_is_slow_is_waited_for_and_a_client_that_leaves_is_not():
    place = Room(lambda: 0.0, used=lambda: 0)
    async with lab(script(), room=place) as gate:
        slow = {"pieces": [b"data: {}\n\n"] * 40, "pause": 0.05}
        gate.provider.reply = replied(**slow, headers={"content-type": "text/event-stream"})
        reader, writer = await gate.connect()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\n"
        writer.write(f"{head}Content-Length: {len(PLAIN)}\r\n\r\n".encode() + PLAIN)
        await reader.readuntil(b"data:")
        assert place.open == 1
        writer.transport.abort()
        await gate.recorded()
        async with asyncio.timeout(2):
            while not gate.provider.broken_off:
                await asyncio.sleep(0.02)
        assert gate.provider.sent_pieces < 40
        gate.provider.reply = replied()
        assert (await gate.call(PLAIN)).status == 200
    assert (place.open, place.held) == (0, 0)


async def test_a_client_that_leaves_at_any_byte_of_its_request_costs_nothing():
    place = Room(lambda: 0.0, used=lambda: 0)
    async with lab(script(), room=place) as gate:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\n"
        whole = f"{head}Content-Length: {len(PLAIN)}\r\n\r\n".encode() + PLAIN
        for length in range(0, len(whole), 17):
            _reader, writer = await gate.connect()
            writer.write(whole[:length])
            await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.2)
        assert gate.provider.received == []
        reader, writer = await gate.connect()
        writer.write(whole)
        assert (await answer(reader)).status == 200
        writer.close()
    assert (place.open, place.held) == (0, 0)

"""What a worker holds is bounded, whatever clients and providers do."""

from __future__ import annotations

import asyncio
import hashlib

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from tests.proxy.lab import HOST, Lab, Reply, Script, exchange_h2, lab, replied

from milecastle.proxy import multiplex, room

H2 = {"alpn": ["h2", "http/1.1"], "client_alpn": ["h2"]}
PIECE = b"x" * (1 << 16)


# --- the count of it -------------------------------------------------------------------------


def some_room(**more) -> room.Room:
    return room.Room(**{"clock": lambda: 0.0, "used": lambda: 0, "trim": lambda: None} | more)


def test_beyond_so_many_exchanges_there_is_no_room_and_leaving_makes_some():
    place = some_room(exchanges=2)
    assert [place.enter(), place.enter(), place.enter()] == [True, True, False]
    place.leave(0)
    place.leave(0)
    assert place.enter()
    assert (place.open, place.shed) == (2, 1)


def test_beyond_so_many_bytes_there_is_no_room():
    place = some_room(most_held=10)
    assert place.hold(10)
    assert not place.hold(1)
    place.leave(11)
    assert place.hold(1)


def test_near_the_memory_limit_there_is_no_room_until_it_is_given_back():
    times, used, trims = iter([0.0, 0.01, 1.0, 3.0, 5.0]), [80], []
    place = some_room(
        memory=100, clock=lambda: next(times), used=lambda: used[0], trim=lambda: trims.append(1)
    )
    assert not place.enter()
    used[0] = 0
    assert not place.enter(), "it looks only now and then"
    assert place.enter()
    used[0] = 76
    assert not place.enter()
    assert len(trims) == 2
    used[0] = 74
    assert place.enter()


def test_this_process_has_memory_and_a_limit():
    assert 1 << 20 < room.resident() < room.MEMORY
    assert 0 < room.allowed() <= room.MEMORY
    room.give_back()


# --- a worker that is full -------------------------------------------------------------------


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_what_there_is_no_room_for_follows_on_failure(on_failure):
    async with lab(Script(on_failure=on_failure), room=some_room(exchanges=0)) as gate:
        got = await gate.call(b'{"model": "m"}')
        assert got.status == (200 if on_failure == "open" else 403)
        assert len(gate.provider.received) == (on_failure == "open")
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "overloaded"


async def test_bodies_that_grow_together_are_not_held_beyond_the_bound():
    place = some_room(most_held=3 * len(PIECE))
    async with lab(Script(on_failure="open"), room=place, limit=1 << 20) as gate:
        body = PIECE * 5
        assert (await gate.call(body)).status == 200
        assert gate.provider.received[0].body == body
        assert gate.script.inspections[0].bodies == {}
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "overloaded"
    assert (place.open, place.held) == (0, 0)


async def test_room_is_given_back_however_an_exchange_ends():
    place = some_room()
    async with lab(room=place) as gate:
        await gate.call(b"{}")
        _reader, writer = await gate.connect()
        writer.write(f"POST /v1/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nab".encode())
        await asyncio.sleep(0.1)
        assert place.open == 1
        writer.transport.abort()
        gate.provider.reply = replied(status=204, headers={})
        await gate.call(b"{}")
        await gate.recorded(3)
    assert (place.open, place.held) == (0, 0)


# --- what passes unread ----------------------------------------------------------------------


@pytest.mark.parametrize("version", ["h1", "h2"])
async def test_a_large_upload_streams_past_in_flat_memory_with_its_digest(version):
    pieces, digest, taken = 1024, hashlib.sha256(), [0]
    async with lab(Script(on_failure="open"), **(H2 if version == "h2" else {})) as gate:
        gate.provider.forgets = True  # what it kept would be measured as the gate's
        before = room.resident()
        most = before
        reader, writer = await gate.connect()
        send = upload_h1 if version == "h1" else upload_h2
        async for sent in send(reader, writer, pieces):
            digest.update(sent)
            taken[0] += len(sent)
            most = max(most, room.resident())
        writer.close()
        record = (await gate.recorded())[0]
        assert taken[0] == pieces * len(PIECE)
        assert record["request_bytes"] == taken[0]
        assert record["attributes"]["milecastle.request.sha256"] == digest.hexdigest()
        assert most - before < 48 << 20


async def upload_h1(reader, writer, pieces):
    writer.write(
        f"POST /v1/files HTTP/1.1\r\nHost: {HOST}\r\n"
        f"Content-Length: {pieces * len(PIECE)}\r\n\r\n".encode()
    )
    for _ in range(pieces):
        writer.write(PIECE)
        await writer.drain()
        yield PIECE
    assert b" 200 " in await reader.readline()


async def upload_h2(reader, writer, pieces):
    config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
    peer = h2.connection.H2Connection(config)
    peer.initiate_connection()
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", HOST), (":path", "/v1/f")]
    peer.send_headers(1, fields)
    writer.write(peer.data_to_send())
    left, ended = pieces, False
    while not ended:
        window = min(peer.local_flow_control_window(1), len(PIECE)) if left else 0
        if left and window >= len(PIECE):
            for start in range(0, len(PIECE), peer.max_outbound_frame_size):
                peer.send_data(1, PIECE[start : start + peer.max_outbound_frame_size])
            left -= 1
            if not left:
                peer.end_stream(1)
            writer.write(peer.data_to_send())
            await writer.drain()
            yield PIECE
            continue
        async with asyncio.timeout(10):
            data = await reader.read(65536)
        assert data
        for event in peer.receive_data(data):
            ended = ended or isinstance(event, h2.events.StreamEnded)
        writer.write(peer.data_to_send())


# --- floods ----------------------------------------------------------------------------------


async def flooded(gate: Lab, flood) -> h2.events.ConnectionTerminated | None:
    """Send what ``flood`` makes; return how the worker ended the connection, None: it did not."""
    reader, writer = await gate.connect()
    config = h2.config.H2Configuration(
        client_side=True, header_encoding="utf-8", validate_outbound_headers=False
    )
    peer = h2.connection.H2Connection(config)
    peer.initiate_connection()
    writer.write(peer.data_to_send())
    writer.write(flood(peer))
    try:
        async with asyncio.timeout(0.7):
            while data := await reader.read(65536):
                for event in peer.receive_data(data):
                    if isinstance(event, h2.events.ConnectionTerminated):
                        return event
    except TimeoutError:
        return None
    finally:
        writer.close()
    return h2.events.ConnectionTerminated()


FIELDS = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", HOST),
    (":path", "/v1/chat/completions"),
]


def resets(count):
    def flood(peer):
        for _ in range(count):
            stream = peer.get_next_available_stream_id()
            peer.send_headers(stream, FIELDS)
            peer.reset_stream(stream)
        return peer.data_to_send()

    return flood


def pings(peer):
    for _ in range(multiplex.IDLE_FRAMES + 10):
        peer.ping(b"12345678")
    return peer.data_to_send()


def continuations(_peer):
    head = b"\0\0\1\1\0\0\0\0\1\x82"
    return head + b"\0\0\1\x09\0\0\0\0\1\x82" * 20_000


def endless_head(peer):
    peer.send_headers(1, [*FIELDS, *[("x", "a" * 8000)] * 40])
    return peer.data_to_send()


@pytest.mark.parametrize(
    "flood",
    [resets(multiplex.RESETS + 10), pings, continuations, endless_head],
    ids=["rapid reset", "pings", "continuations", "an endless head"],
)
async def test_a_flood_ends_its_connection_and_no_other(flood):
    async with lab(**H2) as gate:
        ended = await flooded(gate, flood)
        assert ended is not None
        assert gate.provider.received == []
        reader, writer = await gate.connect()
        assert (await exchange_h2(reader, writer, b"{}"))[0].status == 200
        writer.close()


async def test_requests_that_are_taken_back_now_and_then_are_no_flood():
    async with lab(**H2) as gate:
        assert await flooded(gate, resets(50)) is None


async def test_a_peer_can_not_make_the_table_of_heads_huge(monkeypatch):
    sizes = []
    look = multiplex.Bounded._settle
    monkeypatch.setattr(
        multiplex.Bounded,
        "_settle",
        lambda self: sizes.append(self.h2_conn.encoder.header_table_size) or look(self),
    )
    async with lab(**H2) as gate:
        _reader, writer = await gate.connect()
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        peer = h2.connection.H2Connection(config)
        peer.initiate_connection()
        peer.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: (1 << 32) - 1})
        peer.send_headers(1, FIELDS)
        peer.send_data(1, b"{}", end_stream=True)
        writer.write(peer.data_to_send())
        await gate.recorded()
        writer.close()
    assert max(sizes) <= multiplex.TABLE


async def test_an_answer_for_a_client_that_does_not_read_is_not_piled_up():
    """HTTP/2 on both sides: 64 MB come from the provider, and the client opens no window."""
    reply = Reply(pieces=[PIECE] * 1024, headers={"content-type": "application/octet-stream"})
    script = Script(recognises=lambda _head: False)
    async with lab(script, **H2) as gate:
        gate.provider.reply = lambda _request: reply
        reader, writer = await gate.connect()
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        peer = h2.connection.H2Connection(config)
        peer.initiate_connection()
        peer.send_headers(1, FIELDS)
        peer.send_data(1, b"{}", end_stream=True)
        writer.write(peer.data_to_send())
        await asyncio.sleep(0.4)
        held = gate.provider.sent_pieces * len(PIECE)
        assert held <= multiplex.BACKLOG + 2 * multiplex.STREAM_WINDOW
        # and it goes on as soon as the client reads
        got = 0
        async with asyncio.timeout(20):
            while got < 1024 * len(PIECE):
                for event in peer.receive_data(await reader.read(1 << 20)):
                    if isinstance(event, h2.events.DataReceived):
                        got += len(event.data)
                        peer.acknowledge_received_data(event.flow_controlled_length, 1)
                writer.write(peer.data_to_send())
        writer.close()


# --- trailers --------------------------------------------------------------------------------


async def test_trailers_of_http2_do_not_reach_a_provider_that_speaks_http1():
    async with lab(alpn=["http/1.1"], client_alpn=["h2"]) as gate:
        reader, writer = await gate.connect()
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        peer = h2.connection.H2Connection(config)
        peer.initiate_connection()
        peer.send_headers(1, FIELDS)
        peer.send_data(1, b'{"model": "m"}')
        peer.send_headers(1, [("x-checksum", "1")], end_stream=True)
        writer.write(peer.data_to_send())
        status = None
        async with asyncio.timeout(5):
            while status is None:
                for event in peer.receive_data(await reader.read(65536)):
                    if isinstance(event, h2.events.ResponseReceived):
                        status = dict(event.headers)[":status"]
        assert status == "200"
        assert gate.provider.received[0].body == b'{"model": "m"}'
        writer.close()


async def test_a_body_of_http2_without_a_length_is_framed_for_http1():
    """Sent bare it would be another request, which nobody has read."""
    smuggled = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    async with lab(alpn=["http/1.1"], client_alpn=["h2"]) as gate:
        reader, writer = await gate.connect()
        assert (await exchange_h2(reader, writer, smuggled))[0].status == 200
        (received,) = gate.provider.received
        assert received.body == smuggled
        writer.close()

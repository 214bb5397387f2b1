"""What the gate does to exchanges: real TLS and mitmproxy, a judgement that tests can set."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import zlib

import pytest
from tests.proxy.lab import (
    HOST,
    RIVAL,
    SIBLING,
    STRANGER,
    Script,
    answer,
    by_content_type,
    client_context,
    events,
    exchange,
    exchange_h2,
    lab,
    replied,
    root,
)

from milecastle.inspection import Block, Chunk, Forward
from milecastle.providers import encodings
from milecastle.proxy.link import Listener

NO = Block(403, {"content-type": "application/json"}, b'{"error": "no"}')
H2 = {"alpn": ["h2", "http/1.1"], "client_alpn": ["h2"]}


# --- what goes through ---------------------------------------------------------------------------


async def test_an_exchange_goes_through_and_is_recorded():
    async with lab() as gate:
        got = await gate.call(b'{"model": "m"}')
        assert (got.status, got.body) == (200, b'{"answer": 42}')
        assert gate.provider.received[0].body == b'{"model": "m"}'
        assert gate.script.inspections[0].bodies["response"] == b'{"answer": 42}'
        record = (await gate.recorded())[0]
        assert (record["cookie"], record["host"], record["status"]) == (4711, HOST, 200)
        assert len(record["exchange"]) == 26


async def test_an_inspection_is_told_which_kind_of_account_is_used():
    async with lab() as gate:
        await gate.call(headers={"Authorization": "Bearer sk-proj-x"})
        await gate.call()
        accounts = [each.context.account for each in gate.script.inspections]
        assert accounts == ["project_key", ""]


async def test_exchanges_share_a_connection_and_its_look_up():
    async with lab() as gate:
        reader, writer = await gate.connect()
        for number in range(3):
            got = await exchange(reader, writer, b'{"n": %d}' % number)
            assert got.status == 200
        writer.close()
        assert len(gate.looked_up) == 1
        assert gate.provider.connections == 1
        assert len({record["exchange"] for record in await gate.recorded(3)}) == 3


async def test_http2_streams_of_one_connection_are_inspected_each():
    async with lab(**H2) as gate:
        reader, writer = await gate.connect()
        bodies = [b'{"n": %d}' % number for number in range(12)]
        answers = await exchange_h2(reader, writer, *bodies)
        assert all(each.status == 200 and each.whole for each in answers)
        assert sorted(each.body for each in gate.provider.received) == sorted(bodies)
        assert {each.version for each in gate.provider.received} == {"HTTP/2"}
        assert len(gate.script.inspections) == 12


async def test_more_than_five_streams_to_a_server_that_speaks_http1_only():
    async with lab(alpn=["http/1.1"], client_alpn=["h2"]) as gate:
        gate.provider.reply = events(3, pause=0.15)
        reader, writer = await gate.connect()
        began = asyncio.get_running_loop().time()
        answers = await exchange_h2(reader, writer, *([b"{}"] * 12))
        assert all(each.whole for each in answers)
        assert asyncio.get_running_loop().time() - began < 1.2  # not five at a time


async def test_what_is_no_ai_call_streams_past_untouched_and_unrecorded():
    async with lab() as gate:
        gate.provider.reply = replied(body=b"x" * 100, headers={"etag": "1"})
        got = await gate.call(b"", method="GET", path="/v1/models")
        assert (got.status, got.body, got.headers["etag"]) == (200, b"x" * 100, "1")
        assert "identity" not in gate.provider.received[0].headers.get("accept-encoding", "")
        assert gate.records == []


async def test_a_rewritten_request_has_the_right_length():
    script = Script(request=lambda body: Forward(body.replace(b"sk-secret", b"[REDACTED]")))
    async with lab(script) as gate:
        headers = {"Content-MD5": "bm9wZQ=="}
        got = await gate.call(b'{"key": "sk-secret"}', headers=headers)
        assert got.status == 200
        received = gate.provider.received[0]
        assert received.body == b'{"key": "[REDACTED]"}'
        assert received.headers["content-length"] == str(len(received.body))
        assert "content-md5" not in received.headers


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_coded_request_is_read_and_rewritten_in_its_coding(coding):
    script = Script(request=lambda body: Forward(body.replace(b"sk-secret", b"[REDACTED]")))
    async with lab(script) as gate:
        body = encodings.encode(b'{"key": "sk-secret"}', coding)
        assert (await gate.call(body, headers={"Content-Encoding": coding})).status == 200
        received = gate.provider.received[0]
        assert received.headers["content-encoding"] == coding
        assert encodings.decode(received.body, coding, 100) == b'{"key": "[REDACTED]"}'


async def test_an_unchanged_coded_request_is_sent_as_the_very_bytes_that_came():
    async with lab() as gate:
        body = zlib.compress(b"{}" + b" " * 500, 9, 31)
        assert (await gate.call(body, headers={"Content-Encoding": "gzip"})).status == 200
        assert gate.provider.received[0].body == body


async def test_a_rewritten_chunked_request_stays_chunked():
    script = Script(request=lambda body: Forward(body.upper()))
    async with lab(script) as gate:
        headers = {"Transfer-Encoding": "chunked"}
        got = await gate.call(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", headers=headers)
        assert got.status == 200
        assert gate.provider.received[0].body == b"ABCDEF"


async def test_a_rewritten_answer_has_the_right_length_and_coding():
    script = Script(response=lambda body: Forward(body.replace(b"42", b"forty-two")))
    async with lab(script) as gate:
        coded = gzip.compress(b'{"answer": 42}')
        gate.provider.reply = replied(body=coded, headers={"content-encoding": "gzip"})
        got = await gate.call()
        assert got.headers["content-encoding"] == "gzip"
        assert gzip.decompress(got.body) == b'{"answer": forty-two}'


@pytest.mark.parametrize("version", ["http/1.1", "h2"])
async def test_a_blocked_request_is_answered_and_never_leaves(version):
    options = H2 if version == "h2" else {}
    async with lab(Script(request=lambda _body: NO), **options) as gate:
        reader, writer = await gate.connect()
        for _ in range(2):
            if version == "h2":
                got = (await exchange_h2(reader, writer, b"{}"))[0]
                assert (got.status, got.body) == (403, NO.body)
                break
            got = await exchange(reader, writer)
            assert (got.status, got.body) == (403, NO.body)
        assert gate.provider.connections == 0
        assert (await gate.recorded())[0]["status"] == 403


async def test_a_blocked_answer_is_replaced():
    async with lab(Script(response=lambda _body: NO)) as gate:
        reader, writer = await gate.connect()
        for _ in range(2):
            got = await exchange(reader, writer)
            assert (got.status, got.body) == (403, NO.body)


# --- what is left alone --------------------------------------------------------------------------


async def test_a_name_outside_the_catalogue_keeps_its_own_certificate():
    async with lab() as gate:
        reader, writer = await gate.connect(STRANGER, context=client_context(root("provider")))
        got = await exchange(reader, writer, b"hello", host=STRANGER)
        issuer = dict(each[0] for each in writer.get_extra_info("peercert")["issuer"])
        assert (got.status, issuer["commonName"]) == (200, "provider")
        assert gate.script.inspections == gate.records == gate.signed == []


async def test_a_client_hello_without_a_name_passes_untouched():
    async with lab() as gate:
        context = client_context(root("provider"))
        context.check_hostname = False
        reader, writer = await gate.connect(None, context=context)
        assert (await exchange(reader, writer, b"hello")).status == 200
        assert gate.script.inspections == gate.signed == []


async def test_a_service_that_the_policy_leaves_alone_passes_untouched():
    script = Script(intercepted=lambda service: service.id != "rival")
    async with lab(script) as gate:
        context = client_context(root("provider"))
        reader, writer = await gate.connect(RIVAL, context=context)
        assert (await exchange(reader, writer, b"hello", host=RIVAL)).status == 200
        assert gate.script.inspections == gate.signed == []


async def test_plain_http_is_judged_by_its_host():
    async with lab() as gate:
        gate.destination[0] = gate.provider.plain
        for host, inspected in ((STRANGER, 0), (HOST, 1)):
            reader, writer = await gate.connect(tls=False)
            assert (await exchange(reader, writer, b"hello", host=host)).status == 200
            writer.close()
            assert len(gate.script.inspections) == inspected


async def test_a_later_host_of_a_plain_connection_is_of_the_same_service():
    async with lab() as gate:
        gate.destination[0] = gate.provider.plain
        reader, writer = await gate.connect(tls=False)
        assert (await exchange(reader, writer, host=HOST)).status == 200
        assert (await exchange(reader, writer, host=SIBLING)).status == 200
        for host in (STRANGER, RIVAL):
            got = await exchange(reader, writer, host=host)
            assert (got.status, got.headers["x-milecastle"]) == (403, "host_mismatch")
        assert len(gate.provider.received) == 2
        writer.close()


async def test_plain_bytes_that_are_not_http_pass_untouched():
    async with lab() as gate:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        gate.destination[0] = server.sockets[0].getsockname()
        reader, writer = await gate.connect(tls=False)
        for sent in (b"\x00\x01\x02", b"SSH-2.0-x\r\n"):
            writer.write(sent)
            assert await asyncio.wait_for(reader.readexactly(len(sent)), 2) == sent
        writer.close()
        server.close()


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def test_a_connection_that_nobody_knows_is_closed():
    async with lab() as gate:
        gate.destination[0] = None
        with pytest.raises((OSError, ssl.SSLError)):
            await gate.connect()
        assert gate.provider.connections == 0


async def test_a_client_of_another_namespace_is_served_from_that_namespace():
    async with lab() as gate:
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        await gate.checkpoint.listen(Listener(sock, 4, 7, port))
        for name, context in ((HOST, gate.trust), (STRANGER, client_context(root("provider")))):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=name
            )
            assert (await exchange(reader, writer, host=name)).status == 200
            writer.close()
        assert gate.looked_up[-1][2] == 7
        assert gate.dialled == [(7, 4), (7, 4)]
        assert (await gate.call()).status == 200
        assert len(gate.dialled) == 2  # at home nobody needs to dial
        gate.checkpoint.unlisten(7)
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_an_unreachable_provider_is_told_in_the_providers_shape():
    async with lab() as gate:
        gate.destination[0] = ("127.0.0.1", 1)
        got = await gate.call()
        assert (got.status, got.json()["error"]["code"]) == (502, "upstream_unreachable")
        assert (await gate.recorded())[0]["attributes"]["error.type"] == "upstream_unreachable"


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", [RIVAL, STRANGER, f"{STRANGER}:443"])
async def test_a_host_of_another_service_than_the_handshakes_is_refused(host):
    async with lab() as gate:
        got = await gate.call(host=host)
        assert (got.status, got.json()["error"]["code"]) == (403, "host_mismatch")
        assert gate.provider.received == []
        assert (await gate.recorded())[0]["attributes"]["error.type"] == "host_mismatch"


async def test_another_name_of_the_same_service_is_not_refused():
    async with lab() as gate:
        assert (await gate.call(host=f"{SIBLING.upper()}.:443")).status == 200


async def test_an_absolute_target_of_another_service_is_refused():
    async with lab() as gate:
        got = await gate.call(path=f"https://{RIVAL}/v1/chat/completions")
        assert got.json()["error"]["code"] == "host_mismatch"
        assert gate.provider.received == []


async def test_an_http2_authority_of_another_service_is_refused():
    async with lab(**H2) as gate:
        reader, writer = await gate.connect()
        got = (await exchange_h2(reader, writer, b"{}", host=RIVAL))[0]
        assert (got.status, got.json()["error"]["code"]) == (403, "host_mismatch")
        assert gate.provider.received == []


# --- streams -------------------------------------------------------------------------------------


async def test_events_reach_the_client_as_they_come():
    async with lab() as gate:
        gate.provider.reply = events(5, pause=0.2)
        reader, writer = await gate.connect()
        task = asyncio.create_task(exchange(reader, writer))
        began = asyncio.get_running_loop().time()
        while not gate.script.inspections or not gate.script.inspections[0].fed:
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began < 0.5
        got = await task
        assert got.whole
        assert got.body.count(b"data:") == 5
        assert (await gate.recorded())[0]["first_byte_ms"] < 500


async def test_text_that_is_held_back_comes_at_the_end():
    held = []
    script = Script(feed=lambda data: held.append(data) or Chunk(b""))
    script.finish = lambda: Chunk(b"".join(held))
    async with lab(script) as gate:
        gate.provider.reply = events(5)
        got = await gate.call()
        assert got.whole
        assert got.body.count(b"data:") == 5


async def test_a_coded_stream_is_decoded_piece_by_piece():
    async with lab() as gate:
        coder = zlib.compressobj(wbits=31)
        pieces = [coder.compress(b"data: %d\n\n" % n) + coder.flush(2) for n in range(4)]
        headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
        gate.provider.reply = replied(pieces=[*pieces, coder.flush()], headers=headers)
        got = await gate.call()
        assert got.body == b"".join(b"data: %d\n\n" % n for n in range(4))
        assert "content-encoding" not in got.headers


async def test_a_stream_with_a_length_may_change_its_length():
    script = Script(feed=lambda data: Chunk(data.replace(b"data", b"changed")))
    async with lab(script) as gate:
        headers = {"content-type": "text/event-stream"}
        gate.provider.reply = replied(pieces=[b"data: 1\n\n"] * 3, headers=headers, length=True)
        reader, writer = await gate.connect()
        for _ in range(2):
            got = await exchange(reader, writer)
            assert got.whole
            assert got.body == b"changed: 1\n\n" * 3


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_a_request_over_the_limit_is_answered_by_the_policy(declared, on_failure):
    async with lab(Script(on_failure=on_failure), limit=10_000) as gate:
        body = b"x" * 200_000
        headers = {}
        if not declared:
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        reader, writer = await gate.connect()
        got = await exchange(reader, writer, body, headers=headers)
        if on_failure == "open":
            assert got.status == 200
            assert gate.provider.received[0].body == b"x" * 200_000
        else:
            assert got.status == 403
            assert gate.provider.received == []
        assert (await exchange(reader, writer)).status == 200  # the connection stays usable
        assert gate.script.inspections[0].failed == [("request", "body_too_large")]
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "body_too_large"


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_an_answer_over_the_limit_is_handled_by_the_policy(declared, on_failure):
    async with lab(Script(on_failure=on_failure), limit=10_000) as gate:
        pieces = [b"x" * 4000] * 20
        gate.provider.reply = replied(pieces=pieces, length=declared, pause=0.005)
        reader, writer = await gate.connect()
        got = await exchange(reader, writer)
        assert got.whole
        if on_failure == "open":
            assert (got.status, got.body) == (200, b"".join(pieces))
        else:
            assert got.status == 403
            assert gate.provider.sent_pieces < 20
        assert gate.script.inspections[0].failed == [("response", "body_too_large")]
        gate.provider.reply = replied()
        assert (await exchange(reader, writer)).status == 200


async def test_a_bomb_is_unreadable_not_fatal():
    async with lab(Script(on_failure="closed"), limit=100_000) as gate:
        bomb = gzip.compress(b"\0" * 50_000_000)
        got = await gate.call(bomb, headers={"Content-Encoding": "gzip"})
        assert got.status == 403
        assert gate.script.inspections[0].failed == [("request", "unreadable_body")]


# --- WebSockets ----------------------------------------------------------------------------------

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


async def test_a_websocket_passes_and_is_recorded_where_the_policy_fails_open():
    async with lab() as gate:
        headers = {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        }
        gate.provider.reply = replied(status=101, headers=headers)
        reader, writer = await gate.connect()
        got = await exchange(reader, writer, b"", method="GET", headers=UPGRADE)
        assert got.status == 101
        for number in range(3):
            writer.write(bytes([0x81, 0x85, 0, 0, 0, 0]) + b"hell%d" % number)
            echoed = await asyncio.wait_for(reader.read(70), 3)
            assert echoed == b"\x81\x05hell%d" % number
        writer.close()
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "websocket_not_inspected"
        assert record["status"] == 101


async def test_a_websocket_is_refused_where_the_policy_fails_closed():
    async with lab(Script(on_failure="closed")) as gate:
        got = await gate.call(b"", method="GET", headers=UPGRADE)
        assert got.status == 403
        assert gate.provider.received == []
        assert (await gate.recorded())[0]["verdict"]["action"] == "block"


# --- ends ----------------------------------------------------------------------------------------


async def test_a_client_that_vanishes_leaves_a_record_and_frees_the_provider():
    async with lab() as gate:
        gate.provider.reply = events(1000, pause=0.01)
        reader, writer = await gate.connect()
        task = asyncio.create_task(exchange(reader, writer))
        while gate.provider.sent_pieces < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        writer.transport.abort()
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "connection_closed"
        await asyncio.sleep(0.1)
        sent = gate.provider.sent_pieces
        await asyncio.sleep(0.1)
        assert gate.provider.sent_pieces <= sent + 1


async def test_the_self_test_is_inspected_and_answered_without_a_provider():
    seen = []
    script = Script(response=lambda body: seen.append(body) or Forward(body))
    async with lab(script) as gate:
        host = "selftest.milecastle.invalid"
        gate.destination[0] = ("192.0.2.1", 443)
        got = await gate.call(name=host, host=host, headers={"Connection": "close"})
        assert got.status == 200
        assert "milecastle" in got.json()["choices"][0]["message"]["content"]
        assert seen == [got.body]
        assert gate.script.inspections[0].bodies["request"] == b'{"model": "m"}'
        assert (await gate.recorded())[0]["status"] == 200


async def test_a_policy_that_is_swapped_counts_from_the_next_exchange():
    async with lab() as gate:
        reader, writer = await gate.connect()
        assert (await exchange(reader, writer)).status == 200
        old = gate.watch.orders
        gate.watch.orders = type(old)(old.names, old.rules, Script(request=lambda _body: NO))
        assert (await exchange(reader, writer)).status == 403


async def test_two_requests_in_one_piece_are_both_inspected():
    async with lab() as gate:
        reader, writer = await gate.connect()
        one = f"POST /a HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        writer.write(one + one)
        assert (await answer(reader)).status == 200
        assert (await answer(reader)).status == 200
        assert len(gate.script.inspections) == 2


async def test_where_no_verdict_can_touch_it_a_message_goes_on_before_it_is_judged():
    async with lab() as gate:
        gate.script.binding = lambda _direction: False
        got = await gate.call(b'{"model": "m"}')
        assert (got.status, got.body) == (200, b'{"answer": 42}')
        bodies = gate.script.inspections[0].bodies
        assert bodies == {"request": b'{"model": "m"}', "response": b'{"answer": 42}'}


async def test_a_failure_while_judging_later_is_recorded_and_touches_nothing():
    def fails(_body):
        raise RuntimeError("a bug")

    async with lab() as gate:
        gate.script.binding = lambda _direction: False
        gate.script.request = fails
        assert (await gate.call(b'{"model": "m"}')).status == 200
        assert gate.records[-1]["attributes"]["error.type"] == "RuntimeError"


async def test_what_was_put_off_is_judged_before_its_answer_is_read():
    order, put_off = [], []
    script = Script(
        binding=lambda _direction: False,
        request=lambda body: order.append("request") or Forward(body),
        respond=lambda head: order.append("respond") or by_content_type(head),
        feed=lambda data: order.append("feed") or Chunk(data),
    )
    async with lab(script, defer=put_off.append) as gate:
        gate.provider.reply = events(2)
        assert (await gate.call()).whole
        host = "selftest.milecastle.invalid"
        assert (await gate.call(name=host, host=host)).status == 200
        assert order[:3] == ["request", "respond", "feed"]
        assert order[-2:] == ["request", "respond"]
        for act in put_off:
            act()
        assert order.count("request") == 2  # each was judged once
        assert len(gate.records) == 2

"""What the daemon is told of connections: their names, and what was not read of them and why."""

from __future__ import annotations

import asyncio

from tests.proxy.lab import HOST, STRANGER, Script, client_context, exchange, lab, root


async def told(gate, count=1):
    async with asyncio.timeout(5):
        while len(gate.seen) < count:
            await asyncio.sleep(0.01)
    return gate.seen


async def test_a_connection_that_is_decrypted_is_told_with_its_name():
    async with lab() as gate:
        await gate.call(b"{}")
        assert await told(gate) == [(4711, HOST, "decrypted")]


async def test_a_name_that_is_nobodys_is_told_as_passed():
    async with lab() as gate:
        context = client_context(root("provider"))
        _, writer = await gate.connect(STRANGER, context=context)
        assert await told(gate) == [(4711, STRANGER, "passed")]
        writer.close()


async def test_a_service_that_the_policy_leaves_encrypted_is_told_as_passed():
    async with lab(Script(intercepted=lambda _service: False)) as gate:
        _, writer = await gate.connect(HOST, context=client_context(root("provider")))
        assert await told(gate) == [(4711, HOST, "passed")]
        writer.close()


async def test_a_handshake_without_a_name_is_told_so():
    async with lab() as gate:
        context = client_context(root("provider"))
        context.check_hostname = False
        _, writer = await gate.connect(None, context=context)
        assert await told(gate) == [(4711, "", "no_name")]
        writer.close()


async def test_what_is_neither_tls_nor_http_is_told_so():
    async with lab() as gate:
        _, writer = await gate.connect(tls=False)
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        assert await told(gate) == [(4711, "", "not_http")]
        writer.close()


async def test_plain_http_to_another_host_is_told_with_its_name():
    async with lab() as gate:
        _, writer = await gate.connect(tls=False)
        writer.write(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        assert await told(gate) == [(4711, "elsewhere.example", "passed")]
        writer.close()


async def test_a_body_of_unknown_shape_is_told_and_a_plain_get_is_not():
    async with lab(Script(recognises=lambda _head: False)) as gate:
        reader, writer = await gate.connect()
        assert (await exchange(reader, writer, b"", method="GET")).status == 200
        assert (await exchange(reader, writer, b"{}")).status == 200
        assert [each[2] for each in await told(gate, 2)] == ["decrypted", "unknown_shape"]
        writer.close()


async def test_where_the_policy_blocks_the_service_a_body_of_unknown_shape_is_refused():
    script = Script(recognises=lambda _head: False, refused=lambda _service: True)
    async with lab(script) as gate:
        reader, writer = await gate.connect()
        assert (await exchange(reader, writer, b"", method="GET")).status == 200
        got = await exchange(reader, writer, b'{"secret": 1}')
        assert got.status == 403
        assert b"service_blocked" in got.body
        assert [each.body for each in gate.provider.received] == [b""]
        (record,) = await gate.recorded()
        assert record["verdict"]["action"] == "block"
        assert record["attributes"]["error.type"] == "service_blocked"
        writer.close()


async def test_where_the_policy_blocks_the_service_a_websocket_is_refused_with_on_failure_open():
    script = Script(on_failure="open", refused=lambda _service: True)
    async with lab(script) as gate:
        reader, writer = await gate.connect()
        fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        got = await exchange(reader, writer, b"", method="GET", headers=fields)
        assert got.status == 403
        assert gate.provider.received == []
        writer.close()


async def test_a_record_says_whose_account_and_which_client_and_holds_no_key():
    async with lab() as gate:
        fields = {"Authorization": "Bearer sk-proj-hush-hush", "User-Agent": "OpenAI/Python 1.99.7"}
        await gate.call(b"{}", headers=fields)
        (record,) = await gate.recorded()
        assert record["client"]["id"] == "openai-python"
        assert record["account"]["kind"] == "project_key"
        assert len(record["account"]["fingerprint"]) == 16
        assert "hush" not in str(record)

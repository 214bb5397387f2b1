"""What the gate does to exchanges: real TLS and mitmproxy, a judgement that tests can set."""

from __future__ import annotations

from tests.proxy.lab import HOST, lab


async def test_an_exchange_goes_through_and_is_recorded():
    async with lab() as gate:
        answer = await gate.call(b'{"model": "m"}')
        assert (answer.status, answer.body) == (200, b'{"answer": 42}')
        assert gate.provider.received[0].body == b'{"model": "m"}'
        assert gate.script.inspections[0].bodies["response"] == b'{"answer": 42}'
        record = (await gate.recorded())[0]
        assert (record["cookie"], record["host"], record["status"]) == (4711, HOST, 200)
        assert len(record["exchange"]) == 26

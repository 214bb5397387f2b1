"""Limits are asked about before a request is judged, and told of afterwards."""

from __future__ import annotations

import asyncio

import pytest
from tests.proxy.lab import Script, exchange, exchange_h2, lab

from milecastle.policy import Charge
from milecastle.proxy.counting import Alone
from milecastle.proxy.line import LineError

TWO = (Charge("two", "host", "calls", 2, 3600),)
TOKENS = (Charge("tokens", "host", "tokens", 10, 3600),)
H2 = {"alpn": ["h2", "http/1.1"], "client_alpn": ["h2"]}


async def test_calls_are_counted_and_the_one_too_many_is_stopped():
    async with lab(Script(charges=TWO)) as gate:
        reader, writer = await gate.connect()
        statuses = [(await exchange(reader, writer)).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert len(gate.provider.received) == 2
        writer.close()


async def test_streams_of_one_connection_that_come_at_once_are_counted_each():
    async with lab(Script(charges=TWO), **H2) as gate:
        reader, writer = await gate.connect()
        answers = await exchange_h2(reader, writer, *[b"{}"] * 5)
        assert sorted(each.status for each in answers) == [200, 200, 429, 429, 429]
        writer.close()


async def test_tokens_are_counted_after_the_answer():
    async with lab(Script(charges=TOKENS)) as gate:
        assert [(await gate.call()).status for _ in range(3)] == [200, 200, 429]


class Silent(Alone):
    async def spend(self, charges):
        await asyncio.sleep(0.01)
        raise LineError("the daemon is gone")


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_where_nobody_counts_on_failure_decides(on_failure):
    script = Script(charges=TWO, on_failure=on_failure)
    async with lab(script, counter=Silent(lambda: 0.0)) as gate:
        assert (await gate.call()).status == (200 if on_failure == "open" else 403)
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "limit_unknown"
        assert len(gate.provider.received) == (on_failure == "open")

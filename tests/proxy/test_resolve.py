"""Names resolved in advance: few at a time, and not at all where there is no DNS."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from milecastle.proxy import resolve


async def test_names_are_reported_as_they_come_and_few_at_a_time():
    told, at_once, most = [], 0, 0

    async def look_up(name):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1
        return () if name == "n3" else (f"198.51.100.{name[1:]}",)

    names = [f"n{number}" for number in range(12)]
    assert await resolve.once([*names, "x.invalid"], look_up, told.extend)
    assert most == resolve.AT_ONCE
    assert sorted(name for name, _found, _ttl in told) == sorted(set(names) - {"n3"})
    assert {ttl for _name, _found, ttl in told} == {resolve.LASTS}


async def test_without_dns_a_round_is_given_up_after_a_few_names():
    asked = []

    async def look_up(name):
        asked.append(name)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    assert not await resolve.once([f"n{n}" for n in range(600)], look_up, pytest.fail)
    assert len(asked) <= resolve.GIVE_UP_AFTER + resolve.AT_ONCE


async def test_some_silence_among_answers_is_no_reason_to_stop():
    told = []

    async def look_up(name):
        if name == "n0" or int(name[1:]) > 100:
            return ("198.51.100.1",)
        raise TimeoutError

    await resolve.once([f"n{n}" for n in range(120)], look_up, told.extend)
    assert len(told) == 20


async def test_addresses_of_a_name_come_from_the_hosts_resolver():
    with ThreadPoolExecutor(1) as pool:
        assert set(await resolve.addresses("localhost", pool)) <= {"127.0.0.1", "::1"}

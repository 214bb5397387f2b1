"""The client of the enforcement benchmark: conversations over kept connections, by several ways.

    enforce_client.py '{"ways": {NAME: {"address", "port", "host", "ca"}}, "calls", "seconds", ...}'

A way whose ``ca`` is null is plain HTTP. Every request is a conversation that has been sent before,
with a turn that has not. First the ways are used in turn, one call after the other; then each for
``seconds`` at a time with ``at_once`` connections, in ``rounds`` rounds of random order. Prints one
JSON object: for each way ``call`` (ms of each call) and ``rate`` (calls a second of each round).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import ssl
import sys
import time

WARM_UP = 20
SYSTEM = "You look after the machines of a small hosting company and answer briefly. " * 30
HISTORY = "Please tell me whether everything on this host is as it should be. " * 20
NUMBERS = itertools.count()


def body() -> bytes:
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": HISTORY},
        {"role": "assistant", "content": "all is well " * 40},
        {"role": "user", "content": f"And host number {next(NUMBERS)}, the one beside it?"},
    ]
    return json.dumps(
        {"model": "gpt-4o-mini", "messages": messages}, separators=(",", ":")
    ).encode()


class Connection:
    """The least HTTP/1.1 that is needed."""

    def __init__(self, way: dict) -> None:
        self.way = way

    async def open(self) -> None:
        way, trust = self.way, None
        if way["ca"]:
            trust = ssl.create_default_context(cafile=way["ca"])
        name = way["host"] if trust else None
        self.reader, self.writer = await asyncio.open_connection(
            way["address"], way["port"], ssl=trust, server_hostname=name
        )

    async def call(self) -> None:
        """Make one call; servers end a connection after a thousand of them."""
        try:
            await self.exchange()
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.open()
            await self.exchange()

    async def exchange(self) -> None:
        content = body()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.way['host']}\r\n"
            "Content-Type: application/json\r\nAuthorization: Bearer lab\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self.writer.write(head.encode() + content)
        fields = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200" not in fields.split(b"\r\n", 1)[0]:
            raise RuntimeError(fields.decode())
        if b"chunked" in fields:
            while size := int(await self.reader.readline(), 16):
                await self.reader.readexactly(size + 2)
            await self.reader.readline()
        else:
            size = int(fields.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            await self.reader.readexactly(size)


async def connected(way: dict, count: int) -> list[Connection]:
    made = [Connection(way) for _ in range(count)]
    for each in made:
        await each.open()
        await each.call()
    return made


async def main(task: dict) -> dict[str, dict[str, list[float]]]:
    told = {name: {"call": [], "rate": []} for name in task["ways"]}
    single = {name: (await connected(way, 1))[0] for name, way in task["ways"].items()}
    for number in range(task["calls"] + WARM_UP):
        for name in random.sample(sorted(single), len(single)):
            began = time.perf_counter()
            await single[name].call()
            if number >= WARM_UP:
                told[name]["call"].append((time.perf_counter() - began) * 1e3)
    many = {name: await connected(way, task["at_once"]) for name, way in task["ways"].items()}
    for _ in range(task["rounds"]):
        for name in random.sample(sorted(many), len(many)):
            told[name]["rate"].append(await rate(many[name], task["seconds"]))
    return told


async def rate(connections: list[Connection], seconds: float) -> float:
    """Return how many calls a second all connections make together."""
    began = time.perf_counter()
    done = 0

    async def work(connection: Connection) -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await connection.call()
            done += 1

    await asyncio.gather(*map(work, connections))
    return done / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))

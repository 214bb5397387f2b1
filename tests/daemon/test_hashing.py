"""Digests of executables, for connections that do not wait for them."""

from __future__ import annotations

import asyncio
import threading

from milecastle.daemon.hashing import Hashing


class Slow:
    """Stands for the cache of digests; reads when it is let."""

    def __init__(self) -> None:
        self.may_read = threading.Event()
        self.reads: list[int] = []

    def sha256(self, pid: int) -> str | None:
        self.reads.append(pid)
        self.may_read.wait(5)
        return None if pid == 13 else f"digest of {pid}"


async def test_every_connection_of_a_process_gets_the_digest_that_was_read_once():
    found: list[tuple[int, str]] = []
    hashes = Slow()
    hashing = Hashing(hashes, lambda *digest: found.append(digest))
    for cookie in (1, 2, 3):
        hashing.want(7, cookie)
    hashing.want(13, 4)  # gone before it was read
    hashes.may_read.set()
    while len(found) < 3:
        await asyncio.sleep(0.001)
    assert sorted(found) == [(cookie, "digest of 7") for cookie in (1, 2, 3)]
    assert sorted(hashes.reads) == [7, 13]


async def test_a_later_connection_asks_again():
    found: list[tuple[int, str]] = []
    hashes = Slow()
    hashes.may_read.set()
    hashing = Hashing(hashes, lambda *digest: found.append(digest))
    for cookie in (1, 2):
        hashing.want(7, cookie)
        while len(found) < cookie:
            await asyncio.sleep(0.001)
    assert hashes.reads == [7, 7]

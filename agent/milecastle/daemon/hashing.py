"""SHA-256 of executables, read in threads: once for all connections of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from milecastle.host import ExecutableHashes


class Hashing:
    """Asks for an executable's digest without keeping anybody waiting for it.

    :param found: called with a connection's cookie and the digest, in the event loop.
    """

    def __init__(self, hashes: ExecutableHashes, found: Callable[[int, str], None]) -> None:
        self._hashes = hashes
        self._found = found
        self._wanted: dict[int, set[int]] = {}  # pid -> cookies that wait for its digest

    def want(self, pid: int, cookie: int) -> None:
        """Read the executable of `pid` for the connection `cookie`; once, while that is done."""
        if (waiting := self._wanted.get(pid)) is not None:
            waiting.add(cookie)
            return
        self._wanted[pid] = {cookie}
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(None, self._hashes.sha256, pid)

        def done(result: asyncio.Future[str | None]) -> None:
            cookies = self._wanted.pop(pid)
            if not result.cancelled() and (digest := result.result()):
                for one in cookies:
                    self._found(one, digest)

        future.add_done_callback(done)

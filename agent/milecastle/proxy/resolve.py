"""Resolve the catalogue's exact names now and then, so that addresses are known before first use.

DNS answers are seen as they pass; this is for names that were resolved before the agent came, and
are cached by the application. It must cost nothing worth mentioning: few at a time, spread out,
and given up for this round where there is no DNS.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)

AT_ONCE = 4
WITHIN = 5.0
"""Seconds for one name."""
EVERY = 300.0
"""Seconds between rounds, give or take a fifth."""
LASTS = 900
"""Time to live that is reported, in seconds: getaddrinfo tells none."""
GIVE_UP_AFTER = 8
"""Names in a row without an answer, none before them with one: there is no DNS here."""
UNRESOLVABLE = (".invalid", ".test", ".example", ".localhost")
"""Names that never resolve (RFC 6761): not worth a question."""

type Answer = tuple[str, Sequence[str], int]
type Resolve = Callable[[str], Awaitable[Sequence[str]]]


async def addresses(name: str, pool: ThreadPoolExecutor) -> Sequence[str]:
    """Return the addresses of a name, none where it has none. OSError: there was no answer."""
    look_up = asyncio.get_running_loop().run_in_executor(
        pool, lambda: socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
    )
    try:
        found = await asyncio.wait_for(look_up, WITHIN)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return ()
        raise
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


async def once(
    names: Iterable[str], resolve: Resolve, report: Callable[[Sequence[Answer]], None]
) -> bool:
    """Resolve the names and report them as they come; False where it was given up."""
    waiting = iter([name for name in names if not name.endswith(UNRESOLVABLE)])
    answered, silent = 0, 0

    async def some() -> None:
        nonlocal answered, silent
        for name in waiting:
            if silent >= GIVE_UP_AFTER and not answered:
                return
            try:
                found = await resolve(name)
            except (OSError, TimeoutError, UnicodeError):
                silent += 1
                continue
            answered += 1
            if found:
                report([(name, found, LASTS)])

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return answered > 0 or silent < GIVE_UP_AFTER


async def for_ever(names: Iterable[str], report: Callable[[Sequence[Answer]], None]) -> None:
    """Resolve the names at once and every few minutes."""
    every_name = tuple(names)
    pool = ThreadPoolExecutor(AT_ONCE, "resolve")
    try:
        while True:
            if not await once(every_name, lambda name: addresses(name, pool), report):
                log.info("no DNS here; the catalogue's names are not resolved in advance")
            await asyncio.sleep(EVERY * random.uniform(0.8, 1.2))  # noqa: S311 - only to spread
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

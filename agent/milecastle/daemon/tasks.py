"""Tasks of the daemon's event loop: accepting peers, ending, and what errors say together."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from milecastle.daemon.peer import Peer

log = logging.getLogger(__name__)


class StartError(Exception):
    """The daemon can't begin; the message says what to do."""


async def accept(
    peers: AsyncIterator[Peer],
    take: Callable[[Peer], Coroutine[Any, Any, None]],
    tasks: asyncio.TaskGroup,
) -> None:
    """Give each connection a task of its own; a bug met by one costs that one, not the daemon."""

    async def guarded(peer: Peer) -> None:
        try:
            await take(peer)
        except Exception as error:  # noqa: BLE001 - told by where it happened
            log.error("a session of pid %d failed: %s", peer.credentials.pid, bug(error))
            await peer.close()

    async for peer in peers:
        tasks.create_task(guarded(peer))


def bug(error: BaseException) -> str:
    """Return the kind of an error and where it came from, without its message: what it is about
    may be a prompt.
    """
    frames = reversed(traceback.extract_tb(error.__traceback__)[-5:])
    places = (f"{frame.filename.rpartition('/milecastle/')[2]}:{frame.lineno}" for frame in frames)
    return " < ".join([type(error).__name__, *places])


def cancel_tasks() -> None:
    """End every task but this one; they hold nothing that the exit stack does not close."""
    this = asyncio.current_task()
    for task in asyncio.all_tasks():
        if task is not this:
            task.cancel()


def in_words(error: BaseException) -> str:
    """Return what an error says, with its hint where it has one."""
    hint = getattr(error, "hint", "")
    return f"{error} ({hint})" if hint else str(error)


def leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    """Return the exceptions at the ends of all branches of a group."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found

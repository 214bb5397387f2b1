"""The hooks, attached; and what is said while they cannot be.

A program of somebody else's may hold the cgroup for itself alone. That can end at any time, so the
daemon waits for it, and `milecastle status` says what it waits for. Nothing is redirected then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path

from milecastle import __version__, wire
from milecastle.daemon.notify import notify
from milecastle.daemon.peer import Peer, listen
from milecastle.daemon.tasks import accept, in_words
from milecastle.kernel import Kernel, KernelUnavailable

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0


async def attached(
    watched: Path,
    control: socket.socket,
    stopping: asyncio.Event,
    retry: float = RETRY_SECONDS,
) -> Kernel:
    """Return the hooks, once they are attached. KernelUnavailable where waiting is of no use, or
    where the daemon is to stop before.
    """
    waiting: asyncio.Task[None] | None = None
    try:
        while True:
            try:
                return await asyncio.to_thread(Kernel.open, watched, processes=True)
            except KernelUnavailable as error:
                if not error.passing or stopping.is_set():
                    raise
                sentence = in_words(error)
            if waiting is None:
                log.error("nothing is intercepted, and it is tried again: %s", sentence)
                waiting = asyncio.create_task(explain(control, sentence))
            extension = str(int(2e6 * (retry + 60)))
            notify(STATUS=f"waiting: {sentence}", EXTEND_TIMEOUT_USEC=extension)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), retry)
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait([waiting])


async def explain(control: socket.socket, sentence: str) -> None:
    """Answer everybody on `control.sock`, for ever, that the daemon waits."""
    told = {"ready": False, "version": __version__, "pid": os.getpid(), "degraded": [sentence]}

    async def take(peer: Peer) -> None:
        try:
            async for frame in peer.frames():
                wire.check(frame, wire.CONTROL, "client", "serving")
                if frame.kind == "status":
                    peer.answer(frame, told)
                else:
                    peer.refuse(frame, "not_ready", f"nothing is intercepted yet: {sentence}")
        except wire.WireError as error:
            log.info("client %d broke the protocol: %s", peer.credentials.pid, error)
        finally:
            await peer.close()

    async with asyncio.TaskGroup() as tasks:
        await accept(listen(control), take, tasks)

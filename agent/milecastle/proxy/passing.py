"""One client's connection as mitmproxy handles it, with three differences.

Hooks are called without detours. What crashes is closed: mitmproxy would leave the client waiting.
And upstream connections of a client in another network namespace are made in that namespace, with
a socket that the daemon brings, so that its routes, policy and address stay its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from mitmproxy import connection, ctx
from mitmproxy.proxy import commands, events, layer, mode_servers, mode_specs, server_hooks
from mitmproxy.proxy.server import ConnectionIO

log = logging.getLogger(__name__)

CONNECTIONS_TO_ONE_ADDRESS = 100
"""For one client connection: HTTP/2 with many streams to a server that speaks HTTP/1 only.
mitmproxy allows 5, and streamed answers would starve the rest."""
CONNECT_WITHIN = 60.0
"""Seconds; the kernel itself would try for two minutes."""


@dataclass(frozen=True, slots=True)
class Functions:
    """What is called for a hook, in order."""

    all: tuple[Callable[..., Any], ...]
    plain: bool
    """Whether none of them is a coroutine function."""


type Hooks = Callable[[str], Functions]
type Begun = dict[int, tuple[Awaitable[None], tuple[Callable[..., Any], ...]]]
"""By the hook: what its functions wait for, and those that come after."""
type Dial = Callable[[int], Awaitable[socket.socket]]
"""From an address family (4 or 6) to a socket in the client's network namespace."""


class Gathered:
    """A StreamWriter that sends what was written in one piece when it is told to.

    mitmproxy writes head and body one after the other: two system calls, and two wake-ups of the
    peer for one message.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._pieces: list[bytes] = []
        self.get_extra_info = writer.get_extra_info
        self.is_closing = writer.is_closing

    def write(self, data: bytes) -> None:
        """Keep the data until `flush`."""
        self._pieces.append(data)

    def flush(self) -> None:
        """Send what was written."""
        if self._pieces:
            self._writer.write(b"".join(self._pieces))
            self._pieces.clear()

    async def drain(self) -> None:
        """Wait until the peer has taken enough."""
        self.flush()
        await self._writer.drain()

    def write_eof(self) -> None:
        """Send all, and say that nothing follows."""
        self.flush()
        self._writer.write_eof()

    def close(self) -> None:
        """Send all, and close."""
        self.flush()
        self._writer.close()


class Hooked:
    """A layer whose hooks are called on the spot, if all their functions are plain ones.

    mitmproxy makes a task of every hook, which then waits for the lock that its own caller holds:
    another turn of the event loop for each of the four hooks of an exchange.
    """

    def __init__(self, inner: layer.Layer, hooks: Hooks, begun: Begun) -> None:
        self.context = inner.context
        self._inner = inner
        self._hooks = hooks
        self._begun = begun

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Yield the layer's commands without the hooks that are done."""
        waiting = deque([event])
        while waiting:
            for command in self._inner.handle_event(waiting.popleft()):
                if isinstance(command, commands.StartHook) and self._done(command):
                    if command.blocking:
                        waiting.append(events.HookCompleted(command))
                else:
                    yield command

    def _done(self, hook: commands.StartHook) -> bool:
        functions = self._hooks(hook.name)
        if not functions.plain:
            return False
        for number, function in enumerate(functions.all, 1):
            try:
                outcome = function(*hook.args())
            except Exception as error:  # noqa: BLE001 - ours are guarded; these are mitmproxy's
                log.error("%s in %s at hook %s", *place(error), hook.name)
                continue
            if outcome is not None:  # now and then a plain function has something to wait for
                self._begun[id(hook)] = outcome, functions.all[number:]
                return False
        return True


class Passing(mode_servers.ProxyConnectionHandler):
    """A connection on its way through the checkpoint."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mode: mode_specs.ProxyMode,
        hooks: Hooks,
        dial: Dial | None,
    ) -> None:
        super().__init__(ctx.master, reader, Gathered(writer), ctx.options, mode)
        self._hooks = hooks
        self._begun: Begun = {}
        self._dial = dial
        self.max_conns = defaultdict(lambda: asyncio.Semaphore(CONNECTIONS_TO_ONE_ADDRESS))

    def serve(self, top: layer.Layer) -> None:
        """Put the layer in place that reads the client's connection."""
        self.layer = Hooked(top, self._hooks, self._begun)  # type: ignore[assignment] # all that is used of it

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Call the addons' functions for hooks that `Hooked` left: those that take time."""
        outcome, functions = self._begun.pop(id(hook), (None, self._hooks(hook.name).all))
        with self.timeout_watchdog.disarm():
            if outcome is not None:
                await outcome  # of ours, so guarded
            for function in functions:
                try:
                    outcome = function(*hook.args())
                    if outcome is not None:
                        await outcome
                except Exception as error:  # noqa: BLE001 - ours are guarded; these are mitmproxy's
                    log.error("%s in %s at hook %s", *place(error), hook.name)

    async def server_event(self, event: events.Event) -> None:
        """Give the layers an event, then send what they wrote."""
        await super().server_event(event)
        for transport in self.transports.values():
            if isinstance(transport.writer, Gathered):
                transport.writer.flush()

    async def open_connection(self, command: commands.OpenConnection) -> None:
        """Connect upstream, and serve that connection until it ends."""
        upstream = command.connection
        meeting = server_hooks.ServerConnectionHookData(client=self.client, server=upstream)
        await self.handle_hook(server_hooks.ServerConnectHook(meeting))
        if upstream.error or not upstream.address:
            await self.not_connected(command, meeting, upstream.error or "no address")
            return
        async with self.max_conns[upstream.address]:
            upstream.timestamp_start = time.time()
            try:
                async with asyncio.timeout(CONNECT_WITHIN):
                    reader, writer = await self.connected(*upstream.address[:2])
            except (OSError, asyncio.CancelledError) as error:
                await self.not_connected(command, meeting, str(error) or type(error).__name__)
                if isinstance(error, asyncio.CancelledError):
                    raise
                return
            upstream.timestamp_tcp_setup = time.time()
            upstream.state = connection.ConnectionState.OPEN
            upstream.peername = writer.get_extra_info("peername")
            upstream.sockname = writer.get_extra_info("sockname")
            self.transports[upstream] = ConnectionIO(
                asyncio.current_task(),
                reader,
                Gathered(writer),  # type: ignore[arg-type] # all that is used of a StreamWriter
            )
            await self.handle_hook(server_hooks.ServerConnectedHook(meeting))
            await self.server_event(events.OpenConnectionCompleted(command, None))
            try:
                await self.handle_connection(upstream)
            finally:
                upstream.timestamp_end = time.time()
                await self.handle_hook(server_hooks.ServerDisconnectedHook(meeting))

    async def connected(
        self, address: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection to an address, from the client's own network namespace."""
        if self._dial is None:
            reader, writer = await asyncio.open_connection(address, port)
        else:
            sock = await self._dial(6 if ":" in address else 4)
            try:
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
            except BaseException:
                sock.close()
                raise
            reader, writer = await asyncio.open_connection(sock=sock)
        keep_alive(writer)
        return reader, writer

    async def not_connected(
        self,
        command: commands.OpenConnection,
        meeting: server_hooks.ServerConnectionHookData,
        why: str,
    ) -> None:
        """Tell the layers that there is no upstream connection."""
        command.connection.error = why
        await self.handle_hook(server_hooks.ServerConnectErrorHook(meeting))
        await self.server_event(events.OpenConnectionCompleted(command, why))

    def log(
        self,
        message: str,
        level: int = logging.INFO,
        exc_info: Literal[True]
        | tuple[type[BaseException], BaseException, TracebackType | None]
        | None = None,
    ) -> None:
        """Log no message of mitmproxy's, it may quote traffic; end what crashed.

        A layer that raised is stuck for ever, and with it a client that waits for an answer.
        """
        if exc_info:
            error = sys.exc_info()[1] if exc_info is True else exc_info[1]
            log.error("%s in %s; the connection is closed", *place(error))
            self.abort()

    def abort(self, last_words: bytes = b"") -> None:
        """Close the client's connection at once."""
        transport = self.transports.get(self.client)
        if transport is None:
            return
        if transport.writer is not None and last_words:
            transport.writer.write(last_words)
        if transport.handler is not None:
            transport.handler.cancel("closed by milecastle")
        self.client.state = connection.ConnectionState.CLOSED


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Have the kernel notice when the peer is gone: an idle connection may stay open for hours."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def place(error: BaseException | None) -> tuple[str, str]:
    """Return kind and place of an error, without what it says: that may quote traffic."""
    frames = traceback.extract_tb(error.__traceback__) if error else None
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    return type(error).__name__, where

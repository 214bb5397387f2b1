"""Where redirected connections arrive: inherited sockets, and a look-up before the first byte.

A mitmproxy mode of our own. Sockets are served that the daemon owns, and each connection is given
its caller and its real destination before anything of it is read. A connection that nobody knows
is closed: there is no telling where it wanted to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import sys
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from mitmproxy import connection, ctx
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, layer, layers, mode_servers, mode_specs
from mitmproxy.proxy.context import Context

from milecastle.proxy.line import LineError
from milecastle.proxy.link import Caller, Listener
from milecastle.wire import WireError

log = logging.getLogger(__name__)

BACKLOG = 4096
"""asyncio calls listen() again; a smaller number would shrink the daemon's."""
ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
"""A TLS record with the fatal alert access_denied (RFC 8446 section 6.2)."""
CONNECTIONS_TO_ONE_ADDRESS = 100
"""For one client connection: HTTP/2 with many streams to a server that speaks HTTP/1 only.
mitmproxy allows 5, and streamed answers would starve the rest."""

type LookUp = Callable[[str, int, int], Awaitable[Caller | None]]


@dataclass(frozen=True, repr=False)
class CheckpointMode(mode_specs.ProxyMode):
    """The mode's name in mitmproxy's options: ``checkpoint``."""

    description = "milecastle checkpoint"
    default_port = None
    transport_protocol: Literal["tcp"] = "tcp"

    def __post_init__(self) -> None:
        """Take any text: it comes from `worker` alone."""


class Passing(mode_servers.ProxyConnectionHandler):
    """One client's connection: hooks without detours, and no connection that hangs."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mode: mode_specs.ProxyMode,
        hooks: Callable[[str], Sequence[Callable[..., Any]]],
    ) -> None:
        super().__init__(ctx.master, reader, writer, ctx.options, mode)
        self._hooks = hooks
        self.max_conns = defaultdict(lambda: asyncio.Semaphore(CONNECTIONS_TO_ONE_ADDRESS))

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Call the addons' functions, which are known by the hook's name."""
        with self.timeout_watchdog.disarm():
            for function in self._hooks(hook.name):
                try:
                    outcome = function(*hook.args())
                    if outcome is not None:
                        await outcome
                except Exception as error:  # noqa: BLE001 - ours are guarded; these are mitmproxy's
                    log.error("%s in %s at hook %s", *place(error), hook.name)

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
        if not exc_info:
            return
        error = sys.exc_info()[1] if exc_info is True else exc_info[1]
        log.error("%s in %s; the connection is closed", *place(error))
        self.abort()

    def abort(self, last_words: bytes = b"") -> None:
        """Close the client's connection at once."""
        transport = self.transports.get(self.client)
        if transport is None:
            return
        if isinstance(transport.writer, asyncio.StreamWriter) and last_words:
            transport.writer.write(last_words)
        if transport.handler is not None:
            transport.handler.cancel("closed by milecastle")
        self.client.state = connection.ConnectionState.CLOSED


def place(error: BaseException | None) -> tuple[str, str]:
    """Return kind and place of an error, without what it says."""
    frames = traceback.extract_tb(error.__traceback__) if error else None
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    return type(error).__name__, where


class Checkpoint(Proxyserver):
    """mitmproxy's server addon, with the listeners and the callers of open connections."""

    name = "proxyserver"

    def __init__(self, listeners: Sequence[Listener], look_up: LookUp) -> None:
        super().__init__()
        self.listeners = listeners
        self.look_up = look_up
        self.callers: dict[str, Caller] = {}
        """By the id of mitmproxy's client."""

    @functools.cache  # noqa: B019 - there is one checkpoint, and it lives as long as the worker
    def hooks(self, name: str) -> tuple[Callable[..., Any], ...]:
        """Return the functions of all addons for a hook, in the addons' order."""
        found = (getattr(addon, name, None) for addon in ctx.master.addons.chain)
        return tuple(function for function in found if callable(function))

    def turn_away(self, client: connection.Client) -> None:
        """Refuse a client in the middle of its handshake."""
        handler = self.connections.get(client.id)
        if isinstance(handler, Passing):
            handler.abort(ACCESS_DENIED)


class CheckpointServer(mode_servers.AsyncioServerInstance[CheckpointMode]):
    """Serves the listeners."""

    def make_top_layer(self, context: Context) -> layer.Layer:
        return layers.modes.TransparentProxy(context)

    async def _start(self) -> None:
        assert isinstance(self.manager, Checkpoint)
        for listener in self.manager.listeners:
            accept = functools.partial(self.accept, listener)
            server = await asyncio.start_server(accept, sock=listener.socket, backlog=BACKLOG)
            self._servers.append(server)

    async def accept(
        self, listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Find out who came and where to, then let mitmproxy handle the connection."""
        checkpoint = self.manager
        assert isinstance(checkpoint, Checkpoint)
        sock = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        address, port, *_ = writer.get_extra_info("peername") or ("", 0)
        try:
            caller = await checkpoint.look_up(address, port, listener.netns)
        except (LineError, WireError):
            caller = None
        if caller is None:
            writer.close()
            return
        handler = Passing(reader, writer, self.mode, checkpoint.hooks)
        handler.layer = self.make_top_layer(handler.layer.context)
        client = handler.client
        client.sockname = caller.destination
        handler.layer.context.server.address = caller.destination
        checkpoint.callers[client.id] = caller
        try:
            with checkpoint.register_connection(client.id, handler):
                await handler.handle_client()
        finally:
            del checkpoint.callers[client.id]

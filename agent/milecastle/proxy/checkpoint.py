"""Where redirected connections arrive: inherited sockets, and a look-up before the first byte.

A mitmproxy mode of our own. Sockets are served that the daemon owns, and each connection is given
its caller and its real destination before anything of it is read. A connection that nobody knows
is closed: there is no telling where it wanted to go.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mitmproxy import connection, ctx
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import layer, layers, mode_servers, mode_specs
from mitmproxy.proxy.context import Context

from milecastle.proxy.line import LineError
from milecastle.proxy.link import Caller, Listener
from milecastle.proxy.passing import Functions, Passing, keep_alive
from milecastle.wire import WireError

log = logging.getLogger(__name__)

BACKLOG = 4096
"""asyncio calls listen() again; a smaller number would shrink the daemon's."""
ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
"""A TLS record with the fatal alert access_denied (RFC 8446 section 6.2)."""

type LookUp = Callable[[str, int, int], Awaitable[Caller | None]]
"""From the client's address and port and its namespace to who that is."""
type Dial = Callable[[int, int], Awaitable[socket.socket]]
"""From a namespace and a family to a socket there."""


@dataclass(frozen=True, repr=False)
class CheckpointMode(mode_specs.ProxyMode):
    """The mode's name in mitmproxy's options: ``checkpoint``."""

    description = "milecastle checkpoint"
    default_port = None
    transport_protocol: Literal["tcp"] = "tcp"

    def __post_init__(self) -> None:
        """Take any text: it comes from `assembly` alone."""


class Checkpoint(Proxyserver):
    """mitmproxy's server addon, with the listeners and the callers of open connections.

    ``listeners`` are those of the worker's own network namespace; more can come and go.
    """

    name = "proxyserver"

    def __init__(self, listeners: Sequence[Listener], look_up: LookUp, dial: Dial) -> None:
        super().__init__()
        self.listeners = list(listeners)
        self.look_up = look_up
        self.callers: dict[str, Caller] = {}
        """By the id of mitmproxy's client."""
        self._home = {listener.netns for listener in listeners}
        self._dial = dial

    @functools.cache  # noqa: B019 - there is one checkpoint, and it lives as long as the worker
    def hooks(self, name: str) -> Functions:
        """Return the functions of all addons for a hook, in the addons' order."""
        found = (getattr(addon, name, None) for addon in ctx.master.addons.chain)
        functions = tuple(function for function in found if callable(function))
        return Functions(functions, not any(map(inspect.iscoroutinefunction, functions)))

    def dial(self, netns: int) -> Callable[[int], Awaitable[socket.socket]] | None:
        """Return what makes sockets in a namespace, None for the worker's own."""
        return None if netns in self._home else functools.partial(self._dial, netns)

    async def listen(self, listener: Listener) -> None:
        """Serve another socket, now or as soon as anything is served."""
        self.listeners.append(listener)
        for server in self.servers:
            if isinstance(server, CheckpointServer) and server.is_running:
                await server.serve(listener)

    def unlisten(self, netns: int) -> None:
        """Serve a namespace no longer; its open connections go on."""
        gone = [listener for listener in self.listeners if listener.netns == netns]
        self.listeners = [listener for listener in self.listeners if listener.netns != netns]
        for server in self.servers:
            if isinstance(server, CheckpointServer):
                for listener in gone:
                    server.leave(listener)

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
        self._serving: dict[Listener, asyncio.Server] = {}
        for listener in self.manager.listeners:
            await self.serve(listener)

    async def serve(self, listener: Listener) -> None:
        """Accept connections from a socket."""
        accept = functools.partial(self.accept, listener)
        server = await asyncio.start_server(accept, sock=listener.socket, backlog=BACKLOG)
        self._serving[listener] = server
        self._servers.append(server)

    def leave(self, listener: Listener) -> None:
        """Accept no more from a socket, and close it."""
        server = self._serving.pop(listener, None)
        if server is not None:
            self._servers.remove(server)
            server.close()

    async def accept(
        self, listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Find out who came and where to, then let mitmproxy handle the connection."""
        checkpoint = self.manager
        assert isinstance(checkpoint, Checkpoint)
        keep_alive(writer)
        address, port, *_ = writer.get_extra_info("peername") or ("", 0)
        try:
            caller = await checkpoint.look_up(address, port, listener.netns)
        except (LineError, WireError):
            caller = None
        if caller is None:
            writer.close()
            return
        dial = checkpoint.dial(listener.netns)
        handler = Passing(reader, writer, self.mode, checkpoint.hooks, dial)
        context, client = handler.layer.context, handler.client
        client.sockname = caller.destination
        context.server.address = caller.destination
        handler.serve(self.make_top_layer(context))
        checkpoint.callers[client.id] = caller
        try:
            with checkpoint.register_connection(client.id, handler):
                await handler.handle_client()
        except asyncio.CancelledError:
            pass  # the worker ends; asyncio would log it as an error of each connection
        finally:
            del checkpoint.callers[client.id]

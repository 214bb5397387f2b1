"""One connected unix socket that speaks `wire`: frames in, frames out, everything bounded.

A peer that breaks a rule, or that does not read what it is sent, is disconnected. That is all that
can happen to the daemon through a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Sequence

from milecastle import wire
from milecastle.host import peer_credentials

log = logging.getLogger(__name__)

READ = 1 << 16
BACKLOG = 32 << 20
"""Bytes that may wait for a peer that reads slowly."""


type Outgoing = tuple[bytes, tuple[int, ...], socket.socket | None]


class Peer:
    """A connection to a worker or a client, with the kernel's word on who that is."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.credentials = peer_credentials(sock)
        self._sock = sock
        self._waiting: asyncio.Queue[Outgoing] = asyncio.Queue()
        self._waiting_bytes = 0
        self._hung_up = False
        self._writer = asyncio.create_task(self._write())

    async def frames(self) -> AsyncIterator[wire.Frame]:
        """Yield what the peer sends until it leaves; WireError where it breaks the framing."""
        loop = asyncio.get_running_loop()
        decoder = wire.Decoder()
        while True:
            try:
                data = await loop.sock_recv(self._sock, READ)
            except OSError:
                return
            if not data:
                return
            for frame in decoder.feed(data):
                yield frame

    def send(
        self,
        frame: wire.Frame,
        descriptors: Sequence[int] = (),
        owned: socket.socket | None = None,
    ) -> None:
        """Queue a frame. Descriptors must stay open until the peer is closed; ``owned`` is kept
        until it is sent, then closed.
        """
        data = wire.encode(frame)
        if self._hung_up:
            return
        if not (self._waiting_bytes or descriptors or owned):
            data = self._send_now(data)
            if not data:
                return
        if self._waiting_bytes + len(data) > BACKLOG:
            log.warning("pid %d does not read its socket; disconnected", self.credentials.pid)
            self.hang_up()
            return
        self._waiting_bytes += len(data)
        self._waiting.put_nowait((data, tuple(descriptors), owned))

    def _send_now(self, data: bytes) -> bytes:
        """Send what the socket takes at once, and return the rest: mostly that saves a turn of the
        event loop, for which a connection would wait.
        """
        try:
            return data[self._sock.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            self.hang_up()
            return b""

    def answer(self, request: wire.Frame, result: dict[str, object] | list[object]) -> None:
        """Answer a request."""
        self.send(wire.Frame(request.id, "ok", {"result": result}))

    def refuse(self, request: wire.Frame, code: str, message: str) -> None:
        """Answer a request that can't be granted."""
        self.send(wire.Frame(request.id, "error", {"code": code, "message": message}))

    def hang_up(self) -> None:
        """Disconnect at once: `frames` ends, and whoever reads it closes."""
        self._hung_up = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Disconnect and free everything. Nobody may be in `frames` any more.

        The socket is closed last: a descriptor that is closed while the event loop still watches
        it could be taken for the next connection that gets its number.
        """
        self.hang_up()
        self._writer.cancel()
        await asyncio.wait([self._writer])
        self._sock.close()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                item = await self._waiting.get()
                data, descriptors, owned = item
                if descriptors:  # they travel with the first bytes
                    sent = socket.send_fds(self._sock, [data[: wire.HEADER]], list(descriptors))
                    data = data[sent:]
                await loop.sock_sendall(self._sock, data)
                self._waiting_bytes -= len(item[0])
                if owned is not None:
                    owned.close()
        except OSError:
            self.hang_up()


async def listen(path_socket: socket.socket) -> AsyncIterator[Peer]:
    """Yield a Peer for each connection to a listening unix socket."""
    loop = asyncio.get_running_loop()
    path_socket.setblocking(False)
    while True:
        try:
            sock, _address = await loop.sock_accept(path_socket)
        except OSError as error:  # out of descriptors: wait, do not spin
            log.warning("cannot accept a connection: %s", error.strerror)
            await asyncio.sleep(0.2)
            continue
        try:
            yield Peer(sock)
        except OSError:
            sock.close()  # it left before it could be asked who it is

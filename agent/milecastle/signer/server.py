"""The signer's socket: a few local peers, one frame at a time, nothing unbounded.

One thread and one selector. A peer of another user, a frame that is not in ``wire.SIGNER`` or one
byte of garbage ends that connection; the others notice nothing. While a peer does not read its
answers, nothing more is read from it.
"""

from __future__ import annotations

import logging
import selectors
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from milecastle import wire
from milecastle.signer.signing import Peer
from milecastle.wire import Decoder, Frame, WireError

MOST_CONNECTIONS = 32
LARGEST_FRAME = max(row.limit for row in wire.SIGNER.values())
READ_AT_ONCE = 4096

log = logging.getLogger("milecastle.signer")

type Answer = Callable[[Frame, Peer], Frame]


@dataclass(slots=True)
class Conversation:
    """One peer and what is under way with it. Bytes in, bytes out; no socket."""

    peer: Peer
    answer: Answer
    decoder: Decoder = field(default_factory=lambda: Decoder(LARGEST_FRAME))
    outgoing: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> None:
        """Answer what is whole. WireError: the peer broke the protocol."""
        for frame in self.decoder.feed(data):
            wire.check(frame, wire.SIGNER, "worker", "serving")
            self.outgoing += wire.encode(self.answer(frame, self.peer))


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who connected (SO_PEERCRED: struct ucred of three ints)."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _gid = struct.unpack("3i", credentials)
    return Peer(pid, uid)


class Server:
    """Serves a listening unix socket to the processes of one user."""

    def __init__(self, listener: socket.socket, answer: Answer, peer_uid: int) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._answer = answer
        self._peer_uid = peer_uid
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    @property
    def connections(self) -> int:
        return len(self._selector.get_map()) - 1

    def serve(self) -> NoReturn:
        """Go on until the process is ended; there is nothing to undo."""
        while True:
            self.turn(None)

    def turn(self, timeout: float | None) -> None:
        """Wait for something to happen and deal with it."""
        for key, _events in self._selector.select(timeout):
            if key.data is None:
                self._accept()
            else:
                assert isinstance(key.fileobj, socket.socket)
                self._go_on(key.fileobj, key.data)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it left before we came to it
            return
        peer = peer_of(connection)
        if peer.uid != self._peer_uid:
            log.warning("closed: process %d is of user %d", peer.pid, peer.uid)
            connection.close()
        elif self.connections >= MOST_CONNECTIONS:
            log.warning("closed: process %d is one over %d", peer.pid, MOST_CONNECTIONS)
            connection.close()
        else:
            connection.setblocking(False)
            conversation = Conversation(peer, self._answer)
            self._selector.register(connection, selectors.EVENT_READ, conversation)

    def _go_on(self, connection: socket.socket, conversation: Conversation) -> None:
        try:
            if not conversation.outgoing:
                data = connection.recv(READ_AT_ONCE)
                if not data:
                    return self._close(connection)
                conversation.feed(data)
            if conversation.outgoing:
                del conversation.outgoing[: connection.send(conversation.outgoing)]
        except BlockingIOError:
            pass
        except WireError as error:
            log.warning("closed: process %d: %s", conversation.peer.pid, error)
            return self._close(connection)
        except OSError:  # reset by the peer
            return self._close(connection)
        waits_for = selectors.EVENT_WRITE if conversation.outgoing else selectors.EVENT_READ
        self._selector.modify(connection, waits_for, conversation)
        return None

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()

"""The socket: who is let in, what garbage does, and that nothing grows without bound."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from milecastle.signer.server import LARGEST_FRAME, MOST_CONNECTIONS, Server
from milecastle.signer.signing import Signer
from milecastle.wire import Decoder, Frame, encode


class Rig:
    """A server on a real socket, turned by hand."""

    def __init__(self, path: Path, signer: Signer, peer_uid: int) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.server = Server(self.listener, signer.answer, peer_uid)
        self.sockets: list[socket.socket] = []

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        connection.connect(str(self.path))
        self.sockets.append(connection)
        self.settle()
        return connection

    def settle(self) -> None:
        for _ in range(8):
            self.server.turn(0)

    def say(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self.settle()

    def hears(self, connection: socket.socket) -> list[Frame]:
        """What was answered; EOFError where the server closed."""
        self.settle()
        decoder, frames = Decoder(), []
        try:
            while data := connection.recv(1 << 16):
                frames += decoder.feed(data)
                self.settle()
        except BlockingIOError:
            return frames
        except ConnectionResetError:  # closed with our bytes unread
            pass
        raise EOFError

    def close(self) -> None:
        for each in [self.listener, *self.sockets]:
            each.close()


@pytest.fixture
def rig(tmp_path: Path, signer: Signer) -> Iterator[Rig]:
    rig = Rig(tmp_path / "signer.sock", signer, os.geteuid())
    yield rig
    rig.close()


def request(public_key: bytes, number: int = 1, name: str = "api.openai.com") -> bytes:
    return encode(Frame(number, "sign", {"name": name, "public_key": public_key}))


def test_a_worker_asks_and_is_answered(rig: Rig, public_key: bytes) -> None:
    worker = rig.connect()
    rig.say(worker, request(public_key, 1) + request(public_key, 2, "bank.example"))
    first, second = rig.hears(worker)
    assert (first.id, first.kind) == (1, "ok")
    assert (second.id, second.kind, second.body["code"]) == (2, "error", "not_in_catalogue")


def test_a_request_may_come_byte_by_byte(rig: Rig, public_key: bytes) -> None:
    worker = rig.connect()
    for byte in request(public_key):
        rig.say(worker, bytes([byte]))
    assert [frame.kind for frame in rig.hears(worker)] == ["ok"]


def test_another_user_is_refused(tmp_path: Path, signer: Signer, public_key: bytes) -> None:
    rig = Rig(tmp_path / "other.sock", signer, os.geteuid() + 1)
    stranger = rig.connect()
    with pytest.raises(EOFError):
        rig.hears(stranger)
    assert rig.server.connections == 0
    assert (tmp_path / "audit.jsonl").read_bytes() == b""
    rig.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        (LARGEST_FRAME + 1).to_bytes(4, "big"),
        encode(Frame(1, "key", {})),
        encode(Frame(0, "sign", {"name": "api.openai.com", "public_key": b""})),
        encode(Frame(1, "sign", {"name": "api.openai.com"})),
        encode(Frame(1, "sign", {"name": b"api.openai.com", "public_key": b""})),
        encode(Frame(1, "sign", {"name": "a", "public_key": b"", "days": 400})),
    ],
)
def test_garbage_ends_its_own_connection_only(rig: Rig, public_key: bytes, garbage: bytes) -> None:
    honest, broken = rig.connect(), rig.connect()
    rig.say(broken, garbage)
    with pytest.raises(EOFError):
        rig.hears(broken)
    rig.say(honest, request(public_key))
    assert [frame.kind for frame in rig.hears(honest)] == ["ok"]
    assert rig.server.connections == 1


def test_connections_are_bounded_and_freed(rig: Rig, public_key: bytes) -> None:
    kept = [rig.connect() for _ in range(MOST_CONNECTIONS)]
    with pytest.raises(EOFError):
        rig.hears(rig.connect())
    kept[0].close()
    rig.settle()
    late = rig.connect()
    rig.say(late, request(public_key))
    assert [frame.kind for frame in rig.hears(late)] == ["ok"]


def test_a_peer_that_never_reads_is_not_read_either(rig: Rig, public_key: bytes) -> None:
    lazy = rig.connect()
    flood = request(public_key)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += lazy.send(flood)
            rig.server.turn(0)
    except BlockingIOError:
        pass
    assert sent < 8 << 20, "the kernel's buffers filled, ours did not grow"
    rig.say(honest := rig.connect(), request(public_key))
    assert len(rig.hears(honest)) == 1

"""The other ends of worker.sock and signer.sock, held in a test's hand."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from milecastle import wire

ATTRIBUTION = {
    "cookie": 7,
    "destination": {"address": "198.51.100.7", "port": 443},
    "process": {"pid": 12, "comm": "curl", "uid": 1000, "argv": ["curl"], "ancestry": []},
}


def welcome(listeners=()) -> dict:
    return {
        "settings": {"capture": "redacted", "body_limit": 1 << 20, "upstream_ca": ["PEM"]},
        "policy": {"files": [["policy.yaml", "version: 1"]]},
        "catalogue": [["extra.yaml", "services: []"]],
        "chain": "PEM",
        "listeners": list(listeners),
        "instance": 3,
        "key": b"k" * 32,
    }


class Daemon:
    """The other end of the socket."""

    def __init__(self, path) -> None:
        self.path = path
        self.frames: asyncio.Queue[wire.Frame] = asyncio.Queue()
        self.connected = asyncio.Event()
        self.left = asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_unix_server(self.serve, self.path)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.writer.close()

    async def serve(self, reader, writer):
        self.writer = writer
        self.connected.set()
        decoder = wire.Decoder()
        with contextlib.suppress(asyncio.CancelledError):
            while data := await reader.read(65536):
                for frame in decoder.feed(data):
                    self.frames.put_nowait(frame)
        self.left.set()

    async def next(self) -> wire.Frame:
        return await asyncio.wait_for(self.frames.get(), 3)

    def send(self, *frame, descriptors=()) -> None:
        data = wire.encode(wire.Frame(*frame))
        sock = self.writer.get_extra_info("socket")._sock
        if descriptors:
            sent = socket.send_fds(sock, [data[:4]], list(descriptors))
            data = data[sent:]
        self.writer.write(data)

    def ok(self, request: wire.Frame, result) -> None:
        self.send(request.id, "ok", {"result": result})

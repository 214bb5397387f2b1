"""The client of the proxy benchmark: one kept connection for each way, used in turn.

    proxy_client.py '{"ways": {NAME: {"address", "port", "host", "ca"}}, "calls", "streams", "h2"}'

Prints one JSON object: for each way ``call`` (ms of each 4 KB call), ``first`` (ms to the first
token on an open connection) and ``chunk`` (ms that each later chunk was on its way).
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import sys
import time
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events

PROMPT = "Please tell me whether everything on this host is as it should be. " * 58
"""4 KB once it stands in a request."""
WARM_UP = 20


def body(stream: bool) -> bytes:
    messages = [{"role": "user", "content": PROMPT}]
    told = {"model": "gpt-4o-mini", "messages": messages, "stream": stream}
    return json.dumps(told, separators=(",", ":")).encode()


class Http1:
    """The least HTTP/1.1 that this upstream needs."""

    def __init__(self, way: dict) -> None:
        self.host, self.sock = way["host"], connect(way, "http/1.1")
        self.buffer = b""

    def post(self, content: bytes) -> Iterator[tuple[int, bytes]]:
        """Send a request; yield (monotonic ns, data) as the body's pieces come."""
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.host}\r\n"
            "Content-Type: application/json\r\nAuthorization: Bearer lab\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self.sock.sendall(head.encode() + content)
        fields = self.until(b"\r\n\r\n").lower()
        if b"200" not in fields.split(b"\r\n", 1)[0]:
            raise RuntimeError(fields.decode())
        if b"chunked" not in fields:
            size = int(fields.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            yield time.monotonic_ns(), self.exactly(size)
            return
        while size := int(self.until(b"\r\n"), 16):
            yield time.monotonic_ns(), self.exactly(size + 2)[:-2]
        self.exactly(2)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self.more()
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.more()
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def more(self) -> None:
        if not (data := self.sock.recv(65536)):
            raise ConnectionError("the peer closed the connection")
        self.buffer += data


class Http2:
    def __init__(self, way: dict) -> None:
        self.host, self.sock = way["host"], connect(way, "h2")
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(2**30)
        self.sock.sendall(self.h2.data_to_send())

    def post(self, content: bytes) -> Iterator[tuple[int, bytes]]:
        stream = self.h2.get_next_available_stream_id()
        pseudo = {":method": "POST", ":scheme": "https", ":path": "/v1/chat/completions"}
        fields = pseudo | {":authority": self.host, "content-type": "application/json"}
        self.h2.send_headers(stream, list(fields.items()))
        self.h2.send_data(stream, content, end_stream=True)
        self.sock.sendall(self.h2.data_to_send())
        while True:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the peer closed the connection")
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                    if status != "200":
                        raise RuntimeError(status)
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                    yield time.monotonic_ns(), event.data
                if isinstance(event, h2.events.StreamEnded):
                    self.sock.sendall(self.h2.data_to_send())
                    return
            self.sock.sendall(self.h2.data_to_send())


def connect(way: dict, protocol: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=way["ca"])
    context.set_alpn_protocols([protocol])
    sock = socket.create_connection((way["address"], way["port"]), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    secured = context.wrap_socket(sock, server_hostname=way["host"])
    if secured.selected_alpn_protocol() not in (protocol, None):
        raise RuntimeError(f"{way}: not {protocol}")
    return secured


def call(connection: Http1 | Http2) -> float:
    """Return the milliseconds from sending a request to having its whole answer."""
    begun = time.monotonic_ns()
    for _ in connection.post(CALL):
        pass
    return (time.monotonic_ns() - begun) / 1e6


def stream(connection: Http1 | Http2) -> tuple[float, list[float]]:
    """Return the ms to the first token, and how long each later chunk was on its way."""
    begun = time.monotonic_ns()
    ways, text, first = [], "", 0.0
    for arrived, data in connection.post(STREAM):
        text += data.decode()
        while "\n\n" in text:
            event, text = text.split("\n\n", 1)
            if '"content"' not in event:
                continue
            sent = int(json.loads(event[6:])["choices"][0]["delta"]["content"] or 0)
            if first:
                ways.append((arrived - sent) / 1e6)
            else:
                first = (arrived - begun) / 1e6
    return first, ways


CALL, STREAM = body(stream=False), body(stream=True)


def main() -> None:
    task = json.loads(sys.argv[1])
    kind = Http2 if task["h2"] else Http1
    connections = {name: kind(way) for name, way in task["ways"].items()}
    told = {name: {"call": [], "first": [], "chunk": []} for name in connections}
    order = list(connections)
    for _ in range(WARM_UP):
        for connection in connections.values():
            call(connection)
    for _ in range(task["calls"]):
        random.shuffle(order)
        for name in order:
            told[name]["call"].append(call(connections[name]))
    for _ in range(task["streams"]):
        random.shuffle(order)
        for name in order:
            first, ways = stream(connections[name])
            told[name]["first"].append(first)
            told[name]["chunk"] += ways
    print(json.dumps(told))


if __name__ == "__main__":
    main()

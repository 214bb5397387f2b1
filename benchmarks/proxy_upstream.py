"""The provider of the proxy benchmark: one fixed answer, or a stream that says when it was sent.

    proxy_upstream.py PORT

HTTP/1.1 on loopback, behind the lab's nginx. A request whose body holds ``"stream":true`` is
answered with EVENTS Chat Completions chunks, PAUSE apart; each chunk's text is the clock at its
sending (CLOCK_MONOTONIC, ns), so that a client on this host can tell how long it was on its way.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

EVENTS = 40
PAUSE = 0.02

ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "all is well " * 135},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 900, "completion_tokens": 400, "total_tokens": 1300},
    }
).encode()


def head(kind: str, *more: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {kind}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    fields = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "model": "gpt-4o-mini"}
    return b"data: " + json.dumps({**fields, "choices": [choice]}).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            length = next((int(x[15:]) for x in lines if x.startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            if b'"stream":true' in body:
                await stream(writer)
            else:
                size = f"Content-Length: {len(ANSWER)}"
                writer.write(head("application/json", size) + ANSWER)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def stream(writer: asyncio.StreamWriter) -> None:
    writer.write(head("text/event-stream", "Transfer-Encoding: chunked"))
    for _ in range(EVENTS):
        writer.write(chunk(event(f"{time.monotonic_ns()} ")))
        await writer.drain()
        await asyncio.sleep(PAUSE)
    writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

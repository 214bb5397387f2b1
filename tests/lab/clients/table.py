"""Many calls at once, over HTTP/1.1, HTTP/2 and WebSockets; prints what came back of each.

    table.py < CASES

CASES is a JSON list of ``{"id", "url", "body", "version"}``: version 1 or 2, or ``ws``, where
``body`` is the list of messages to send. Prints a JSON list of ``{"id", "status", "body"}``; of a
WebSocket the body is all that was received, and the status is the close code, 0 for none.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from typing import Any
from urllib.parse import urlsplit

import httpx2
import wsproto
from wsproto.events import CloseConnection, Message, RejectConnection, Request, TextMessage

AT_ONCE = 8
QUIET = 0.6
"""Seconds without a message after which a WebSocket has said all."""


async def call(clients: dict[int, httpx2.AsyncClient], case: dict[str, Any]) -> tuple[int, str]:
    headers = {"content-type": "application/json"}
    answer = await clients[case["version"]].post(case["url"], content=case["body"], headers=headers)
    assert answer.http_version == {1: "HTTP/1.1", 2: "HTTP/2"}[case["version"]]
    return answer.status_code, answer.content.decode("utf-8", "replace")


async def converse(case: dict[str, Any]) -> tuple[int, str]:
    parts = urlsplit(case["url"])
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    reader, writer = await asyncio.open_connection(parts.hostname, 443, ssl=trust)
    peer = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    writer.write(peer.send(Request(host=parts.hostname, target=target)))
    got, left, status, opened = [], list(case["body"]), 0, False
    try:
        while not status:
            if opened and left:
                writer.write(peer.send(TextMessage(data=left.pop(0))))
            async with asyncio.timeout(QUIET if not left else 5):
                data = await reader.read(65536)
            if not data:
                break
            peer.receive_data(data)
            for event in peer.events():
                match event:
                    case Message():
                        piece = event.data
                        got.append(piece if isinstance(piece, str) else bytes(piece).decode())
                    case CloseConnection():
                        status = event.code
                    case RejectConnection():
                        status = event.status_code
                    case _:
                        opened = True
    except TimeoutError:
        pass
    writer.close()
    return status, "".join(got)


async def main() -> None:
    cases = json.load(sys.stdin)
    gate = asyncio.Semaphore(AT_ONCE)
    trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    clients = {
        version: httpx2.AsyncClient(
            http1=version == 1, http2=version == 2, verify=trust, timeout=30
        )
        for version in (1, 2)
    }

    async def one(case: dict[str, Any]) -> dict[str, Any]:
        async with gate:
            try:
                ws = case["version"] == "ws"
                status, body = await (converse(case) if ws else call(clients, case))
            except Exception as error:  # noqa: BLE001 - it is the test's to judge
                status, body = -1, f"{type(error).__name__}: {error}"
        return {"id": case["id"], "status": status, "body": body}

    print(json.dumps(await asyncio.gather(*map(one, cases))))
    for client in clients.values():
        await client.aclose()


asyncio.run(main())

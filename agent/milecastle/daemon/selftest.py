"""Before "ready": one synthetic exchange through the whole pipeline, and what became of it.

A child in the watched cgroup connects to a documentation address (192.0.2.1, RFC 5737) that the
kernel has been taught to belong to the self-test's service. It can only be answered if the
connection is redirected, the worker finds out who it is, the signer gives a certificate that the
host's CA explains, and the request is inspected; and it only counts when its record is read back
from the store with the child's pid and the finding on it.

The second half of this file is that child: standard library only, run as a script.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "selftest.milecastle.invalid"
SERVICE = "milecastle-selftest"
ADDRESS = "192.0.2.1"
PORT = 443
TIMEOUT = 10.0
PLANTED = "ghp_" + "x" * 36
"""Shaped like a GitHub token, but its checksum is wrong: it proves reading, not detection."""

type Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the self-test found."""

    passed: bool
    what: str
    milliseconds: float = 0.0


async def run(
    cgroup: Path,
    ca: Path,
    read_back: Callable[[int], Awaitable[Event | None]],
    launcher: Path,
) -> Outcome:
    """Send the exchange from a child in ``cgroup``; ``read_back`` finds its record by pid."""
    began = time.monotonic()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(launcher), "--parent", str(os.getpid())),
        *("--cgroup", str(cgroup), "--", sys.executable, "-I", __file__, str(ca)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(child.communicate(), TIMEOUT)
    except TimeoutError:
        child.kill()
        await child.wait()
        return Outcome(False, f"no answer within {TIMEOUT:.0f} s")
    if child.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or ["no reason given"]
        return Outcome(False, lines[-1])
    if "milecastle" not in json.loads(output)["choices"][0]["message"]["content"]:
        return Outcome(False, "the answer is not the worker's own")
    deadline = time.monotonic() + TIMEOUT
    while (event := await read_back(child.pid)) is None:
        if time.monotonic() > deadline:
            return Outcome(False, "the exchange was answered but never recorded")
        await asyncio.sleep(0.02)
    grade = event.get("grade")
    if grade != "exact":
        return Outcome(False, f"the exchange was attributed as {grade!r}, not exactly")
    return Outcome(True, "one exchange went through", (time.monotonic() - began) * 1000)


def main(ca: str) -> None:
    """Be the client: one chat completion over TLS, checked against the host's CA alone."""
    context = ssl.create_default_context(cafile=ca)
    body = json.dumps(
        {
            "model": "milecastle-selftest",
            "messages": [{"role": "user", "content": f"Is anybody at the gate? {PLANTED}"}],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with (
        socket.create_connection((ADDRESS, PORT), timeout=TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as tls,
    ):
        tls.sendall(head.encode() + body)
        with tls.makefile("rb") as answer:
            status = answer.readline().split(b" ", 2)[1]
            while answer.readline() not in (b"\r\n", b""):
                pass
            content = answer.read(1 << 20)
    if status != b"200":
        sys.exit(f"the worker answered with status {status.decode(errors='replace')}")
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as error:
        sys.exit(f"{type(error).__name__}: {error}")

"""The whole worker: its own process, real sockets, the real inspection with the shipped files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from scapy.layers.dns import DNS, DNSQR, DNSRR
from tests.proxy.lab import Provider, client_context, exchange, intermediate, replied, root
from tests.proxy.sockets import ATTRIBUTION, Daemon, welcome

from milecastle import wire

HOST = "api.openai.com"
SELF_TEST = "selftest.milecastle.invalid"
POLICY = """\
version: 1
mode: enforce
rules:
  - id: no-secrets
    when: {finding: {category: secret}}
    action: block
"""
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
KEY = "sk-8JZpDE0iGXlD6gNCFbaE" + "T3BlbkFJ" + "PFjbD0kH8Oool8DklZDO"
READY_WITHIN = 15.0


@dataclass
class Post:
    """A worker, and everything around it."""

    daemon: Daemon
    provider: Provider
    process: asyncio.subprocess.Process
    port: int
    records: list[dict] = field(default_factory=list)
    names: list[list] = field(default_factory=list)
    tools: list[tuple[str, dict]] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    destination: tuple[str, int] = ("", 0)

    async def heed(self) -> None:
        """Do what a daemon does."""
        while True:
            frame = await self.daemon.frames.get()
            match frame.kind:
                case "heartbeat":
                    self.beats.append(time.monotonic())
                case "record":
                    self.records.append(frame.body["record"])
                case "tools":
                    self.tools.append((frame.body["server"], frame.body["seals"]))
                case "names":
                    self.names += frame.body["answers"]
                case "attribute":
                    address, port = self.destination
                    where = {"address": address, "port": port}
                    self.daemon.ok(frame, {**ATTRIBUTION, "destination": where})

    async def call(self, body, host=HOST):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=client_context(root("milecastle")), server_hostname=host
        )
        try:
            return await exchange(reader, writer, json.dumps(body).encode(), host=host)
        finally:
            writer.close()

    async def until(self, condition, seconds=5.0):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    def memory(self) -> float:
        """Megabytes of resident memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def sign(reader, writer):
    """Be the signer."""
    decoder = wire.Decoder()
    while data := await reader.read(4096):
        for frame in decoder.feed(data):
            wire.check(frame, wire.SIGNER, "worker", "serving")
            key = serialization.load_der_public_key(frame.body["public_key"])
            made = intermediate().sign(frame.body["name"], key)
            der = made.public_bytes(serialization.Encoding.DER)
            answer = {"result": {"certificate": der, "issuer": der}}
            writer.write(wire.encode(wire.Frame(frame.id, "ok", answer)))


@contextlib.asynccontextmanager
async def posted(
    folder: Path, policy: str = "version: 1\n", knowledge=None, indexes=()
) -> AsyncIterator[Post]:
    provider = Provider()
    await provider.start(root("provider"), (HOST,), ["http/1.1"])
    signer = await asyncio.start_unix_server(sign, folder / "signer.sock")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with Daemon(folder / "worker.sock") as daemon:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "milecastle.proxy.main", "--run-dir", str(folder)),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path("agent").absolute())},
            stderr=asyncio.subprocess.PIPE,
        )
        hello = await asyncio.wait_for(daemon.frames.get(), READY_WITHIN)
        told = welcome([{"family": 4, "netns": 1, "port": port}])
        told["settings"]["upstream_ca"] = [root("provider").pem]
        told |= {"chain": intermediate().pem, "catalogue": []}
        told["policy"] = {"files": [["policy.yaml", policy]]}
        if knowledge is not None:
            told["knowledge"] = knowledge
        daemon.send(hello.id, "ok", {"result": told}, descriptors=[listener.fileno(), *indexes])
        post = Post(daemon, provider, process, port, destination=provider.tls)
        heeding = asyncio.create_task(post.heed())
        try:
            await post.until(lambda: post.beats, READY_WITHIN)
            yield post
        finally:
            heeding.cancel()
            if process.returncode is None:
                process.kill()
            errors = (await process.communicate())[1].decode()
            print(errors)
            listener.close()
            signer.close()
            await provider.stop()


async def test_a_worker_serves_inspects_reports_and_ends_with_the_daemon(tmp_path):
    async with posted(tmp_path) as post:
        # the self-test answers without a provider
        got = await post.call(BODY, SELF_TEST)
        assert got.status == 200
        assert "milecastle" in got.json()["choices"][0]["message"]["content"]
        await post.until(lambda: post.records)
        assert post.records[0]["service"] == "milecastle-selftest"
        assert post.records[0]["attributes"]["gen_ai.request.model"] == "gpt-4o"
        # a call to a provider
        answer = {
            "id": "x",
            "object": "chat.completion",
            "model": "gpt-4o-2024",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
        }
        post.provider.reply = replied(body=json.dumps(answer).encode())
        assert (await post.call(BODY)).json() == answer
        await post.until(lambda: len(post.records) == 2)
        record = post.records[1]
        assert (record["cookie"], record["service"], record["status"]) == (7, "openai", 200)
        assert record["attributes"]["gen_ai.usage.input_tokens"] == 3
        assert record["attributes"]["gen_ai.input.messages"][0]["parts"][0]["content"] == "hello"
        # a policy that comes later counts from the next exchange
        post.daemon.send(0, "policy", {"files": [["policy.yaml", POLICY]]})
        post.daemon.send(0, "policy", {"files": [["broken.yaml", "not: a policy"]]})
        sent = len(post.provider.received)
        secret = {**BODY, "messages": [{"role": "user", "content": f"my key is {KEY}"}]}
        refused = await post.call(secret)
        assert (refused.status, refused.json()["error"]["code"]) == (403, "milecastle_blocked")
        assert len(post.provider.received) == sent
        await post.until(lambda: len(post.records) == 3)
        assert post.records[2]["verdict"]["rule"] == "no-secrets"
        assert KEY not in json.dumps(post.records)
        # a packet is read
        data = DNS(qr=1, qd=[DNSQR(qname=HOST)], an=[DNSRR(rrname=HOST, rdata="198.51.100.9")])
        whole = {"what": "dns", "connection": 0, "at": 0}
        post.daemon.send(0, "packet", {**whole, "data": b"garbage"})
        post.daemon.send(0, "packet", {**whole, "data": bytes(data)})
        await post.until(lambda: [HOST, ["198.51.100.9"], 0] in post.names)
        # so is an answer over TCP in two segments
        post.names.clear()
        piece = {"what": "dns_stream", "connection": 5}
        sent = len(data).to_bytes(2, "big") + bytes(data)
        post.daemon.send(0, "packet", {**piece, "data": sent[:9], "at": 100})
        post.daemon.send(0, "packet", {**piece, "data": sent[9:], "at": 109})
        await post.until(lambda: [HOST, ["198.51.100.9"], 0] in post.names)
        assert post.memory() < 150
        # heartbeats never stopped
        await post.until(lambda: len(post.beats) > 3)
        gaps = [after - before for before, after in zip(post.beats, post.beats[1:], strict=False)]
        assert max(gaps) < 1.0
        # and without a daemon there is no worker
        post.daemon.writer.close()
        assert await asyncio.wait_for(post.process.wait(), 3) == 1


async def test_a_worker_that_is_asked_to_end_ends(tmp_path):
    async with posted(tmp_path) as post:
        post.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(post.process.wait(), 3) == 0


async def test_connections_wait_for_the_next_worker_when_one_is_killed(tmp_path):
    async with posted(tmp_path) as post:
        post.process.kill()
        await post.process.wait()
        # the parent still owns the listening socket
        reader, writer = await asyncio.open_connection("127.0.0.1", post.port)
        writer.write(b"waiting")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.2)
        writer.close()


async def test_without_a_daemon_a_worker_says_so_and_ends(tmp_path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milecastle.proxy.main", "--run-dir", str(tmp_path)),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path("agent").absolute())},
        stderr=asyncio.subprocess.PIPE,
    )
    _out, errors = await asyncio.wait_for(process.communicate(), READY_WITHIN)
    assert process.returncode == 1
    assert b"worker.sock: No such file" in errors

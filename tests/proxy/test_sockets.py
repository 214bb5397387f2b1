"""WebSockets through a running gate: a real client, a real provider, the real inspection."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

import pytest
import wsproto
from tests.proxy.lab import HOST, Script, lab, root, server_context
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    RejectConnection,
    Request,
    TextMessage,
)

from milecastle import catalogue, policy
from milecastle.detect import Engine
from milecastle.inspection import Inspector

KEY = "labkey_q7w8e9r0t1y2"
MARK = "[REDACTED:lab-key]"
RULES = """
category: secret
severity: high
rules:
  - id: lab-key
    title: A key that exists in these tests only
    source: https://example.test/
    token: 'labkey_[a-z0-9]{12}'
    matches: ['use ‖labkey_a1b2c3d4e5f6‖ here']
    ignores: ['labkey_short']
"""
ENGINE = Engine.load([("lab.yaml", RULES)], key=b"k" * 32)


def script(action: str, *, on_failure: str = "open", mode: str = "enforce") -> Script:
    """Fake names and rules, but a real inspection."""
    document = f"""
version: 1
mode: {mode}
on_failure: {{default: {on_failure}}}
rules:
  - id: no-secrets
    when: {{finding: {{category: secret}}}}
    action: {action}
    mode: {mode}
    reason: keys stay at home
"""
    compiled, problems = policy.check(document, "policy.yaml")
    assert compiled, problems
    names, _problems = catalogue.load([])
    inspector = Inspector(names, ENGINE, compiled)
    made = Script(on_failure=on_failure)
    made.begin = inspector.begin
    return made


class Peer:
    """One end of a WebSocket."""

    def __init__(self, reader, writer, kind: wsproto.ConnectionType) -> None:
        self.reader, self.writer = reader, writer
        self.socket = wsproto.WSConnection(kind)
        self.heard: list[str | bytes] = []
        self.closed: CloseConnection | None = None
        self.request: Request | None = None

    def say(self, event) -> None:
        self.writer.write(self.socket.send(event))

    async def hear(self) -> list:
        """Take what comes next: the events of one read, messages joined."""
        data = await asyncio.wait_for(self.reader.read(65536), 5)
        self.socket.receive_data(data or None)
        events = list(self.socket.events())
        for event in events:
            if isinstance(event, Message):
                self._pieces = getattr(self, "_pieces", None) or event.data[:0]
                self._pieces += event.data
                if event.message_finished:
                    self.heard.append(self._pieces)
                    self._pieces = None
            elif isinstance(event, CloseConnection):
                self.closed = event
            elif isinstance(event, Request):
                self.request = event
        return events

    async def message(self, count: int = 1) -> str | bytes:
        """Wait until this many messages came; return the last."""
        while len(self.heard) < count:
            assert self.closed is None, self.closed
            await self.hear()
        return self.heard[count - 1]

    async def end(self) -> CloseConnection:
        while self.closed is None:
            await self.hear()
        return self.closed


class Talk:
    """A client, a provider, and the gate between them."""

    def __init__(self, gate) -> None:
        self.gate = gate
        self.provider: Peer | None = None
        self.client: Peer | None = None


@contextlib.asynccontextmanager
async def talk(made: Script, *, path: str = "/v1/realtime?model=m", limit: int = 1 << 20):
    arrived: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()

    async def serve(reader, writer) -> None:
        peer = Peer(reader, writer, wsproto.ConnectionType.SERVER)
        with contextlib.suppress(OSError, TimeoutError):
            while peer.request is None:
                await peer.hear()
            peer.say(AcceptConnection())
            arrived.set_result(peer)

    context = server_context(root("provider"), HOST, alpn=["http/1.1"])
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with lab(made, limit=limit) as gate:
        gate.destination[0] = server.sockets[0].getsockname()
        reader, writer = await gate.connect()
        client = Peer(reader, writer, wsproto.ConnectionType.CLIENT)
        offered = [wsproto.extensions.PerMessageDeflate()]
        client.say(Request(host=HOST, target=path, extensions=offered))
        opened = await client.hear()
        told = Talk(gate)
        told.client = client
        if isinstance(opened[0], AcceptConnection):
            told.provider = await asyncio.wait_for(arrived, 5)
        else:
            assert isinstance(opened[0], RejectConnection)
        try:
            yield told
        finally:
            writer.close()
            if told.provider:
                told.provider.writer.close()
            server.close()


def said(text: str) -> str:
    part = {"type": "input_text", "text": text}
    item = {"type": "message", "role": "user", "content": [part]}
    return json.dumps({"type": "conversation.item.create", "item": item})


def done(text: str) -> str:
    content = [{"type": "output_text", "text": text}]
    item = {"type": "message", "role": "assistant", "content": content}
    told = {"id": "r", "status": "completed", "output": [item]}
    return json.dumps({"type": "response.done", "response": told})


async def test_both_ways_are_redacted_and_each_turn_is_recorded():
    async with talk(script("redact")) as told:
        told.client.say(TextMessage(said(f"my key is {KEY}")))
        assert await told.provider.message() == said(f"my key is {MARK}")
        told.provider.say(TextMessage(done(f"it is {KEY}")))
        assert await told.client.message() == done(f"it is {MARK}")
        record = (await told.gate.recorded())[0]
        assert record["verdict"]["applied"] == "redact"
        assert record["status"] == 101
        assert record["attributes"]["gen_ai.provider.name"]
        assert {one["direction"] for one in record["findings"]} == {"request", "response"}
        assert KEY not in json.dumps(record)
        told.client.say(TextMessage(said("and now?")))
        assert await told.provider.message(2) == said("and now?")
        told.client.say(CloseConnection(1000))
        assert (await told.provider.end()).code == 1000
        _, last = await told.gate.recorded(2)
        assert last["exchange"] != record["exchange"]
        assert last["verdict"]["applied"] == "allow"


async def test_a_session_that_ends_after_an_answer_has_no_empty_record():
    async with talk(script("redact")) as told:
        told.provider.say(TextMessage(done("well")))
        await told.client.message()
        told.client.say(CloseConnection(1000))
        await told.provider.end()
        await asyncio.sleep(0.05)
        assert len(told.gate.records) == 1


async def test_a_blocked_message_does_not_leave_and_the_session_ends_with_the_reason():
    async with talk(script("block")) as told:
        told.client.say(TextMessage(said("harmless")))
        await told.provider.message()
        told.client.say(TextMessage(said(KEY)))
        assert json.loads(await told.client.message())["error"]["code"] == "milecastle_blocked"
        assert (await told.client.end()).code == 1008
        assert (await told.provider.end()).code == 1008
        assert told.provider.heard == [said("harmless")]
        record = (await told.gate.recorded())[0]
        assert record["verdict"]["applied"] == "block"
        assert len(told.gate.records) == 1


async def test_a_blocked_answer_is_replaced_by_the_reason():
    async with talk(script("block")) as told:
        told.provider.say(TextMessage(done(KEY)))
        told.provider.say(TextMessage(done("what comes behind it")))
        assert json.loads(await told.client.message())["type"] == "error"
        assert (await told.client.end()).code == 1008
        assert len(told.client.heard) == 1
        assert (await told.gate.recorded())[0]["verdict"]["applied"] == "block"


async def test_monitor_changes_nothing():
    async with talk(script("block", mode="monitor")) as told:
        told.client.say(TextMessage(said(KEY)))
        assert await told.provider.message() == said(KEY)
        told.provider.say(BytesMessage(done(KEY).encode()))
        assert await told.client.message() == done(KEY).encode()
        assert (await told.gate.recorded())[0]["verdict"]["action"] == "block"


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_an_exception_in_the_hook_gives_the_policy_s_answer(on_failure):
    made = script("redact", on_failure=on_failure)
    begin: Callable = made.begin

    def begin_broken(head, context):
        inspection = begin(head, context)
        converse = inspection.converse

        def opened() -> bool:
            answer = converse()
            inspection._session.send = lambda _data: 1 / 0
            return answer

        inspection.converse = opened
        return inspection

    made.begin = begin_broken
    async with talk(made) as told:
        told.client.say(TextMessage(said("text")))
        if on_failure == "open":
            assert await told.provider.message() == said("text")
            told.client.say(CloseConnection(1000))
        else:
            assert json.loads(await told.client.message())["type"] == "error"
            assert (await told.client.end()).code == 1008
            await told.provider.end()
            assert told.provider.heard == []
        record = (await told.gate.recorded())[0]
        assert record["attributes"]["error.type"] == "ZeroDivisionError"


@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize("pieces", [1, 4])
async def test_a_message_over_the_limit_follows_on_failure(on_failure, pieces):
    made = script("redact", on_failure=on_failure)
    async with talk(made, limit=10_000) as told:
        text = said("x" * 20_000)
        size = len(text) // pieces + 1
        for start in range(0, len(text), size):
            last = start + size >= len(text)
            told.client.say(TextMessage(text[start : start + size], message_finished=last))
            await asyncio.sleep(0.01)
        if on_failure == "open":
            assert await told.provider.message() == text
            told.client.say(CloseConnection(1000))
        else:
            assert (await told.client.end()).code == 1008
            await told.provider.end()
            assert told.provider.heard == []
        record = (await told.gate.recorded())[0]
        assert record["attributes"]["error.type"] == "body_too_large"


async def test_what_has_no_reader_follows_on_failure_as_ever():
    async with talk(script("block"), path="/v1/something") as told:
        told.client.say(TextMessage(said(KEY)))
        assert await told.provider.message() == said(KEY)
        told.client.say(CloseConnection(1000))
        record = (await told.gate.recorded())[0]
        assert record["attributes"]["error.type"] == "websocket_not_inspected"
    async with talk(script("block", on_failure="closed"), path="/v1/something") as told:
        assert told.provider is None

"""The worker's side of worker.sock and signer.sock, against sockets that tests hold in hand."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest
from tests.proxy.lab import HOST, intermediate
from tests.proxy.sockets import ATTRIBUTION, Daemon, welcome

from milecastle import wire
from milecastle.proxy import certificates, line
from milecastle.proxy.line import LineError
from milecastle.proxy.link import Link, Listener, read_caller, read_welcome


class Heard:
    """What a link's owner was told."""

    def __init__(self) -> None:
        self.policies: list[tuple[tuple[str, str], ...]] = []
        self.packets: list[tuple[str, bytes, int, int]] = []
        self.known: list[object] = []
        self.seals: list[tuple[str, dict]] = []
        self.chains: list[str] = []
        self.listeners: list[Listener] = []
        self.left: list[int] = []
        self.end: asyncio.Future[LineError] = asyncio.get_running_loop().create_future()

    def policy(self, files):
        self.policies.append(files)

    def chain(self, pem):
        self.chains.append(pem)

    def knowledge(self, told):
        self.known.append(told)

    def sealed(self, server, seals):
        self.seals.append((server, seals))

    def packet(self, what, data, connection, at):
        self.packets.append((what, data, connection, at))

    def listen(self, listener):
        self.listeners.append(listener)

    def unlisten(self, netns):
        self.left.append(netns)

    def ended(self, why):
        self.end.set_result(why)

    def link(self) -> Link:
        return Link(self)


@pytest.fixture
async def daemon(tmp_path):
    async with Daemon(tmp_path / "worker.sock") as daemon:
        yield daemon


async def greeted(daemon, listeners=(), descriptors=()):
    heard = Heard()
    link = heard.link()
    task = asyncio.create_task(link.greet(daemon.path))
    hello = await daemon.next()
    assert (hello.kind, hello.body) == ("hello", {"version": wire.VERSION})
    daemon.send(hello.id, "ok", {"result": welcome(listeners)}, descriptors=descriptors)
    return heard, link, await asyncio.wait_for(task, 3)


async def test_hello_brings_configuration_and_listening_sockets(daemon):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    rows = [{"family": 4, "netns": 99, "port": port}]
    _heard, _link, told = await greeted(daemon, rows, [listener.fileno()])
    listener.close()
    assert told.listeners[0].netns == 99
    inherited = told.listeners[0].socket
    assert inherited.getsockname()[1] == port
    assert inherited.proto == socket.IPPROTO_TCP  # or asyncio would not set TCP_NODELAY
    assert not os.get_inheritable(inherited.fileno())
    assert told.catalogue == (("extra.yaml", "services: []"),)
    assert "kkk" not in repr(told)
    inherited.close()


async def test_a_welcome_whose_descriptors_are_other_than_it_says_is_refused(daemon):
    with pytest.raises(LineError, match="1 were promised"):
        await greeted(daemon, [{"family": 4, "netns": 99, "port": 1}], [])


@pytest.mark.parametrize("missing", welcome())
def test_an_incomplete_welcome_is_refused(missing):
    told = welcome()
    del told[missing]
    with pytest.raises(wire.WireError):
        read_welcome(told, [])


async def test_a_refused_hello_is_a_line_error(daemon):
    task = asyncio.create_task(Heard().link().greet(daemon.path))
    hello = await daemon.next()
    daemon.send(hello.id, "error", {"code": "version", "message": "too old"})
    with pytest.raises(LineError, match="too old"):
        await task


async def test_without_a_daemon_greeting_fails_at_once(tmp_path):
    with pytest.raises(LineError):
        await Heard().link().greet(tmp_path / "nobody.sock")


async def test_look_ups_are_answered_each_to_whom_asked(daemon):
    _heard, link, _told = await greeted(daemon)
    asked = [asyncio.create_task(link.attribute("127.0.0.1", port, 9)) for port in (1, 2, 3)]
    requests = [await daemon.next() for _ in asked]
    daemon.send(requests[1].id, "error", {"code": "unknown", "message": "no such flow"})
    for index in (2, 0):
        daemon.ok(requests[index], {**ATTRIBUTION, "cookie": requests[index].body["port"]})
    first, second, third = await asyncio.gather(*asked)
    assert (first.cookie, second, third.cookie) == (1, None, 3)
    assert first.destination == ("198.51.100.7", 443)
    assert first.process.comm == "curl"


@pytest.mark.parametrize("field", ["cookie", "destination"])
def test_an_attribution_without_destination_or_cookie_is_refused(field):
    with pytest.raises(wire.WireError):
        read_caller({name: value for name, value in ATTRIBUTION.items() if name != field}, 9)


def test_a_process_told_in_another_way_is_no_reason_to_lose_the_connection():
    assert read_caller({**ATTRIBUTION, "process": {"pid": 1, "future": 2}}, 9).process is None


async def test_policies_and_packets_are_handed_on(daemon):
    heard, _link, _told = await greeted(daemon)
    daemon.send(0, "policy", {"files": [["f", "t"], ["g", "u"]]})
    daemon.send(0, "chain", {"pem": "c"})
    daemon.send(0, "knowledge", {"rules": [["f", "t"]], "documents": []})
    daemon.send(0, "sealed", {"server": "s", "seals": {"add": "a"}})
    daemon.send(0, "packet", {"data": b"d", "what": "dns", "connection": 7, "at": 9})
    async with asyncio.timeout(2):
        while not heard.packets:
            await asyncio.sleep(0.01)
    assert (heard.policies, heard.packets) == (
        [(("f", "t"), ("g", "u"))],
        [("dns", b"d", 7, 9)],
    )
    assert heard.chains == ["c"]
    assert [told.rules for told in heard.known] == [(("f", "t"),)]
    assert heard.seals == [("s", {"add": "a"})]


GARBAGE = {
    "not msgpack": b"\0\0\0\x01\xc1",
    "too long": b"\xff\xff\xff\xff",
    "a worker's own request": wire.encode(wire.Frame(0, "heartbeat", {"open": 1})),
    "an unknown notice": wire.encode(wire.Frame(0, "reboot", {})),
    "an answer to nothing": wire.encode(wire.Frame(99, "ok", {"result": {}})),
    "a policy of no files": wire.encode(wire.Frame(0, "policy", {"files": []})),
    "a policy of numbers": wire.encode(wire.Frame(0, "policy", {"files": [["f", 1]]})),
    "a policy with more": wire.encode(wire.Frame(0, "policy", {"files": [], "more": 1})),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_a_daemon_that_breaks_the_protocol_is_left(daemon, data):
    heard, link, _told = await greeted(daemon)
    asked = asyncio.create_task(link.attribute("127.0.0.1", 1, 9))
    await daemon.next()
    daemon.writer.write(data)
    assert isinstance(await asyncio.wait_for(heard.end, 2), LineError)
    with pytest.raises(LineError):
        await asked
    await asyncio.wait_for(daemon.left.wait(), 2)


async def test_when_the_daemon_leaves_the_link_ends(daemon):
    heard, link, _told = await greeted(daemon)
    daemon.writer.close()
    await asyncio.wait_for(heard.end, 2)
    with pytest.raises(LineError):
        await link.attribute("127.0.0.1", 1, 9)
    link.record({"exchange": "x"})  # says nothing, does nothing
    assert link.lost_records == 1


async def test_descriptors_go_to_the_frame_that_they_came_with(daemon):
    one, two, three = (socket.create_server(("127.0.0.1", 0)) for _ in range(3))
    rows = [{"family": 4, "netns": 9, "port": one.getsockname()[1]}]
    heard = Heard()
    link = heard.link()
    task = asyncio.create_task(link.greet(daemon.path))
    hello = await daemon.next()
    # all at once, before the worker has read any of it
    daemon.send(hello.id, "ok", {"result": welcome(rows)}, descriptors=[one.fileno()])
    for number, sock in enumerate((two, three)):
        body = {"family": 4, "port": sock.getsockname()[1], "netns": 10 + number}
        daemon.send(0, "listen", body, descriptors=[sock.fileno()])
    daemon.send(0, "unlisten", {"netns": 11})
    told = await asyncio.wait_for(task, 3)
    assert [each.socket.getsockname()[1] for each in told.listeners] == [rows[0]["port"]]
    async with asyncio.timeout(2):
        while not heard.left:
            await asyncio.sleep(0.01)
    for listener, sock in zip(heard.listeners, (two, three), strict=True):
        assert listener.socket.getsockname() == sock.getsockname()
    for each in (*told.listeners, *heard.listeners):
        each.socket.close()
    for sock in (one, two, three):
        sock.close()


async def test_a_socket_of_another_namespace_is_dialled(daemon):
    _heard, link, _told = await greeted(daemon)
    asked = [asyncio.create_task(link.dial(7, 4)) for _ in range(2)]
    first, second = [await daemon.next() for _ in asked]
    assert first.body == {"netns": 7, "family": 4}
    daemon.send(second.id, "error", {"code": "unknown", "message": "it is gone"})
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        daemon.send(first.id, "ok", {"result": {}}, descriptors=[made.fileno()])
        sock = await asked[0]
        assert sock.getsockname() == made.getsockname()
        sock.close()
    with pytest.raises(OSError, match="it is gone"):
        await asked[1]


async def test_a_promised_descriptor_that_does_not_come_ends_the_line(daemon):
    heard, _link, _told = await greeted(daemon)
    daemon.send(0, "listen", {"family": 4, "port": 1, "netns": 2})
    assert isinstance(await asyncio.wait_for(heard.end, 2), LineError)


async def test_heartbeats_come_five_times_a_second(daemon):
    _heard, link, _told = await greeted(daemon)
    task = asyncio.create_task(link.beat(lambda: 3))
    began = time.monotonic()
    for _ in range(4):
        assert (await daemon.next()).body == {"open": 3}
    assert 0.5 < time.monotonic() - began < 3
    task.cancel()


async def test_a_record_that_can_not_be_told_as_it_is_is_told_in_part(daemon):
    _heard, link, _told = await greeted(daemon)
    link.record({"exchange": "1", "attributes": {"gen_ai.input.messages": ["\ud800"]}})
    assert (await daemon.next()).body["record"]["attributes"]["gen_ai.input.messages"] == ["?"]
    link.record({"exchange": "2", "attributes": {"gen_ai.input.messages": ["x" * (5 << 20)]}})
    told = (await daemon.next()).body["record"]
    assert told["exchange"] == "2"
    assert told["attributes"] == {"error.type": "record_too_large"}
    link.record({"exchange": "3", "host": "x" * (5 << 20)})
    link.record({"exchange": "4"})
    assert (await daemon.next()).body["record"] == {"exchange": "4"}
    assert link.lost_records == 1


async def test_records_are_dropped_before_traffic_waits(daemon):
    _heard, link, _told = await greeted(daemon)
    daemon.writer.transport.pause_reading()
    began = time.monotonic()
    for number in range(200):
        link.record({"exchange": str(number), "text": "x" * (1 << 20)})
    assert time.monotonic() - began < 3
    assert link.lost_records > 100
    link.line.tell("heartbeat", {"open": 0}, 1 << 10, droppable=False)
    daemon.writer.transport.resume_reading()
    while (await daemon.next()).kind != "heartbeat":
        pass


async def test_names_go_in_frames_of_bounded_size(daemon):
    _heard, link, _told = await greeted(daemon)
    link.names([(f"host-{n}.example", ["198.51.100.7"], 60) for n in range(250)])
    counts = [len((await daemon.next()).body["answers"]) for _ in range(3)]
    assert counts == [100, 100, 50]


# --- the signer ----------------------------------------------------------------------------------


async def test_the_signer_is_asked_again_after_it_broke(tmp_path):
    path = tmp_path / "signer.sock"
    signer = certificates.Signer(path)
    with pytest.raises(certificates.UnsignedError):
        await signer.sign(HOST, b"key")
    for attempt in range(2):
        async with Daemon(path) as daemon:
            task = asyncio.create_task(signer.sign(HOST, b"key"))
            request = await daemon.next()
            wire.check(request, wire.SIGNER, "worker", "serving")
            daemon.ok(request, {"certificate": b"der", "issuer": b"der"})
            assert await task == b"der"
            if attempt == 0:
                daemon.writer.close()
                await asyncio.sleep(0.05)
        path.unlink(missing_ok=True)
        await asyncio.sleep(0.05)


async def test_a_refusal_is_remembered_for_a_while_and_silence_is_not():
    asked, now = [], [1000.0]

    async def refuse(name, _key):
        asked.append(name)
        error = certificates.UnsignedError("no")
        error.__cause__ = line.RefusedError("not_in_catalogue", "no such name")
        raise error

    leaves = certificates.Leaves(refuse, intermediate().pem, lambda: now[0])
    for _ in range(3):
        with pytest.raises(certificates.UnsignedError):
            await leaves.obtain(HOST)
    assert len(asked) == 1
    now[0] += certificates.REFUSAL_LASTS + 1
    with pytest.raises(certificates.UnsignedError):
        await leaves.obtain(HOST)
    assert len(asked) == 2


async def test_a_leaf_is_renewed_before_it_ends_and_kept_while_the_signer_is_away():
    from cryptography.hazmat.primitives import serialization

    asked, now, away = [], [time.time()], [False]

    async def sign(name, key):
        asked.append(name)
        if away[0]:
            raise certificates.UnsignedError("away")
        public = serialization.load_der_public_key(key)
        made = intermediate().sign(name, public)
        return made.public_bytes(serialization.Encoding.DER)

    leaves = certificates.Leaves(sign, intermediate().pem, lambda: now[0])
    await leaves.obtain(HOST)
    await leaves.obtain(HOST)
    assert len(asked) == 1
    now[0] += 23.5 * 3600
    away[0] = True
    await leaves.obtain(HOST)  # less than an hour left: it asked, in vain, and still serves
    assert len(asked) == 2
    assert leaves.get_cert(HOST.upper()).cert.altnames
    now[0] += 3600
    with pytest.raises(certificates.UnsignedError):
        await leaves.obtain(HOST)
    with pytest.raises(certificates.UnsignedError):
        leaves.get_cert("other.example")


async def test_when_the_ca_is_renewed_every_leaf_is_asked_for_anew_and_none_is_mixed(monkeypatch):
    from cryptography.hazmat.primitives import serialization

    monkeypatch.setattr(certificates, "SETTLES_WITHIN", 0.2)
    old, new = intermediate.__wrapped__(), intermediate.__wrapped__()
    present = [old]

    async def sign(name, key):
        public = serialization.load_der_public_key(key)
        made = present[0].sign(name, public)
        return made.public_bytes(serialization.Encoding.DER)

    leaves = certificates.Leaves(sign, old.pem, time.time)
    await leaves.obtain(HOST)
    before = leaves.get_cert(HOST)
    present[0] = new  # the signer knows first
    with pytest.raises(certificates.UnsignedError, match="another CA"):
        await leaves.obtain("other." + HOST)
    assert leaves.get_cert(HOST) is before
    asyncio.get_running_loop().call_later(0.05, leaves.renew, new.pem)
    await leaves.obtain("third." + HOST)  # it waits for the daemon's word
    await leaves.obtain(HOST)
    after = leaves.get_cert(HOST)
    assert after.cert.serial != before.cert.serial
    assert after.chain_certs[0].serial == leaves.get_cert("third." + HOST).chain_certs[0].serial

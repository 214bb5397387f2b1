"""Connections whose name shows only in the ClientHello."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from milecastle.kernel import Flow, Outcome, Reason, Restriction
from milecastle.kernel.layout import Counter, Evidence

from .conftest import SERVICE
from .lab import OTHER4, SERVICE4, SERVICE6, entering, sub_cgroup

pytestmark = pytest.mark.root

NAMES = [("api.service.test", False, SERVICE), ("wild.test", True, SERVICE)]


def hello(name: str | None, *, padding: int = 0) -> bytes:
    """A ClientHello as OpenSSL makes it; ``padding`` bytes of ALPN make it longer."""
    context = ssl.create_default_context()
    context.check_hostname = False
    if padding:
        context.set_alpn_protocols(["x" * 250] * (padding // 251))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


TALKER = """
import json, socket, sys, time
to, pieces, keep = json.loads(sys.argv[1])
s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET); s.settimeout(5)
s.connect((to, 443))
s.recv(64)  # a greeting left unread would make close() a reset, and drop what is unsent
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
try:
    for piece in pieces:
        s.send(bytes.fromhex(piece))
    print("sent", flush=True)
    if keep:
        sys.stdin.readline()
        s.send(b"more")
        time.sleep(0.05)
        s.send(b"more")
        print("alive", flush=True)
except OSError as error:
    print(error.errno, flush=True)
"""


def talk(gate, to, *pieces: bytes, cgroup=None, keep=False) -> subprocess.Popen:
    words = json.dumps([to, [piece.hex() for piece in pieces], keep])
    command = ["/usr/bin/python3", "-I", "-S", "-c", TALKER, words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(entering(cgroup or gate.cgroup, gate.lab.near, command), **pipes)


def says(child: subprocess.Popen) -> str:
    with child:
        return child.communicate(timeout=10)[0].strip()


@pytest.fixture
def named(gate):
    """A service that is redirected, and no address of which is known."""
    gate.kernel.set_names(NAMES)
    gate.kernel.set_service(SERVICE, True, False, False)
    gate.kernel.beat(time.monotonic_ns() + 60_000_000_000)
    return gate


@pytest.mark.parametrize("to", [SERVICE4, SERVICE6, f"::ffff:{SERVICE4}"])
@pytest.mark.parametrize("name", ["api.service.test", "API.service.TEST", "x.y.wild.test"])
def test_the_name_in_the_hello_attributes_the_connection(named, netns, to, name):
    child = talk(named, to, hello(name))
    assert says(child) == "sent"
    [flow] = named.flows()
    plain = to.removeprefix("::ffff:")
    assert (flow.outcome, flow.reason) == (Outcome.DIRECT, Reason.LATE_NAME)
    assert (flow.address, flow.port, flow.service) == (plain, 443, SERVICE)
    assert (flow.pid, flow.comm, flow.uid, flow.netns) == (child.pid, "python3", 0, netns)
    assert flow.source_port
    assert named.kernel.addresses() == {plain: SERVICE}


def test_the_next_connection_is_redirected(named):
    says(talk(named, SERVICE4, hello("api.service.test")))
    [result] = named.run({"do": "tcp", "to": SERVICE4})
    assert result["said"] == "checkpoint"


@pytest.mark.parametrize("name", ["service.test", "wild.test", "example.test", None])
def test_other_names_leave_no_trace(named, name):
    before = named.counted(Counter.HELLO_SEEN)
    assert says(talk(named, SERVICE4, hello(name))) == "sent"
    assert named.flows() == []
    assert named.kernel.addresses() == {}
    assert named.counted(Counter.HELLO_SEEN) == before + 1


@pytest.mark.parametrize("size", [1, 7, 500])
def test_a_hello_in_pieces_is_read(named, size):
    whole = hello("api.service.test", padding=2000)
    assert len(whole) > 1800
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    assert says(talk(named, SERVICE4, *pieces)) == "sent"
    assert [flow.service for flow in named.flows(1)] == [SERVICE]


def test_every_way_to_cut_a_hello_in_two(named):
    whole = hello("api.service.test")
    for cut in range(1, len(whole), 23):
        named.kernel.forget(SERVICE4)
        assert says(talk(named, SERVICE4, whole[:cut], whole[cut:])) == "sent"
        assert [flow.service for flow in named.flows(1)] == [SERVICE], cut


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x16"])
def test_what_is_no_hello_goes_its_way(named, data):
    assert says(talk(named, SERVICE4, data, b"more" * 50)) == "sent"
    assert named.flows() == []


def long_hello(name: str, before: int) -> bytes:
    """A ClientHello with so many bytes of other extensions before its name (GREASE, key shares)."""

    def counted(width: int, data: bytes) -> bytes:
        return len(data).to_bytes(width, "big") + data

    sni = counted(2, b"\0" + counted(2, name.encode()))
    shares = [b"\x00\x33" + counted(2, bytes(size)) for size in (before - 1225, 1217)]
    extensions = b"".join([b"\x5a\x5a\0\0", *shares, b"\0\0" + counted(2, sni)])
    body = b"\x03\x03" + bytes(32) + counted(1, bytes(32)) + counted(2, bytes(32)) + b"\1\0"
    return b"\x16\x03\x01" + counted(2, b"\1" + counted(3, body + counted(2, extensions)))


@pytest.mark.parametrize("before", [1300, 4000, 7900])
@pytest.mark.parametrize("segment", [1400, 65536])
def test_a_name_behind_large_key_shares_is_read(named, before, segment):
    whole = long_hello("api.service.test", before)
    pieces = [whole[i : i + segment] for i in range(0, len(whole), segment)]
    assert says(talk(named, SERVICE4, *pieces)) == "sent"
    assert [flow.service for flow in named.flows(1)] == [SERVICE]


def test_a_hello_that_is_too_long_is_counted(named):
    before = named.counted(Counter.HELLO_UNREADABLE)
    assert says(talk(named, SERVICE4, long_hello("api.service.test", 8200))) == "sent"
    assert named.flows() == []
    assert named.counted(Counter.HELLO_UNREADABLE) == before + 1


def test_of_an_excluded_namespace_nothing_is_cut(named, netns):
    named.kernel.set_service(SERVICE, True, True, False)
    named.kernel.exclude(netns)
    try:
        assert says(talk(named, SERVICE4, hello("api.service.test"))) == "sent"
    finally:
        named.kernel.include(netns)
    [flow] = named.flows()
    assert (flow.outcome, flow.reason) == (Outcome.DIRECT, Reason.EXCLUDED)


def test_a_refused_service_is_cut_and_its_socket_destroyed(named):
    named.kernel.set_service(SERVICE, False, False, True)
    child = talk(named, SERVICE4, hello("api.service.test"), keep=True)
    assert child.stdout.readline() in ("sent\n", "1\n")
    [flow] = named.flows()
    assert (flow.outcome, flow.reason) == (Outcome.REFUSED, Reason.LATE_NAME)
    assert says(child) in ("103", "32", "104", "")  # ECONNABORTED, EPIPE, ECONNRESET
    assert named.kernel.counters()["socket_undestroyed"] == 0
    assert "alive" not in (child.stdout.read() if not child.stdout.closed else "")


def test_closed_means_that_the_first_connection_is_cut_and_the_next_redirected(named):
    named.kernel.set_service(SERVICE, True, True, False)
    child = talk(named, SERVICE4, hello("api.service.test"), keep=True)
    child.stdout.readline()
    assert [flow.cut for flow in named.flows()] == [True]
    says(child)
    assert named.run({"do": "tcp", "to": SERVICE4})[0]["said"] == "checkpoint"


def test_in_enforce_mode_the_first_connection_is_cut_where_the_next_can_be_redirected(named):
    named.kernel.cut_late(True)
    child = talk(named, SERVICE4, hello("api.service.test"), keep=True)
    child.stdout.readline()
    assert [flow.cut for flow in named.flows()] == [True]
    says(child)
    assert named.run({"do": "tcp", "to": SERVICE4})[0]["said"] == "checkpoint"


def test_in_enforce_mode_without_a_worker_the_first_connection_goes_on(named):
    named.kernel.cut_late(True)
    named.kernel.beat(0)
    assert says(talk(named, SERVICE4, hello("api.service.test"))) == "sent"
    assert [flow.cut for flow in named.flows(1)] == [False]


def test_a_connection_can_be_destroyed_by_its_flow(named):
    child = talk(named, SERVICE4, hello("api.service.test"), keep=True)
    assert child.stdout.readline() == "sent\n"
    [flow] = named.flows()
    assert named.kernel.destroy(flow)
    assert not named.kernel.destroy(flow)
    assert says(child) in ("103", "32")


def test_a_hello_is_not_enough_to_refuse_an_address_to_everybody(named):
    """Whoever connects writes the hello: it must not make an address unreachable for others."""
    named.kernel.set_service(SERVICE, False, False, True)
    child = talk(named, OTHER4, hello("api.service.test"))
    child.stdout.readline()
    named.flows()
    says(child)
    assert named.run({"do": "tcp", "to": OTHER4})[0]["said"] == "service"
    named.flows()
    assert says(talk(named, OTHER4, hello("example.test"))) == "sent"


def test_a_better_known_address_is_not_overruled_by_a_hello(named):
    named.kernel.learn(SERVICE4, 9, 3600)
    says(talk(named, SERVICE4, hello("api.service.test")))
    assert named.kernel.addresses() == {SERVICE4: 9}
    assert named.flows()[0].service == 9  # by the connect hook
    assert Evidence.DNS < Evidence.HELLO


def test_the_worker_s_own_hellos_are_not_looked_at(named):
    with sub_cgroup(named.cgroup) as worker:
        named.kernel.exempt(worker.stat().st_ino)
        assert says(talk(named, SERVICE4, hello("api.service.test"), cgroup=worker)) == "sent"
    assert named.flows() == []
    assert named.kernel.addresses() == {}


def test_only_flows_with_a_source_can_be_destroyed(gate):
    gate.watch()
    gate.run({"do": "tcp", "to": SERVICE4})
    [flow] = gate.flows()
    assert isinstance(flow, Flow)
    with pytest.raises(ValueError, match="without a source"):
        gate.kernel.destroy(flow)


@pytest.mark.parametrize("asked", ["uid", "program", "cgroup"])
def test_a_service_that_the_caller_may_not_use_is_cut_by_its_hello(named, asked):
    python = Path("/usr/bin/python3").stat()
    callers = {
        "uid": {"uid": 0},
        "program": {"program": (python.st_dev, python.st_ino)},
        "cgroup": {"cgroup": named.cgroup.parent.stat().st_ino, "below": True},
    }
    others = {"uid": {"uid": 54321}, "program": {"program": (1, 1)}, "cgroup": {"cgroup": 1}}
    named.kernel.set_service(SERVICE, False, False, False)
    try:
        for restricted, expected in ((others, "DIRECT"), (callers, "REFUSED")):
            named.kernel.restrict([Restriction(SERVICE, refuse=True, **restricted[asked])])
            named.kernel.forget(OTHER4)
            child = talk(named, OTHER4, hello("api.service.test"))
            [flow] = named.flows(1)
            assert flow.outcome.name == expected
            says(child)
    finally:
        named.kernel.restrict(())

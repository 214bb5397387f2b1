"""DNS answers, read in the kernel: what is learnt, what is handed over, what is ignored."""

from __future__ import annotations

import ipaddress
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milecastle import packets
from milecastle.kernel import Packet, PacketKind
from milecastle.kernel.layout import Counter
from milecastle.model import ParseError
from milecastle.proxy.dns_stream import DnsStreams

from .conftest import SERVICE
from .lab import CLIENT, entering

pytestmark = pytest.mark.root

NAMES = [("api.service.test", False, SERVICE), ("wild.test", True, 8), ("deep.wild.test", True, 9)]
A, CNAME, AAAA = 1, 5, 28
POINTER = b"\xc0\x0c"
HEX4, HEX6 = "198.51.100.9", "2001:db8:51::9"


def wire(name: str) -> bytes:
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0"


def record(kind: int, value: bytes, owner: bytes = POINTER, ttl: int = 300) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(value)) + value


def address(text: str, **more) -> bytes:
    parsed = ipaddress.ip_address(text)
    return record(A if parsed.version == 4 else AAAA, parsed.packed, **more)


def answer(
    name: str | bytes, *records: bytes, number=7, flags=0x8180, kind=A, counts=None, tail=b""
) -> bytes:
    question = (name if isinstance(name, bytes) else wire(name)) + struct.pack(">HH", kind, 1)
    head = struct.pack(">HHHHHH", number, flags, *(counts or (1, len(records))), 0, 0)
    return head + question + b"".join(records) + tail


class Resolver:
    """A client in the cgroup that asks, and is answered with whatever a test likes."""

    def __init__(self, gate, family: str = "4") -> None:
        self.gate = gate
        command = [
            "env",
            f"FAMILY={family}",
            "/usr/bin/python3",
            "-I",
            "-S",
            *CLIENT,
            "resolve",
        ]
        self.child = subprocess.Popen(
            entering(gate.cgroup, gate.lab.near, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def tell(self, data: bytes, *, asked: bool = True) -> dict[str, int]:
        """Answer a query with these bytes; return what the kernel knows when they are read."""
        self.child.stdin.write(f"{'' if asked else 'unasked '}{data.hex()}\n")
        assert self.child.stdout.readline().strip() == str(len(data)), "the application got it"
        return self.gate.kernel.addresses()

    def stream(self, *pieces: bytes) -> dict[str, int]:
        """Answer over TCP, with a segment for each piece."""
        self.child.stdin.write(f"stream {' '.join(piece.hex() for piece in pieces)}\n")
        assert self.child.stdout.readline().strip() == str(sum(map(len, pieces)))
        return self.gate.kernel.addresses()

    def handed_over(self) -> list[bytes]:
        return [event.data for event in self.gate.kernel.events() if isinstance(event, Packet)]

    def close(self) -> None:
        self.child.stdin.close()
        self.child.wait(5)


@pytest.fixture
def resolver(gate):
    gate.kernel.set_names(NAMES)
    found = Resolver(gate)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("api.service.test", SERVICE),
        ("API.Service.TEST", SERVICE),
        ("a.wild.test", 8),
        ("b.a.wild.test", 8),
        ("deep.wild.test", 8),
        ("x.deep.wild.test", 9),
    ],
)
def test_the_addresses_of_a_name_are_known_before_the_application_reads_them(
    resolver, name, service
):
    assert resolver.tell(answer(name, address(HEX4), address(HEX6))) == {
        HEX4: service,
        HEX6: service,
    }
    assert resolver.handed_over() == []


@pytest.mark.parametrize(
    "name",
    [
        "service.test",
        "x.api.service.test",
        "xapi.service.test",
        "wild.test",
        "notwild.test",
        "test",
    ],
)
def test_other_names_are_not_learnt_and_not_handed_over(resolver, name):
    before = resolver.gate.counted(Counter.DNS_OTHER)
    assert resolver.tell(answer(name, address(HEX4))) == {}
    assert resolver.handed_over() == []
    assert resolver.gate.counted(Counter.DNS_OTHER) == before + 1


def test_answers_behind_cnames_belong_to_the_name_that_was_asked_for(resolver):
    chain = [
        record(CNAME, wire("edge.cdn.test")),
        record(CNAME, wire("pop.cdn.test"), owner=wire("edge.cdn.test")),
        address(HEX4, owner=wire("pop.cdn.test")),
    ]
    assert resolver.tell(answer("api.service.test", *chain)) == {HEX4: SERVICE}


def test_edns_and_authority_records_do_not_disturb(resolver):
    opt = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
    assert resolver.tell(answer("api.service.test", address(HEX4), tail=opt)) == {HEX4: SERVICE}


def test_twenty_four_answers_are_learnt_and_more_are_handed_over(resolver):
    many = [address(f"198.18.0.{n}") for n in range(1, 26)]
    assert len(resolver.tell(answer("api.service.test", *many[:24]))) == 24
    assert resolver.handed_over() == []
    data = answer("api.service.test", *many)
    assert len(resolver.tell(data)) == 24
    assert resolver.handed_over() == [data]


def test_the_longest_name_is_learnt(resolver):
    name = ".".join(["a"] * 121 + ["wild", "test"])
    assert resolver.tell(answer(name, address(HEX4))) == {HEX4: 8}
    assert resolver.handed_over() == []


def test_an_answer_that_nobody_asked_for_is_ignored(resolver):
    data = answer("api.service.test", address(HEX4))
    assert resolver.tell(data, asked=False) == {}
    assert resolver.handed_over() == []
    assert resolver.tell(data) == {HEX4: SERVICE}


@pytest.mark.parametrize("flags", [0x0100, 0x8183, 0x8182, 0x9180])
def test_queries_errors_and_other_operations_are_ignored(resolver, flags):
    assert resolver.tell(answer("api.service.test", address(HEX4), flags=flags)) == {}
    assert resolver.handed_over() == []


@pytest.mark.parametrize("nowhere", ["127.0.0.1", "0.0.0.0", "224.0.0.251", "::1", "::", "ff02::1"])
def test_addresses_that_can_be_no_service_are_not_learnt(resolver, nowhere):
    assert resolver.tell(answer("api.service.test", address(nowhere))) == {}


def test_times_to_live_have_bounds_and_never_shrink(resolver, gate):
    resolver.tell(answer("api.service.test", address(HEX4, ttl=0)))
    first = gate.expiry(HEX4)
    assert 55 < first < 61
    resolver.tell(answer("api.service.test", address(HEX4, ttl=0xFFFFFFFF)))
    assert 86_000 < gate.expiry(HEX4) < 86_401
    resolver.tell(answer("api.service.test", address(HEX4, ttl=60)))
    assert 86_000 < gate.expiry(HEX4) < 86_401


@pytest.mark.parametrize(
    "data",
    [
        answer(b"\x3fa\0", address(HEX4)),
        answer(b"\xc0\x0c", address(HEX4)),
        answer("api.service.test", address(HEX4), counts=(0, 1)),
        answer("api.service.test", address(HEX4), counts=(2, 1)),
        answer("api.service.test", record(A, b"1234")[:-1]),
        answer("api.service.test", address(HEX4), counts=(1, 2)),
        answer("api.service.test", address(HEX4, owner=b"\x05ab")),
        answer("api.service.test", address(HEX4))[:14],
        answer("api.service.test", *[record(16, b"x" * 255)] * 20),
    ],
)
def test_what_the_kernel_cannot_read_is_handed_over_as_it_is(resolver, data):
    resolver.tell(data)
    assert resolver.handed_over() == [data[:4096]]


def test_without_names_every_answer_is_handed_over(gate):
    from milecastle.kernel import libbpf

    libbpf.update(gate.kernel._maps["matchings"], bytes(4), bytes(4))
    found = Resolver(gate)
    data = answer("api.service.test", address(HEX4))
    assert found.tell(data) == {}
    assert found.handed_over() == [data]
    found.close()
    gate.kernel.set_names(NAMES)


def test_names_that_are_no_longer_wanted_are_not_learnt(resolver, gate):
    gate.kernel.set_names(NAMES[1:])
    assert resolver.tell(answer("api.service.test", address(HEX4))) == {}
    gate.kernel.set_names(NAMES)
    assert resolver.tell(answer("api.service.test", address(HEX4))) == {HEX4: SERVICE}


def test_answers_over_ipv6_are_read_too(gate):
    gate.kernel.set_names(NAMES)
    found = Resolver(gate, "6")
    assert found.tell(answer("api.service.test", address(HEX6))) == {HEX6: SERVICE}
    found.close()


def test_answers_over_tcp_are_read_too(resolver):
    data = answer("api.service.test", address(HEX4))
    assert resolver.stream(len(data).to_bytes(2, "big") + data) == {HEX4: SERVICE}
    many = answer("api.service.test", *[address(f"198.18.1.{n}") for n in range(1, 41)])
    assert len(resolver.stream(len(many).to_bytes(2, "big") + many)) == 25
    assert resolver.handed_over() == [many]


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_an_answer_that_is_split_over_segments_is_handed_over_in_order(resolver, cut):
    data = answer("api.service.test", address(HEX4))
    sent = len(data).to_bytes(2, "big") + data
    before = resolver.gate.counted(Counter.DNS_SPLIT)
    assert resolver.stream(sent[:cut], sent[cut:]) == {}
    assert resolver.gate.counted(Counter.DNS_SPLIT) == before + 2
    assert put_together(resolver) == [data]


def test_several_answers_in_one_segment_and_long_ones_are_handed_over_whole(resolver):
    answers = [answer("api.service.test", address(HEX4), tail=bytes(n)) for n in (0, 5, 9000)]
    resolver.stream(b"".join(len(one).to_bytes(2, "big") + one for one in answers))
    assert put_together(resolver) == answers


def put_together(resolver) -> list[bytes]:
    streams = DnsStreams()
    segments = [event for event in resolver.gate.kernel.events() if isinstance(event, Packet)]
    assert {event.kind for event in segments} == {PacketKind.DNS_STREAM}
    return [
        message
        for event in segments
        for message in streams.feed(event.cookie, event.sequence, event.data)
    ]


LOOK_UP_THEN_CONNECT = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from concurrent.futures import ThreadPoolExecutor
import struct, threading
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("127.0.0.53", 53))
def serve():
    while True:
        query, peer = server.recvfrom(512)
        number = struct.unpack(">H", query[:2])[0]
        ip = bytes([198, 18, number >> 8, number & 255])
        record = b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + ip
        server.sendto(query[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + query[12:] + record, peer)
threading.Thread(target=serve, daemon=True).start()
question = b"\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0" + b"\\3api\\7service\\4test\\0\\0\\1\\0\\1"
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
direct = 0
for number in range(1, 10001):
    asks.sendto(struct.pack(">H", number) + question, ("127.0.0.53", 53))
    ip = socket.inet_ntoa(asks.recv(512)[-4:])
    s = socket.socket(); s.settimeout(2)
    try:
        s.connect((ip, 443))
        if s.recv(64) != b"checkpoint\\n": direct += 1
    except OSError:
        direct += 1
    s.close()
print(direct)
"""


def test_a_connect_right_after_the_answer_is_always_redirected(gate):
    gate.kernel.set_names(NAMES)
    gate.watch()
    before = gate.counted(Counter.REDIRECTED)
    done = subprocess.run(
        entering(
            gate.cgroup,
            gate.lab.near,
            ["/usr/bin/python3", "-I", "-S", "-c", LOOK_UP_THEN_CONNECT, str(Path.cwd())],
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "0\n", done.stderr
    assert gate.counted(Counter.REDIRECTED) == before + 10_000


LABELS = st.sampled_from(["api", "service", "test", "wild", "deep", "x", "API"])
HOSTS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
RECORDS = st.one_of(
    st.ip_addresses().map(str).map(address),
    HOSTS.map(lambda host: record(CNAME, wire(host))),
    st.builds(lambda ip, host: address(str(ip), owner=wire(host)), st.ip_addresses(v=4), HOSTS),
    st.binary(max_size=40).map(lambda value: record(16, value)),
)
ANSWERS = st.builds(
    lambda name, records, kind: answer(name, *records, kind=kind),
    HOSTS,
    st.lists(RECORDS, max_size=26),
    st.sampled_from([A, AAAA]),
)
UNTIDY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)


def by_user_space(data: bytes) -> set[str]:
    """The addresses that the worker's parser finds for names that are watched."""
    try:
        answers = packets.dns_answers(data)
    except ParseError:
        return set()
    ours = [x for x in answers if x.name == "api.service.test" or x.name.endswith(".wild.test")]
    return {address for each in ours for address in each.addresses if somewhere(address)}


def somewhere(text: str) -> bool:
    parsed = ipaddress.ip_address(text)
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return not (parsed.is_loopback or parsed.is_multicast or parsed.is_unspecified)


def both(resolver, data: bytes) -> tuple[set[str], set[str]]:
    for known in resolver.gate.kernel.addresses():
        resolver.gate.kernel.forget(known)
    learnt = set(resolver.tell(data))
    for packet in resolver.handed_over():
        learnt |= by_user_space(packet)
    return learnt, by_user_space(data)


def plain(addresses: set[str]) -> set[str]:
    parsed = {ipaddress.ip_address(a) for a in addresses}
    return {str(getattr(a, "ipv4_mapped", None) or a) for a in parsed}


@UNTIDY
@given(ANSWERS)
def test_both_parsers_learn_the_same_from_good_answers(resolver, data):
    learnt, expected = both(resolver, data)
    assert learnt == plain(expected)


@UNTIDY
@given(ANSWERS, st.data())
def test_whatever_is_sent_both_parsers_together_miss_nothing(resolver, data, draw):
    cut = draw.draw(st.integers(2, len(data)))
    broken = bytearray(data[:cut])
    for _ in range(draw.draw(st.integers(0, 3))):
        broken[draw.draw(st.integers(2, len(broken) - 1) if len(broken) > 2 else st.just(1))] = (
            draw.draw(st.integers(0, 255))
        )
    learnt, expected = both(resolver, bytes(broken))
    assert plain(expected) <= learnt
    for each in learnt:
        raw = ipaddress.ip_address(each).packed
        assert raw in broken

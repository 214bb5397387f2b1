"""Captured packets: real ones are read, hostile ones raise ParseError and nothing else."""

from __future__ import annotations

import contextlib
import ssl
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRROPT

from milecastle.model import ParseError
from milecastle.packets import Answer, dns_answers, server_name


def answer(*records, name="api.openai.com", **fields) -> bytes:
    fields = {"id": 1, "qr": 1, "rd": 1, "ra": 1} | fields
    return bytes(DNS(qd=[DNSQR(qname=name)], an=list(records), **fields))


def hello(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


REAL = answer(
    DNSRR(rrname="api.openai.com", type="CNAME", rdata="api.cdn.example", ttl=300),
    DNSRR(rrname="api.cdn.example", type="A", rdata="198.51.100.7", ttl=60),
    DNSRR(rrname="api.cdn.example", type="AAAA", rdata="2001:db8:51::7", ttl=90),
    ar=[DNSRROPT(rclass=4096)],
)


def test_addresses_behind_a_cname_belong_to_the_name_that_was_asked_for():
    assert dns_answers(REAL) == [Answer("api.openai.com", ("198.51.100.7", "2001:db8:51::7"), 60)]


def test_a_name_in_mixed_case_with_a_last_dot_is_one_name():
    record = DNSRR(rrname="x.", type="A", rdata="198.51.100.7", ttl=1)
    assert dns_answers(answer(record, name="aPi.OpenAI.com."))[0].name == "api.openai.com"


def test_compressed_names_are_read():
    question = b"\x03api\x06openai\x03com\0\0\x01\0\x01"
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc6\x33\x64\x07"
    data = b"\0\x01\x81\x80\0\x01\0\x01\0\0\0\0" + question + record
    assert dns_answers(data) == [Answer("api.openai.com", ("198.51.100.7",), 60)]


@pytest.mark.parametrize("fields", [{"qr": 0}, {"rcode": 3}, {"opcode": 5}])
def test_queries_errors_and_updates_say_nothing(fields):
    record = DNSRR(rrname="x", type="A", rdata="198.51.100.7", ttl=1)
    assert dns_answers(answer(record, **fields)) == []


def test_an_answer_without_addresses_says_nothing():
    assert dns_answers(answer(DNSRR(rrname="x", type="TXT", rdata="y", ttl=1))) == []


HEAD = b"\0\x01\x81\x80\0\x01"
HOSTILE = {
    "pointer to itself": HEAD + b"\0\x01\0\0\0\0\xc0\x0c\0\x01\0\x01",
    "65535 answers": HEAD + b"\xff\xff\0\0\0\0\x01a\0\0\x01\0\x01",
    "65535 questions": b"\0\x01\x81\x80\xff\xff\0\x01\0\0\0\0\x01a\0\0\x01\0\x01",
    "address of three bytes": HEAD + b"\0\x01\0\0\0\0\x01a\0\0\x01\0\x01"
    b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x03\x01\x02\x03",
    "too short": b"\0" * 11,
    "too long": REAL + b"\0" * (1 << 14),
    "name with a space": HEAD + b"\0\x01\0\0\0\0\x03a b\0\0\x01\0\x01"
    b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_answer_is_refused_or_empty_at_once(data):
    began = time.process_time()
    with contextlib.suppress(ParseError):
        assert dns_answers(data) == []
    assert time.process_time() - began < 1


def test_every_cut_of_an_answer_is_refused_or_shorter():
    for length in range(len(REAL)):
        try:
            for found in dns_answers(REAL[:length]):
                assert set(found.addresses) <= {"198.51.100.7", "2001:db8:51::7"}
        except ParseError:
            pass


@given(st.binary(max_size=600))
def test_garbage_is_never_more_than_a_parse_error(data):
    for read in (dns_answers, server_name):
        with contextlib.suppress(ParseError):
            read(data)


@given(st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), max_size=12))
def test_a_mangled_answer_is_never_more_than_a_parse_error(changes):
    data = bytearray(REAL)
    for place, value in changes:
        data[place] = value
    with contextlib.suppress(ParseError):
        dns_answers(bytes(data))


def test_the_name_in_a_real_client_hello_is_found():
    assert server_name(hello("API.anthropic.com")) == "api.anthropic.com"


def test_a_client_hello_without_a_name_has_none():
    assert server_name(hello(None)) is None


def test_a_client_hello_over_several_records_is_found():
    whole = hello("api.anthropic.com")
    body = whole[5:]
    records = b"".join(
        whole[:3] + len(part).to_bytes(2, "big") + part
        for part in (body[:1], body[1:3], body[3:90], body[90:])
    )
    assert server_name(records) == "api.anthropic.com"


def test_every_cut_of_a_client_hello_is_a_parse_error():
    whole = hello("api.anthropic.com")
    for length in range(len(whole)):
        with pytest.raises(ParseError):
            server_name(whole[:length])


@given(st.data())
def test_a_mangled_client_hello_is_never_more_than_a_parse_error(data):
    mangled = bytearray(hello("api.anthropic.com"))
    for _ in range(data.draw(st.integers(1, 8))):
        mangled[data.draw(st.integers(0, len(mangled) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ParseError):
        server_name(bytes(mangled))

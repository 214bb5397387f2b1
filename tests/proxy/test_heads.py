"""Heads of requests: what may be read off them, and what nobody may forward."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.http import Headers, Request
from tests.proxy.lab import HOST, PROVIDER, RIVAL, SERVICES, SIBLING, STRANGER

from milecastle.proxy import heads

HEAD = b"POST /v1 HTTP/1.1\r\nHost: x\r\n\r\n"


def request(path="/v1", authority="", **fields) -> Request:
    made = Request.make("POST", f"https://{HOST}{path}", b"")
    made.authority = authority
    made.headers = Headers(**fields)
    return made


def test_an_ordinary_head_is_fine():
    assert heads.raw_problem(HEAD) is None
    assert heads.raw_problem(HEAD + b"body \x00\r\x0b") is None
    assert heads.raw_problem(b"POST /v1 HTTP/1.1\r\nX: \xc3\xa4\t\r\n\r\n") is None


@pytest.mark.parametrize("byte", [b"\x00", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\r"])
def test_a_control_character_in_a_head_is_a_problem(byte):
    assert heads.raw_problem(b"POST / HTTP/1.1\r\nTransfer-Encoding: " + byte + b"chunked\r\n\r\n")


def test_a_head_that_is_not_whole_yet_is_no_problem_until_it_is_too_large():
    assert heads.raw_problem(b"POST / HTTP/1.1\r\nX: \x0b") is None
    assert heads.raw_problem(b"POST / HTTP/1.1\r\nX: " + b"a" * heads.HEAD_LARGEST)


@given(st.binary(max_size=400))
def test_no_bytes_raise(data):
    heads.raw_problem(data)
    heads.host_of(data.decode("latin-1"))


HOSTS = {
    "API.Provider.Example": "api.provider.example",
    "api.provider.example:443": "api.provider.example",
    "api.provider.example.": "api.provider.example",
    " x ": "x",
    "[2001:DB8::1]:443": "2001:db8::1",
    "": "",
}


@pytest.mark.parametrize(("authority", "host"), HOSTS.items())
def test_hosts_are_compared_without_port_case_or_dot(authority, host):
    assert heads.host_of(authority) == host


@pytest.mark.parametrize(
    ("hosts", "agreed"),
    [
        ((HOST,), True),
        ((HOST, SIBLING), True),
        ((HOST, RIVAL), False),
        ((HOST, STRANGER), False),
        ((STRANGER, HOST), False),
        ((STRANGER,), True),
        ((), True),
    ],
)
def test_all_names_of_a_request_are_of_one_service(hosts, agreed):
    if hosts:
        assert (heads.disagreement(hosts, SERVICES.get) is None) == agreed
    assert SERVICES[HOST] is PROVIDER


def test_every_place_that_can_name_a_host_is_looked_at():
    made = request(authority=RIVAL, host=SIBLING)
    fields = heads.lowered(made.headers)
    assert heads.claimed_hosts(made, fields, HOST) == (HOST, SIBLING, RIVAL)


def test_a_request_without_any_host_claims_none():
    assert heads.claimed_hosts(request(), {}, None) == ()


def test_fields_of_one_name_are_joined():
    fields = Headers([(b"X-A", b"1"), (b"x-a", b"2"), (b"B", b"\xff")])
    assert heads.lowered(fields) == {"x-a": "1, 2", "b": "\ufffd"}


@pytest.mark.parametrize("length", ["", "-1", "1e3", "１", "9" * 30, "1, 1"])
def test_a_length_that_is_no_number_is_no_length(length):
    assert heads.declared_length({"content-length": length}) == 0


def test_the_query_belongs_to_the_path_of_the_head():
    head = heads.request_head(request("/v1/messages?beta=true"), HOST, {})
    assert (head.path, head.host, head.method) == ("/v1/messages?beta=true", HOST, "POST")

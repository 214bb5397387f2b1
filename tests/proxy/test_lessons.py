"""Connections that can't be decrypted: learnt, told, ended, and never where they must not pass."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

import pytest
from tests.proxy.lab import HOST, Script, client_context, exchange, lab, root

from milecastle.model import Process
from milecastle.proxy.lessons import FIRST, LONGEST, TIMES, WITHIN, Lessons

CURL = Process(1, "curl", 1000, exe="/usr/bin/curl", sha256="c" * 64)
OTHER = Process(2, "node", 1000, exe="/usr/bin/node", sha256="d" * 64)
DISTRUSTFUL = {"context": client_context(root("provider"))}


# --- what is learnt --------------------------------------------------------------------------


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def lessons(now):
    return Lessons(lambda: now[0])


def test_an_alert_is_believed_at_once_for_that_program_and_name_alone(lessons):
    assert lessons.client_failed(CURL, "a", said_why=True)
    assert lessons.find(CURL, "a").outcome == "refused_ca"
    assert lessons.find(CURL, "b") is None
    assert lessons.find(OTHER, "a") is None
    assert lessons.find(None, "a") is None


def test_a_silent_end_is_believed_when_it_was_seen_often_enough(lessons, now):
    for _ in range(TIMES - 1):
        assert lessons.client_failed(CURL, "a", said_why=False) is None
    now[0] += WITHIN
    for _ in range(TIMES - 1):
        assert lessons.client_failed(CURL, "a", said_why=False) is None
    assert lessons.client_failed(CURL, "a", said_why=False)


def test_a_lesson_ends(lessons, now):
    lessons.client_failed(CURL, "a", said_why=True)
    now[0] += FIRST
    assert lessons.find(CURL, "a") is None


def test_a_lesson_that_is_learnt_again_and_again_holds_longer_up_to_a_day(lessons, now):
    held = []
    for _ in range(12):
        until = lessons.client_failed(CURL, "a", said_why=True).until
        held.append(until - now[0])
        now[0] = until
    assert held[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert held[-1] == LONGEST
    now[0] += LONGEST
    assert lessons.client_failed(CURL, "a", said_why=True).until == now[0] + FIRST


def test_one_script_says_nothing_of_another(lessons):
    one, other = (replace(OTHER, script=script) for script in ("/a.js", "/b.js"))
    lessons.client_failed(one, "a", said_why=True)
    assert lessons.find(one, "a")
    assert lessons.find(other, "a") is None


def test_with_another_ca_clients_are_asked_again_and_services_are_not(lessons):
    lessons.client_failed(CURL, "a", said_why=True)
    lessons.service_failed("b")
    lessons.forget_clients()
    assert lessons.find(CURL, "a") is None
    assert lessons.find(CURL, "b")


def test_a_program_is_known_by_its_digest_and_nobody_by_nothing(lessons):
    lessons.client_failed(CURL, "a", said_why=True)
    renamed = Process(3, "curl", 0, exe="/tmp/x", sha256="c" * 64)
    assert lessons.find(renamed, "a")
    assert lessons.client_failed(None, "a", said_why=True) is None
    assert lessons.client_failed(Process(4, "x", 0), "a", said_why=True) is None


def test_a_service_s_lesson_is_everybody_s(lessons):
    lessons.service_failed("a")
    assert lessons.find(OTHER, "a").outcome == "wants_certificate"
    assert lessons.find(None, "a")


def test_what_is_kept_is_bounded(lessons, monkeypatch):
    monkeypatch.setattr("milecastle.proxy.lessons.MOST", 10)
    for number in range(50):
        lessons.client_failed(CURL, f"a{number}", said_why=True)
        lessons.client_failed(CURL, f"b{number}", said_why=False)
    assert lessons.find(CURL, "a0") is None
    assert lessons.find(CURL, "a49")
    assert len(lessons._seen) <= 10


# --- on the wire -----------------------------------------------------------------------------


async def test_a_client_that_trusts_nobody_here_passes_from_the_second_time_on():
    async with lab(process=CURL) as gate:
        with pytest.raises(ssl.SSLCertVerificationError):
            await gate.connect(**DISTRUSTFUL)
        record = (await gate.recorded())[0]
        assert record["attributes"]["error.type"] == "client_refused_certificate"
        assert "pass uninspected" in record["verdict"]["reason"]
        reader, writer = await gate.connect(**DISTRUSTFUL)
        assert (await exchange(reader, writer)).status == 200
        writer.close()
        assert gate.seen[-1] == (4711, HOST, "refused_ca")
        assert gate.script.inspections == []


@pytest.mark.parametrize(
    "script", [Script(must_inspect=True), Script(on_failure="closed")], ids=["must", "closed"]
)
async def test_it_never_passes_where_the_policy_wants_every_byte_inspected(script):
    async with lab(script, process=CURL) as gate:
        for _ in range(3):
            with pytest.raises(ssl.SSLError):
                await gate.connect(**DISTRUSTFUL)
        records = await gate.recorded(3)
        actions = {record["verdict"]["action"] for record in records}
        assert actions == ({"block"} if script.must_inspect else {"alert"})
        assert gate.provider.connections == 0


async def test_what_was_learnt_does_not_count_once_the_policy_wants_it_inspected():
    async with lab(process=CURL) as gate:
        with pytest.raises(ssl.SSLError):
            await gate.connect(**DISTRUSTFUL)
        await gate.recorded()
        gate.script.must_inspect = True
        with pytest.raises(ssl.SSLError):
            await gate.connect(**DISTRUSTFUL)
        record = (await gate.recorded(2))[-1]
        assert record["attributes"]["error.type"] == "must_inspect"
        assert record["verdict"]["action"] == "block"
        assert gate.provider.connections == 0


async def test_what_was_learnt_does_not_outlast_a_policy_that_let_it_pass():
    async with lab(process=CURL) as gate:
        with pytest.raises(ssl.SSLError):
            await gate.connect(**DISTRUSTFUL)
        await gate.recorded()
        gate.script.on_failure = "closed"
        for _ in range(2):
            with pytest.raises(ssl.SSLError):
                await gate.connect(**DISTRUSTFUL)
        assert gate.provider.connections == 0


async def test_a_service_that_is_left_encrypted_is_refused_where_it_must_be_inspected():
    async with lab(Script(intercepted=lambda _service: False, must_inspect=True)) as gate:
        with pytest.raises((ssl.SSLError, OSError)):
            await gate.connect()
        assert gate.provider.connections == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_service_that_wants_a_certificate_is_left_alone_from_then_on(version):
    async with lab(process=CURL) as gate:
        context = gate.provider.context
        context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=root("customers").pem)
        got = await gate.call(name=HOST)
        assert got.status == 502
        assert got.headers["x-milecastle"].startswith("upstream")
        await asyncio.sleep(0.1)
        assert "client's certificate" in str([r.get("verdict") for r in gate.records])
        context.verify_mode = ssl.CERT_NONE  # as if the client had brought one
        assert (await gate.call()).status == 200
        assert gate.seen[-1] == (4711, HOST, "wants_certificate")


async def test_a_service_that_would_like_a_certificate_and_does_without_is_inspected():
    async with lab(process=CURL) as gate:
        gate.provider.context.verify_mode = ssl.CERT_OPTIONAL
        gate.provider.context.load_verify_locations(cadata=root("customers").pem)
        for _ in range(2):
            assert (await gate.call()).status == 200
        await asyncio.sleep(0.1)
        assert (await gate.call()).status == 200
        assert len(gate.script.inspections) == 3

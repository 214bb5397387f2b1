"""The ledger: what kernel, worker and records tell of one connection is put together."""

import asyncio
import dataclasses
import time
from dataclasses import asdict

import pytest
from tests.store.examples import make_record

from milecastle import wire
from milecastle.daemon import ledger as ledger_module
from milecastle.daemon.ledger import CODES, OUTCOMES, SEEN, UNREAD
from milecastle.daemon.recording import attribution_record
from milecastle.host import Held
from milecastle.kernel import Flow
from milecastle.kernel.flows import UDP
from milecastle.kernel.layout import Outcome, Reason
from milecastle.model import Attribution, Connection, Endpoint, Grade, Owner, Process, Standing
from milecastle.store import coverage, listing

ADA = Process(pid=77, comm="python3", uid=1000, user="ada", exe="/usr/bin/python3", started=1.0)


@pytest.fixture
def connect(ledger, shared, services):
    """Play a connection that the kernel reports; return its cookie."""
    cookies = iter(range(1, 1 << 20))

    def make(
        service="openai",
        outcome=Outcome.REDIRECTED,
        reason=Reason.POLICY,
        process=ADA,
        cookie=None,
        **more,
    ):
        flow = Flow(
            cookie=cookie or next(cookies),
            netns=1,
            cgroup=1,
            opened_ns=time.monotonic_ns(),
            address="198.51.100.9",
            port=443,
            pid=process.pid,
            tid=process.pid,
            uid=process.uid,
            gid=0,
            comm=process.comm,
            service=services.number(service),
            outcome=outcome,
            reason=reason,
            **more,
        )
        where = Connection(flow.cookie, Endpoint(flow.address, 443), 1, 1, 1, flow.opened_ns)
        known = Attribution(where, process, service, Grade.EXACT, "kernel")
        shared.attributor._known[flow.cookie] = known
        ledger.opened(flow, known)
        return flow.cookie

    return make


@pytest.fixture
def listed(ledger):
    async def ask():
        return await ledger.ask(lambda db: listing.connections(db, 100))

    return ask


@pytest.fixture
def states(ledger):
    async def ask():
        rows = await ledger.ask(lambda db: listing.seen(db))
        return sorted((row["service"], row["state"], row["reason"], row["count"]) for row in rows)

    return ask


def told(host="api.openai.com", cookie=1, **changes):
    return make_record(host=host, cookie=cookie, attribution=None, **changes)


async def test_a_connection_without_a_call_is_in_the_ledger(connect, listed):
    connect()
    (row,) = await listed()
    assert row["service"] == "openai"
    assert row["process"]["user"] == "ada"
    assert (row["outcome"], row["name"], row["calls"]) == ("redirected", None, 0)
    assert abs(row["time"] - time.time()) < 5


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("outcome", Outcome)
async def test_every_word_of_the_kernel_has_a_place(connect, listed, outcome, reason):
    connect(outcome=outcome, reason=reason)
    (row,) = await listed()
    assert row["outcome"] == OUTCOMES[outcome]
    assert CODES[reason] in {"", *coverage.CODES}


@pytest.mark.parametrize("what", [*SEEN, *UNREAD])
def test_every_word_of_the_worker_has_a_place(what):
    assert what in UNREAD or SEEN[what][1] in {"", *coverage.CODES}
    assert what in coverage.CODES or what in SEEN


async def test_the_clients_own_name_decides_which_service_it_is(ledger, connect, listed):
    ledger.seen(connect("openai"), "api.anthropic.com", "decrypted")
    (row,) = await listed()
    assert (row["service"], row["name"]) == ("anthropic", "api.anthropic.com")


async def test_a_neighbour_on_a_shared_address_is_no_service(ledger, connect, listed, states):
    ledger.seen(connect(), "www.bank.example", "passed")
    (row,) = await listed()
    assert (row["service"], row["outcome"]) == (None, "passed through")
    assert row["reason"] == "a name outside the catalogue, at an address of a service"
    assert await states() == [(None, "metadata only", row["reason"], 1)]
    assert await ledger.ask(lambda db: listing.inventory(db)) == []


async def test_a_name_that_comes_after_the_connection_was_written_still_counts(
    ledger, connect, listed, states
):
    cookie = connect()
    assert (await listed())[0]["name"] is None
    ledger.seen(cookie, "api.openai.com", "passed")
    (row,) = await listed()
    assert (row["name"], row["outcome"]) == ("api.openai.com", "passed through")
    assert await states() == [
        ("openai", "metadata only", "the policy or the catalogue leaves it encrypted", 1)
    ]


async def test_a_handshake_without_a_name_keeps_the_service_of_the_address(ledger, connect, states):
    ledger.seen(connect(), "", "no_name")
    assert await states() == [("openai", "metadata only", "the handshake names no host", 1)]


async def test_quic_that_went_its_way_is_metadata_only(connect, states, listed):
    connect(outcome=Outcome.DIRECT, reason=Reason.HEARTBEAT, protocol=UDP)
    assert await states() == [("openai", "metadata only", "QUIC", 1)]
    assert (await listed())[0]["protocol"] == "udp"


async def test_each_datagram_of_a_refused_quic_socket_is_one_connection(connect, listed):
    for _ in range(5):
        connect(outcome=Outcome.REFUSED, reason=Reason.QUIC, protocol=UDP, cookie=99)
    assert len(await listed()) == 1


async def test_a_call_counts_for_its_connection_and_in_the_inventory(
    ledger, connect, listed, states, shared
):
    cookie = connect()
    known = shared.attributor.recall(cookie)
    ledger.called(told(cookie=cookie), known)
    ledger.called(told(cookie=cookie), known)
    (row,) = await listed()
    assert (row["calls"], row["name"]) == (2, "api.openai.com")
    ledger.called(told(cookie=cookie), known)  # an hour later, on the same connection
    assert (await listed())[0]["calls"] == 3
    (use,) = await ledger.ask(lambda db: listing.inventory(db))
    assert (use["calls"], use["connections"]) == (3, 1)
    assert use["tokens"] == {"input": 33, "output": 15}
    assert use["bytes"] == {"request": 462, "response": 2400}
    assert await states() == [("openai", "inspected", None, 3)]


async def test_a_client_that_refused_the_ca_is_no_call(ledger, connect, listed, states, shared):
    cookie = connect()
    record = told(cookie=cookie, method="", attributes={"error.type": "client_refused_certificate"})
    ledger.called(record, shared.attributor.recall(cookie))
    assert (await listed())[0]["calls"] == 0
    assert await states() == [("openai", "metadata only", "the client refused the CA", 1)]


async def test_account_and_client_come_from_the_record(ledger, connect, shared):
    cookie = connect()
    record = told(
        cookie=cookie,
        account={"kind": "project_key", "fingerprint": "f0f0", "organisation": "org-1"},
    )
    record["attribution"] = {"process": {"client": "openai-python"}}  # as the recorder left it
    ledger.called(record, shared.attributor.recall(cookie))
    (use,) = await ledger.ask(lambda db: listing.inventory(db))
    assert use["process"]["client"] == "openai-python"
    assert use["accounts"][0]["fingerprint"] == "f0f0"


@pytest.mark.parametrize("junk", [5, {}, {"kind": 5}, {"fingerprint": "x"}, ["kind"]])
async def test_a_lying_worker_s_account_is_none(ledger, connect, shared, junk):
    cookie = connect()
    record = told(cookie=cookie, account=junk, client=junk)
    ledger.called(record, shared.attributor.recall(cookie))
    (use,) = await ledger.ask(lambda db: listing.inventory(db))
    assert use["accounts"] == []


async def test_the_self_test_is_in_no_list(ledger, connect, listed):
    cookie = connect("milecastle-selftest")
    ledger.seen(cookie, "selftest.milecastle.invalid", "decrypted")
    ledger.called(told("selftest.milecastle.invalid", cookie=cookie), None)
    assert await listed() == []


async def test_what_does_not_fit_is_dropped_and_counted(ledger, connect, listed, monkeypatch):
    monkeypatch.setattr(ledger_module, "MOST_WAITING", 10)
    for _ in range(25):
        connect()
    assert ledger.dropped == 15
    assert len(await listed()) == 10
    ledger._began = time.time()
    (gap,) = ledger.unreported(2)
    assert (gap["state"], gap["count"]) == ("blind", 17)


async def test_batches_are_handed_over_while_connections_come(ledger, connect, monkeypatch):
    monkeypatch.setattr(ledger_module, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(ledger_module, "NAME_SECONDS", 0.05)
    keeping = asyncio.create_task(ledger.keep())
    for _ in range(20):
        connect()
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    assert not ledger._pending
    assert not ledger._batch
    keeping.cancel()


async def test_a_connection_waits_longer_for_a_name_that_is_not_said_yet(
    ledger, connect, monkeypatch
):
    monkeypatch.setattr(ledger_module, "SETTLE_SECONDS", 0.0)
    silent, named = connect(), connect()
    ledger.seen(named, "api.openai.com", "decrypted")
    ledger._hand_over(time.monotonic() + 1)
    assert list(ledger._pending) == [silent]


async def test_the_hash_that_was_found_meanwhile_is_written(ledger, connect, listed, shared):
    cookie = connect()
    shared.attributor.add_hash(cookie, "ab" * 32)
    assert (await listed())[0]["process"]["sha256"] == "ab" * 32


async def test_closing_writes_what_waits_and_that_it_ended_in_order(tmp_path, services, connect):
    from milecastle.daemon.ledger import Ledger
    from milecastle.store import Register

    path = tmp_path / "closing.db"
    known = {}
    closing = Ledger(Register.open(path), services.match, known.get, keep_days=30)
    keeping = asyncio.create_task(closing.keep())
    await asyncio.sleep(0.05)
    record = told()
    closing.called(record, None)
    keeping.cancel()
    closing.close()
    again = Register.open(path)
    assert listing.inventory(again.connection)[0]["calls"] == 1
    assert again.connection.execute("SELECT clean FROM lives").fetchall() == [(1,)]
    again.close()


# --- over the worker's socket ---------------------------------------------------------------------


async def test_a_worker_tells_what_it_saw(pair, shared, ledger, connect, listed):
    from milecastle.daemon.workers import WorkerSession

    peer, end = pair()
    session = WorkerSession(peer, dataclasses.replace(shared, seen=ledger.seen))
    task = asyncio.create_task(session.serve())
    await end.say(1, "hello", {"version": wire.VERSION})
    await end.hear()
    cookie = connect()
    body = {"cookie": cookie, "name": "api.openai.com", "outcome": "decrypted"}
    await end.say(0, "seen", body)
    await end.say(2, "attribute", {"address": "127.0.0.1", "port": 1, "netns": 1})
    await end.hear()
    assert (await listed())[0]["name"] == "api.openai.com"
    await end.say(0, "seen", {**body, "outcome": "exploded"})
    assert await end.hear() is None
    await task


async def test_a_cookie_that_nobody_has_changes_nothing(ledger, listed):
    for cookie in (0, -1, 1 << 63, (1 << 64) - 1):
        ledger.seen(cookie, "api.openai.com", "decrypted")
    assert await listed() == []


# --- sockets with a past, or with several owners -------------------------------------------------

TWO = (Owner(77, "python3", 1000, "ada", "/usr/bin/python3"), Owner(78, "sh", 1000))


@pytest.mark.parametrize("written", [False, True])
async def test_the_owners_of_a_socket_are_in_the_list(ledger, connect, listed, written):
    cookie = connect()
    if written:
        await listed()
    ledger.shared(cookie, TWO)
    (row,) = await listed()
    assert [(one["pid"], one["exe"]) for one in row["owners"]] == [
        (77, "/usr/bin/python3"), (78, None)
    ]  # fmt: skip
    connect()
    assert (await listed())[0]["owners"] == []


async def test_a_connection_older_than_the_agent_is_in_the_list(ledger, listed, states):
    where = Connection(5, Endpoint("198.51.100.9", 443), 0, 0, 0, 0)
    known = Attribution(where, ADA, "openai", Grade.TUPLE, "its socket", TWO)
    ledger.older(Held(5, 1, 1000, "198.51.100.9", 443), known)
    (row,) = await listed()
    assert (row["grade"], row["outcome"]) == ("tuple", "direct")
    assert row["reason"] == "it is older than the agent"
    assert len(row["owners"]) == 2
    assert await states() == [("openai", "metadata only", "it is older than the agent", 1)]


async def test_the_addresses_of_the_last_day_are_remembered(ledger, connect, listed):
    ledger.seen(connect("openai"), "api.anthropic.com", "decrypted")
    await listed()
    past = await ledger.write(lambda register: register.addresses(time.time() - 60))
    assert past == {"198.51.100.9": "anthropic"}
    assert await ledger.write(lambda register: register.addresses(time.time() + 60)) == {}


def test_an_attribution_is_told_with_all_that_it_holds():
    where = Connection(5, Endpoint("198.51.100.9", 443), 1, 2, 3, 4)
    for server in (None, ADA):
        known = Attribution(where, ADA, "openai", Grade.EXACT, "why", TWO, server=server)
        told = attribution_record(known, Standing.TOLERATED)
        plain = asdict(known) | {"standing": "tolerated", "owners": list(map(asdict, TWO))}
        assert told == plain
        told["process"]["client"] = "mine"  # as the recorder completes it
        assert attribution_record(known, Standing.TOLERATED) == plain

import asyncio
import os
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milecastle import wire
from milecastle.daemon.workers import HELLO_SECONDS, HUNG_SECONDS, Workers, WorkerSession


def answers(*rows):
    return [list(row) for row in rows]


async def test_a_worker_that_says_hello_is_told_its_configuration(pair, shared):
    peer, end = pair()
    task = asyncio.create_task(WorkerSession(peer, shared).serve())
    await end.say(7, "hello", {"version": wire.VERSION})
    answer = await end.hear()
    assert (answer.id, answer.kind) == (7, "ok")
    assert answer.body["result"]["listeners"] == []
    task.cancel()


async def test_another_version_is_told_so(pair, shared):
    peer, end = pair()
    task = asyncio.create_task(WorkerSession(peer, shared).serve())
    await end.say(1, "hello", {"version": 99})
    assert (await end.hear()).body["code"] == "version"
    task.cancel()


async def test_nothing_is_answered_before_hello(pair, shared):
    peer, end = pair()
    task = asyncio.create_task(WorkerSession(peer, shared).serve())
    await end.say(0, "heartbeat", {"open": 1})
    assert await end.hear() is None
    await task


async def test_a_heartbeat_renews_the_lease(worker, kernel):
    assert kernel._beat == 0
    await worker.say(0, "heartbeat", {"open": 3})
    await asyncio.sleep(0.05)
    assert kernel._beat > 0
    assert worker.session.open == 3


async def test_a_redirected_connection_is_attributed_to_its_process(worker, kernel, services):
    number = services.number("openai")
    kernel.set_checkpoint(4000, 4001)
    kernel.set_service(number, redirect=True, closed=False, refuse=False)
    kernel.learn("198.51.100.9", number, 60)
    kernel.vouch(1)
    kernel.beat()
    _outcome, (address, port) = kernel.connect(
        "198.51.100.9", pid=os.getpid(), uid=os.getuid(), netns=9
    )
    await worker.say(2, "attribute", {"address": address, "port": port, "netns": 9})
    result = (await worker.hear()).body["result"]
    assert result["destination"] == {"address": "198.51.100.9", "port": 443}
    assert result["process"]["pid"] == os.getpid()
    assert (result["grade"], result["service"], result["standing"]) == (
        "exact",
        "openai",
        "tolerated",
    )


async def test_a_connection_that_nobody_made_is_not_attributed(worker):
    await worker.say(2, "attribute", {"address": "127.0.0.1", "port": 1, "netns": 1})
    assert (await worker.hear()).body["code"] == "unknown"


async def test_an_address_that_is_none_costs_nobody_else_anything(worker):
    await worker.say(2, "attribute", {"address": "not an address", "port": 1, "netns": 1})
    answer = await worker.hear()
    assert answer is None or answer.kind == "error"


async def test_names_of_the_catalogue_are_learnt_and_others_are_not(worker, kernel):
    rows = answers(
        ("api.openai.com", ["198.51.100.3", "2001:db8:51::3"], 300),
        ("bank.example", ["198.51.100.4"], 300),
        ("api.anthropic.com", ["127.0.0.1", "224.0.0.1", "::", "nonsense"], 300),
    )
    await worker.say(0, "names", {"answers": rows})
    await worker.say(1, "attribute", {"address": "127.0.0.1", "port": 1, "netns": 1})
    await worker.hear()
    assert set(kernel.addresses()) == {"198.51.100.3", "2001:db8:51::3"}


@pytest.mark.parametrize(
    "row", [1, [], ["api.openai.com"], ["api.openai.com", "x", 1], ["api.openai.com", [1], 1]]
)
async def test_a_malformed_answer_ends_the_session(worker, row):
    await worker.say(0, "names", {"answers": [row]})
    assert await worker.hear() is None


async def test_a_malformed_record_is_dropped_and_counted(worker, shared):
    await worker.say(0, "record", {"record": {"exchange": 5}})
    await worker.say(1, "attribute", {"address": "127.0.0.1", "port": 1, "netns": 1})
    assert (await worker.hear()).kind == "error"
    assert shared.recorder.refused == 1


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1, max_size=300))
def test_garbage_ends_the_session_and_nothing_else(garbage):
    async def run():
        import socket

        from milecastle.daemon.peer import Peer

        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        session = WorkerSession(Peer(ours), SimpleNamespace(serving=lambda: None))
        task = asyncio.create_task(session.serve())
        await asyncio.get_running_loop().sock_sendall(theirs, garbage)
        theirs.close()
        await asyncio.wait_for(task, 5)

    asyncio.run(run())


async def test_who_is_no_worker_is_disconnected_at_once(pair, shared):
    peer, end = pair()
    workers = Workers(shared, lambda _peer: False)
    await workers.take(peer)
    assert await end.hear() is None
    assert workers.sessions == set()


async def test_a_silent_worker_is_overdue(worker):
    session = worker.session
    assert not session.overdue(session.heard + HUNG_SECONDS - 0.1)
    assert session.overdue(session.heard + HUNG_SECONDS + 0.1)


async def test_one_that_never_says_hello_is_overdue_later(pair, shared):
    session = WorkerSession(pair()[0], shared)
    assert not session.overdue(session.heard + HUNG_SECONDS + 0.1)
    assert session.overdue(session.heard + HELLO_SECONDS + 0.1)


async def test_a_peer_that_does_not_read_is_disconnected(pair):
    peer, _end = pair()
    blob = {"files": [["f", "x" * (8 << 20)]]}
    for _ in range(6):
        peer.send(wire.Frame(0, "policy", blob))
    assert [frame async for frame in peer.frames()] == []


async def test_a_hung_worker_is_disconnected_and_its_descriptor_is_not_mixed_up(pair, shared):
    workers = Workers(shared, lambda _peer: True)
    peer, end = pair()
    task = asyncio.create_task(workers.take(peer))
    await end.say(1, "hello", {"version": wire.VERSION})
    await end.hear()
    (session,) = workers.sessions
    session.disconnect()
    await asyncio.wait_for(task, 5)
    assert workers.sessions == set()
    # whoever gets the same descriptor number next is heard like anybody
    second, other = pair()
    task = asyncio.create_task(workers.take(second))
    await other.say(1, "hello", {"version": wire.VERSION})
    assert (await other.hear()).kind == "ok"
    other.sock.close()
    await asyncio.wait_for(task, 5)


async def test_calls_are_counted_for_all_workers_and_over_a_worker_s_end(pair, shared):
    charge = ["few", "uid 7", "calls", 2, 3600, "enforce"]

    async def spend():
        peer, end = pair()
        task = asyncio.create_task(WorkerSession(peer, shared).serve())
        await end.say(1, "hello", {"version": wire.VERSION})
        await end.hear()
        await end.say(2, "spend", {"charges": [charge]})
        answer = await end.hear()
        task.cancel()
        return answer.body["result"]["over"]

    assert [list(await spend()) for _ in range(3)] == [[], [], ["few"]]


async def test_tokens_are_counted_when_the_answer_is_known(worker):
    charge = ["dear", "host", "tokens", 100, 86_400, "enforce"]
    await worker.say(2, "spend", {"charges": [charge]})
    assert (await worker.hear()).body["result"] == {"over": {}}
    await worker.say(0, "spent", {"charges": [charge], "tokens": 150})
    await worker.say(3, "spend", {"charges": [charge]})
    assert list((await worker.hear()).body["result"]["over"]) == ["dear"]


async def test_a_charge_that_is_none_ends_the_session(worker):
    await worker.say(2, "spend", {"charges": [["few", "uid 7", "calls", 2, 5, "enforce"]]})
    assert await worker.hear() is None

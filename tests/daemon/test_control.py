import asyncio
import dataclasses
from types import SimpleNamespace

import pytest

from milecastle.daemon.control import CLIENTS, Answers, Client, Clients
from milecastle.daemon.refusals import Refusals
from milecastle.model import Attribution, Connection, Endpoint, Grade, Process
from milecastle.store.entries import Called, Opened

ADA = 1000


@pytest.fixture
def client(pair, archive, shared, ledger, services, offered, usage):
    """Return a client's end; ``uid`` and ``groups`` are what the kernel would say of it."""
    tasks = []
    enforced = []
    rules = SimpleNamespace(refusal=lambda _service: None, refusals=lambda _service: [])

    def answers():
        async def status():
            return {"ready": True, "version": "1", "mode": "monitor", "ca": {}, "secret": 1}

        async def rotate():
            return {"root": "/state/ca/root.pem"}

        return Answers(
            archive,
            shared.recorder,
            status,
            reload=lambda: {"changed": True, "problems": []},
            rotate=rotate,
            group=4242,
            ledger=ledger,
            refusals=Refusals(ledger, services, rules, enforced.append, now=lambda: 1e9),
            offered=offered,
            usage=usage,
            standing=shared.standing,
            unreported=lambda: 0,
        )

    def make(uid=0, groups=()):
        peer, end = pair()
        peer.credentials = dataclasses.replace(peer.credentials, uid=uid, gid=uid, groups=groups)
        tasks.append(asyncio.create_task(Client(peer, answers()).serve()))
        return end

    make.answers = answers
    yield make
    for task in tasks:
        task.cancel()


@pytest.fixture
def exchange(shared):
    """Record one exchange of ada's, and return its id."""

    def make(number=1):
        process = Process(pid=77, comm="python3", uid=ADA, user="ada", started=1.0)
        connection = Connection(number, Endpoint("198.51.100.9", 443), 1, 1, 77, 1)
        known = Attribution(connection, process, "openai", Grade.EXACT, "kernel")
        shared.attributor._known[number] = known
        shared.recorder.record(
            {
                "cookie": number,
                "exchange": f"01EXCHANGE{number:016}",
                "started": 1000.0 + number,
                "ended": 1001.0 + number,
                "first_byte_ms": None,
                "host": "api.openai.com",
                "method": "POST",
                "path": "/v1/chat/completions",
                "status": 200,
                "service": "openai",
                "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"},
                "findings": [],
                "verdict": {
                    "action": "allow",
                    "applied": "allow",
                    "rule": None,
                    "reason": "no rule matched",
                    "mode": "enforce",
                },
                "steps": [],
                "request_bytes": 1,
                "response_bytes": 2,
            }
        )
        return f"01EXCHANGE{number:016}"

    return make


async def ask(end, kind, **body):
    await end.say(1, kind, body)
    return await end.hear()


async def test_root_and_the_group_see_all_and_a_stranger_only_their_own(client, exchange):
    exchange()
    for uid, groups, count in ((0, (), 1), (5, (4242,), 1), (ADA, (), 1), (5, (), 0)):
        answer = await ask(client(uid, groups), "sessions", limit=10)
        assert len(answer.body["result"]) == count, (uid, groups)


async def test_another_user_s_session_is_not_even_told_to_exist(client, exchange):
    exchange()
    (session,) = (await ask(client(), "sessions", limit=1)).body["result"]
    assert (await ask(client(ADA), "show", session=session["id"])).kind == "ok"
    strange = await ask(client(5), "show", session=session["id"])
    missing = await ask(client(5), "show", session="ffffffffffffffff")
    assert strange.kind == missing.kind == "error"
    assert strange.body["code"] == missing.body["code"] == "unknown"


async def test_a_stranger_s_status_is_the_bare_one(client):
    assert "secret" in (await ask(client(), "status")).body["result"]
    assert "secret" not in (await ask(client(5), "status")).body["result"]


async def test_only_root_may_reload(client):
    assert (await ask(client(), "reload")).body["result"]["changed"] is True
    assert (await ask(client(5, (4242,)), "reload")).body["code"] == "forbidden"


async def test_tail_tells_what_happens_and_what_happened(client, exchange):
    exchange(1)
    end = client()
    assert len((await ask(end, "tail", history=5)).body["result"]) == 1
    second = exchange(2)
    event = await end.hear()
    assert (event.id, event.kind, event.body["event"]["id"]) == (0, "event", second)


async def test_tail_keeps_other_users_exchanges_from_a_stranger(client, exchange):
    stranger, owner = client(5), client(ADA)
    await ask(stranger, "tail", history=0)
    await ask(owner, "tail", history=0)
    exchange()
    assert (await owner.hear()).kind == "event"
    answer = await ask(stranger, "status")
    assert answer.kind == "ok", "an event came first"


async def test_garbage_ends_the_client_and_the_next_one_is_served(client):
    end = client()
    await end.raw(b"\xff" * 64)
    assert await end.hear() is None
    assert (await ask(client(), "status")).kind == "ok"


async def test_a_request_of_workers_is_no_request_of_clients(client):
    assert await ask(client(), "attribute", address="::1", port=1, netns=1) is None


async def test_a_silly_limit_is_bounded(client, exchange):
    exchange()
    assert len((await ask(client(), "sessions", limit=-(1 << 40))).body["result"]) == 1
    assert len((await ask(client(), "sessions", limit=1 << 60)).body["result"]) == 1


async def test_one_user_s_idle_clients_shut_nobody_else_out(pair, client, exchange):
    clients = Clients(client.answers())
    tasks = []

    def connect(uid):
        peer, end = pair()
        peer.credentials = dataclasses.replace(peer.credentials, uid=uid, gid=uid, groups=())
        tasks.append(asyncio.create_task(clients.take(peer)))
        return end

    for _ in range(CLIENTS):
        connect(5)
    await asyncio.sleep(0)
    assert await connect(5).hear() is None
    for uid in (0, 6):
        assert (await ask(connect(uid), "sessions", limit=1)).kind == "ok"
    for task in tasks:
        task.cancel()


# --- the ledger ----------------------------------------------------------------------------------


@pytest.fixture
def used(ledger):
    """One connection and one call of ada's."""
    ada = Process(pid=77, comm="python3", uid=ADA, user="ada", started=1.0)
    shared = {"process": ada, "service": "openai"}
    ledger._batch += [
        Opened(at=1.0, cookie=1, **shared, address="198.51.100.9", port=443, protocol="tcp",
               grade="exact", outcome="direct", code="heartbeat"),
        Called(at=2.0, **shared),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["connections", "inventory", "coverage"])
async def test_a_stranger_is_told_of_the_ledger_what_is_theirs(client, used, kind):
    body = {"limit": 10, "before": 0} if kind == "connections" else {}
    for uid, groups, count in ((0, (), 1), (5, (4242,), 1), (ADA, (), 1), (5, (), 0)):
        answer = await ask(client(uid, groups), kind, **body)
        assert len(answer.body["result"]) == count, (kind, uid, groups)


async def test_the_inventory_says_what_the_policy_thinks_of_a_service_now(client, used):
    (row,) = (await ask(client(), "inventory")).body["result"]
    assert (row["standing"], row["sanctioned"]) == ("tolerated", False)


@pytest.mark.parametrize("body", [{"limit": -5, "before": -5}, {"limit": 1 << 62, "before": 1}])
async def test_silly_pages_of_connections_are_bounded(client, used, body):
    assert (await ask(client(), "connections", **body)).kind == "ok"


EVERYBODY = {"user": "", "exe": "", "cgroup": ""}


async def test_only_root_may_refuse_and_permit(client):
    group = client(5, (4242,))
    for kind, body in (
        ("refuse", {"service": "openai", "seconds": 5, **EVERYBODY}),
        ("permit", {"service": "openai", **EVERYBODY}),
    ):
        assert (await ask(group, kind, **body)).body["code"] == "forbidden"
    assert (await ask(group, "refusals")).body["result"] == []


async def test_root_refuses_lists_and_permits(client):
    end = client()
    said = await ask(end, "refuse", service="openai", seconds=60, **EVERYBODY)
    told = {"service": "openai", "until": 1e9 + 60, "user": None, "exe": None, "cgroup": None}
    assert said.body["result"] == told
    (row,) = (await ask(end, "refusals")).body["result"]
    assert (row["service"], row["by"]) == ("openai", "hand")
    said = await ask(end, "permit", service="openai", **EVERYBODY)
    assert said.body["result"]["was_refused"] is True
    said = await ask(end, "refuse", service="opnai", seconds=0, **EVERYBODY)
    assert said.body["code"] == "unknown"


async def test_a_ledger_that_can_not_be_read_is_an_answer(client, ledger):
    ledger._register.connection.execute("DROP TABLE coverage")
    assert (await ask(client(), "coverage")).body["code"] == "store"


async def test_root_sees_and_accepts_changed_tools_and_nobody_else(client, offered):
    offered.learn("srv", {"add": "a" * 32})
    offered.learn("srv", {"add": "b" * 32})
    root, ada = client(), client(uid=ADA)
    await root.say(1, "tools", {})
    assert (await root.hear()).body["result"][0]["changed"] == ["add"]
    for kind, body in (("tools", {}), ("accept", {"server": "srv", "name": ""})):
        await ada.say(1, kind, body)
        assert (await ada.hear()).body["code"] == "forbidden"
    await root.say(2, "accept", {"server": "srv", "name": "add"})
    assert (await root.hear()).body["result"]["tools"] == ["add"]
    await root.say(3, "accept", {"server": "srv", "name": "add"})
    assert (await root.hear()).kind == "error"

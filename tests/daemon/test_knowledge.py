"""What operators add for the detectors, and what is remembered of servers' tools."""

import asyncio
import contextlib
import dataclasses
import os
import socket
import sqlite3
import time

import pytest
from tests.daemon.conftest import End

from milecastle import wire
from milecastle.daemon import tools as tools_module
from milecastle.daemon.knowledge import Knowledge
from milecastle.daemon.peer import Peer
from milecastle.daemon.workers import WorkerSession
from milecastle.store import Tools

A, B = "a" * 32, "b" * 32


@pytest.fixture
def folders(tmp_path):
    rules, state = tmp_path / "rules.d", tmp_path / "state"
    for folder in (rules, state / "canaries", state / "fingerprints"):
        folder.mkdir(parents=True)
    return rules, state


@pytest.fixture
def knowledge(folders):
    rules, state = folders
    known = Knowledge([rules], state)
    yield known
    known.close()


def test_rules_and_canaries_and_indexes_are_told_as_they_are(folders, knowledge):
    rules, state = folders
    assert knowledge.told() == {"rules": [], "documents": []}
    (rules / "own.yaml").write_text("category: secret")
    (state / "canaries" / "payroll.yaml").write_text("category: marking")
    (state / "fingerprints" / "plans.idx").write_bytes(b"MCFP")
    assert knowledge.reload()
    assert [text for _, text in knowledge.told()["rules"]] == [
        "category: secret",
        "category: marking",
    ]
    assert knowledge.told()["documents"] == ["plans"]
    assert os.pread(knowledge.descriptors[0], 4, 0) == b"MCFP"
    assert knowledge.health()["canaries"] == 1
    assert not knowledge.reload(), "nothing is different"


def test_an_index_that_is_replaced_is_another_one(folders, knowledge):
    _, state = folders
    file = state / "fingerprints" / "plans.idx"
    file.write_bytes(b"old")
    knowledge.reload()
    (state / "new").write_bytes(b"new")
    (state / "new").rename(file)
    assert knowledge.reload()
    assert os.pread(knowledge.descriptors[0], 3, 0) == b"new"
    file.unlink()
    assert knowledge.reload()
    assert knowledge.descriptors == []


def test_what_can_not_be_read_is_a_problem_and_no_reason_to_end(folders, knowledge, tmp_path):
    rules, state = folders
    (rules / "bad.yaml").write_bytes(b"\xff\xfe")
    (state / "fingerprints" / "link.idx").symlink_to(tmp_path / "elsewhere")
    knowledge.reload()
    assert len(knowledge.problems) == 2
    assert knowledge.told() == {"rules": [], "documents": []}


def test_rules_beyond_the_budget_are_left_out_and_said(folders, knowledge):
    rules, _ = folders
    for number in range(5):
        (rules / f"{number}.yaml").write_text("#" * (1 << 20))
    knowledge.reload()
    assert len(knowledge.told()["rules"]) == 4
    assert "larger" in str(knowledge.problems[0])


# --- tools -------------------------------------------------------------------------------


async def test_what_is_known_is_not_overwritten_by_a_worker(offered):
    offered.learn("srv", {"add": A})
    offered.learn("srv", {"add": B})
    (row,) = await offered.listed()
    assert offered.known() == {"srv": {"add": A}}
    assert offered.told == [("sealed", {"server": "srv", "seals": {"add": A}})]
    assert row["changed"] == ["add"]


async def test_an_operator_agrees_to_a_change_and_every_worker_is_told(offered):
    offered.learn("srv", {"add": A, "sub": A})
    offered.learn("srv", {"add": B})
    assert await offered.accept("srv", "") == {"server": "srv", "tools": ["add"]}
    assert offered.told[-1] == ("sealed", {"server": "srv", "seals": {"add": B}})
    assert offered.known() == {"srv": {"add": B, "sub": A}}
    with pytest.raises(LookupError):
        await offered.accept("srv", "add")


async def test_a_change_that_is_taken_back_does_not_wait_any_more(offered):
    for seal in (A, B, A):
        offered.learn("srv", {"add": seal})
    assert (await offered.listed())[0]["changed"] == []


def test_it_outlives_the_daemon_and_old_servers_are_forgotten(tools, tmp_path):
    tools.learn("old", {"add": A}, now=0.0)
    tools.learn("new", {"add": A}, now=1e9)
    tools.forget(1e9)
    again = Tools.open(tmp_path / "tools.db")
    assert again.known() == {"new": {"add": A}}
    again.close()


def test_what_is_full_takes_nothing_new(tools, monkeypatch):
    monkeypatch.setattr("milecastle.store.tools.MOST", 2)
    assert tools.learn("srv", dict.fromkeys("abc", A), 0.0) == {"a": A, "b": A}
    assert sorted(tools.known()["srv"]) == ["a", "b"]


@pytest.mark.parametrize(
    "seals", [{"add": "short"}, {"add": 7}, {7: A}, {"n" * 401: A}, {"add": "A" * 32}]
)
def test_what_is_no_seal_is_refused(offered, seals):
    with pytest.raises(ValueError, match=r"seal|digest"):
        offered.learn("srv", seals)
    assert offered.known() == {}


async def test_a_worker_that_tells_nonsense_of_tools_is_disconnected(shared, offered):

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.setblocking(False)
    end = End(theirs)
    session = WorkerSession(Peer(ours), dataclasses.replace(shared, tools=offered.learn))

    serving = asyncio.create_task(session.serve())
    await end.say(1, "hello", {"version": wire.VERSION})
    assert (await end.hear()).kind == "ok"
    await end.say(0, "tools", {"server": "srv", "seals": {"add": A}})
    await end.say(0, "tools", {"server": "srv", "seals": {"add": "x"}})
    assert await end.hear() is None
    await serving
    theirs.close()
    await offered.listed()
    assert offered.known() == {"srv": {"add": A}}


async def test_a_disk_that_stalls_costs_no_time_and_little_memory(offered, tmp_path, monkeypatch):
    monkeypatch.setattr(tools_module, "ANSWER_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(tmp_path / "tools.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for number in range(tools_module.MOST_WAITING * 2):
            offered.learn(f"srv-{number}", {"add": A})
        assert time.monotonic() - began < 5
        assert offered._desk.waiting == tools_module.MOST_WAITING
        with pytest.raises(OSError, match="does not answer"):
            await offered.listed()
        other.execute("ROLLBACK")
    monkeypatch.setattr(tools_module, "ANSWER_SECONDS", 10)
    assert len(await offered.listed()) == tools_module.MOST_WAITING

"""Disks that stall, are locked, full or read-only: the loop goes on, and what is lost counts."""

import asyncio
import os
import sqlite3
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.store.examples import NOW, make_record

from milecastle.daemon import archive as archive_module
from milecastle.daemon import desk as desk_module
from milecastle.daemon import ledger as ledger_module
from milecastle.daemon.archive import Archive
from milecastle.daemon.condition import changes
from milecastle.daemon.desk import Desk
from milecastle.model import ParseError
from milecastle.store import Reader, Store
from milecastle.store import store as store_module

HEARTBEAT = 1.0
"""Seconds that the kernel believes a heartbeat."""
PADDED = {"gen_ai.padding": "x" * 50_000}


def clock():
    """Return a time at which the examples are over."""
    return NOW + time.monotonic()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "milecastle.db"


@pytest.fixture
def archive(path):
    opened = Archive(Store.open(path), now=clock)
    yield opened
    opened.close()


@pytest.fixture
def lock(path, archive):
    """Return a connection that holds the database's lock until it rolls back."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


class Pulse:
    """How long the event loop was ever kept from its work."""

    async def __aenter__(self):
        self.longest = 0.0
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()

    async def _beat(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            self.longest = max(self.longest, time.monotonic() - before)


def put(archive, count, **changes):
    """Add records; return the list that their outcomes come into."""
    told = []
    for _ in range(count):
        archive.add(make_record(**changes), 1000, told.append)
    return told


async def patient(condition, seconds=5.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        await asyncio.sleep(0.02)


async def test_what_was_added_is_found_at_once_and_told_in_order(archive):
    told = put(archive, 300)
    assert (await archive.ask(Reader.sizes))["exchanges"] == 300
    await patient(lambda: len(told) == 300)
    listed = await archive.ask(lambda store: store.recent(100))
    assert [one["id"] for one in told[-100:]] == [one["id"] for one in listed]


async def test_a_malformed_record_is_told_and_costs_only_itself(archive):
    told = []
    archive.add({"exchange": 5}, 10, told.append)
    archive.add(make_record(), 10, told.append)
    await patient(lambda: len(told) == 2)
    assert isinstance(told[0], ParseError)
    assert told[1]["stored"]


async def test_a_lock_holds_up_the_records_and_nothing_else(archive, lock):
    async with Pulse() as pulse:
        told = put(archive, 50)
        await asyncio.sleep(desk_module.STALLED_SECONDS + 0.2)
        assert not told
        assert "does not answer" in archive.health["fault"]
        before = time.monotonic()
        assert (await archive.ask(Reader.sizes))["exchanges"] == 0  # what is committed
        assert time.monotonic() - before < desk_module.SETTLE_SECONDS + 1
        lock.execute("ROLLBACK")
        await patient(lambda: len(told) == 50)
    assert pulse.longest < HEARTBEAT / 2
    assert all(one["stored"] for one in told)
    assert (archive.health["lost"], archive.health["fault"]) == (0, None)


@pytest.mark.parametrize(("most", "value"), [("MOST_WAITING", 10), ("MOST_BYTES", 11_000)])
async def test_what_overflows_is_dropped_and_counted(archive, lock, monkeypatch, most, value):
    monkeypatch.setattr(archive_module, most, value)
    told = put(archive, 1)
    await asyncio.sleep(0.1)
    told = put(archive, 30)
    assert archive.health["waiting"] == 10
    assert archive.health["lost"] == 20
    lock.execute("ROLLBACK")
    await patient(lambda: len(told) == 10)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 KB."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=300k", "none", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


FAULTS = {"full": "full", "read-only": "readonly"}


@pytest.mark.root
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_disk_that_refuses_is_told_and_recording_goes_on_when_it_can(
    small_disk, monkeypatch, fault
):
    sentence = FAULTS[fault]
    monkeypatch.setattr(store_module, "RETRY", 0.1)
    opened = Archive(Store.open(small_disk / "milecastle.db"), now=clock)
    if fault == "read-only":  # the journal, open for writing, would keep the mount from it
        opened._store._connection.execute("PRAGMA query_only = ON")
    async with Pulse() as pulse:
        told = put(opened, 30, attributes=PADDED)
        await patient(lambda: len(told) == 30)
        await patient(lambda: sentence in (opened.health["fault"] or ""))
        assert opened.health["lost"] > 0
        await opened.ask(Reader.sizes)
        if fault == "full":
            mount("-o", "remount,size=8m", str(small_disk))
        else:
            opened._store._connection.execute("PRAGMA query_only = OFF")
        await asyncio.sleep(0.15)
        told = put(opened, 1)
        await opened.ask(Reader.sizes)
        assert told[0]["stored"]
        assert opened.health["fault"] is None
    assert pulse.longest < HEARTBEAT / 2
    opened.close()


class Stuck:
    """A writer that waits for a disk."""

    path = Path("/nowhere/ledger.db")
    fault = None
    lost = 0

    def __init__(self):
        self.free = threading.Event()

    def wait(self):
        self.free.wait(10)

    def close(self):
        pass


async def test_a_refusal_that_is_not_written_in_time_is_an_error_not_a_wait(ledger, monkeypatch):
    monkeypatch.setattr(ledger_module, "WRITE_SECONDS", 0.1)
    stuck = Stuck()
    monkeypatch.setattr(ledger, "_desk", Desk(stuck))
    with pytest.raises(OSError, match="does not answer"):
        await ledger.write(lambda _register: stuck.wait())
    stuck.free.set()
    ledger._desk.close(lambda _register: None)


async def test_nothing_piles_up_behind_a_stalled_ledger(ledger, monkeypatch):
    stuck = Stuck()
    for name in ("LIFE_SECONDS", "PRUNE_SECONDS", "TICK_SECONDS"):
        monkeypatch.setattr(ledger_module, name, 0.001)
    keeping = asyncio.create_task(ledger.keep())
    await patient(lambda: ledger._began is not None and not ledger._desk.busy)
    monkeypatch.setattr(ledger, "_register", SimpleNamespace(lost=0))
    ledger._submit(lambda _register: stuck.wait())
    await asyncio.sleep(0.3)
    assert len(ledger._desk._jobs) == 1
    stuck.free.set()
    keeping.cancel()


def test_what_begins_to_be_amiss_and_what_ends_is_an_event_each():
    told = list(changes(["the disk is full"], ["no worker serves"], 5.0))
    assert [(each["kind"], each["what"], each["started"]) for each in told] == [
        ("degraded", "no worker serves", 5.0),
        ("recovered", "the disk is full", 5.0),
    ]
    assert not list(changes(["same"], ["same"], 5.0))


def test_strange_exchanges_are_counted_by_their_shape(shared):
    recorder = shared.recorder
    told = {"attribution": {}, "strange": "changed_shape"}
    for shape in ("chatgpt-web", "chatgpt-web", "unknown"):
        recorder._stored({**told, "shape": shape}, None, {})
    recorder._stored({"strange": "", "shape": "openai-chat"}, None, {})
    assert recorder.strange == {"chatgpt-web": 2, "unknown": 1}

"""Disks that are full, files that are broken: recording stops or begins again, nothing crashes."""

import logging
import os
import sqlite3
import stat

import pytest
from tests.store.examples import NOW, make_record

from milecastle.store import Store, database
from milecastle.store.store import BATCH, RETRY


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_database_and_its_journal_are_readable_by_nobody_else(store, path):
    store.add(make_record(), NOW)
    store.flush()
    for name in (path.name, path.name + "-wal", path.name + "-shm"):
        assert mode(path.with_name(name)) == 0o600


def test_a_database_that_was_open_to_others_is_closed_to_them(path):
    Store.open(path).close()
    path.chmod(0o644)
    Store.open(path).close()
    assert mode(path) == 0o600


def test_a_link_in_place_of_the_database_is_not_followed(path, tmp_path):
    path.parent.mkdir()
    (tmp_path / "elsewhere").write_text("precious")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Store.open(path)
    assert (tmp_path / "elsewhere").read_text() == "precious"


@pytest.mark.parametrize(
    "damage", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 9000]
)
def test_a_broken_file_is_set_aside_whole_and_a_new_one_begun(path, damage, caplog):
    path.parent.mkdir()
    path.write_bytes(damage)
    with caplog.at_level(logging.ERROR):
        store = Store.open(path)
    assert store.add(make_record(), NOW)["stored"]
    (aside,) = path.parent.glob("milecastle.db.aside-*Z")
    assert aside.read_bytes() == damage
    assert "new database begun" in caplog.text
    assert aside.name in caplog.text
    store.close()


def test_two_broken_files_in_one_second_are_both_kept(path):
    path.parent.mkdir()
    for damage in (b"one" * 500, b"two" * 500):
        path.write_bytes(damage)
        database.connect(path, clock=NOW).close()
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert len(list(path.parent.glob("*.aside-*"))) == 2


def test_pages_damaged_in_the_middle_are_noticed_while_running_and_recording_goes_on(path):
    store = Store.open(path)
    for _ in range(300):
        store.add(make_record(), NOW)
    store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(size - 8192))
    store = Store.open(path)
    kept = [store.add(make_record(), NOW + second)["stored"] for second in range(60)]
    store.flush()
    assert kept[-1]
    assert list(path.parent.glob("*.aside-*"))
    assert kept.count(False) == store.lost
    store.close()


def test_a_file_of_a_newer_milecastle_is_set_aside_and_not_changed(path):
    Store.open(path).close()
    with sqlite3.connect(path) as direct:
        direct.execute("PRAGMA user_version = 99")
    direct.close()
    Store.open(path).close()
    (aside,) = path.parent.glob("*.aside-*Z")
    with sqlite3.connect(aside) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (99,)
    old.close()


def full(store):
    """Make the disk full, as far as SQLite can tell."""
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_stops_recording_counts_what_is_lost_and_later_goes_on(store, caplog):
    first = store.add(make_record(), NOW)
    store.flush()
    full(store)
    big = {"gen_ai.padding": "x" * 50_000}
    with caplog.at_level(logging.WARNING):
        refused = store.add(make_record(attributes=big), NOW)
        paused = store.add(make_record(), NOW + 1)
    assert (refused["stored"], paused["stored"]) == (False, False)
    assert refused["service"] == "openai"  # the event can still be shown
    assert store.lost == 2
    assert "full" in store.health()["fault"]
    assert len(caplog.records) == 1
    assert store.sessions(10)[0]["id"] == first["session"]

    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.add(make_record(attributes=big), NOW + RETRY + 1)["stored"]
    store.flush()
    assert store.fault is None
    assert store.lost == 2


def test_what_was_in_the_open_batch_when_the_disk_filled_is_counted_too(store):
    store.add(make_record(), NOW)
    store.flush()
    full(store)
    for _ in range(BATCH + 5):
        store.add(make_record(attributes={"gen_ai.padding": "x" * 3000}), NOW)
    assert store.lost == BATCH + 5
    assert store.health()["exchanges"] == 1


def test_somebody_elses_lock_costs_records_but_not_the_daemon(store, path):
    store.add(make_record(), NOW)
    store.flush()
    store._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not store.add(make_record(), NOW)["stored"]
    assert not store.prune(NOW, keep_days=1, max_bytes=1 << 30)
    other.execute("ROLLBACK")
    other.close()
    assert store.add(make_record(), NOW + RETRY + 1)["stored"]
    assert store.lost == 1


def test_a_database_that_an_administrator_removed_is_made_anew(store, path):
    store.add(make_record(), NOW)
    store.flush()
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    stored = store.add(make_record(), NOW)
    assert stored["stored"]
    assert [each["id"] for each in store.sessions(10)] == [stored["session"]]
    assert path.exists()


def test_a_state_directory_that_vanished_is_survived(store, path):
    store.add(make_record(), NOW)
    store.flush()
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    assert not store.add(make_record(), NOW)["stored"]
    path.parent.unlink()
    assert store.add(make_record(), NOW + RETRY + 1)["stored"]

"""Lives as the kernel tells them, replayed; times are CLOCK_MONOTONIC without any suspend."""

import os
import time
from pathlib import Path

import pytest

from milecastle.host import Biography, Chronicle, Image

NOW = time.monotonic_ns()
SECOND = 1_000_000_000
SUSPENDED = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()


def boottime(ns):
    return ns + SUSPENDED


def born(pid, parent=1, at=NOW, uid=1000, cgroup=0):
    return Biography(pid, parent, boottime(at), uid, None, cgroup, ())


def image(at, *argv, exe=None, comm=None):
    return Image(at, comm or argv[0], exe or f"/no/such/{argv[0]}", argv)


@pytest.fixture
def chronicle(tmp_path):
    return Chronicle(proc=tmp_path)


def run(chronicle, pid, *argv, at=NOW, parent=1, file=(0, 0), **more):
    chronicle.executed(born(pid, parent, **more), image(at, *argv), file)


def test_a_process_that_is_long_gone_is_known_with_its_arguments(chronicle):
    run(chronicle, 50, "curl", "https://api.example.test/")
    process = chronicle.recall(50, 1000, NOW + 1)
    assert (process.comm, process.exe) == ("curl", "/no/such/curl")
    assert process.argv == ("curl", "https://api.example.test/")


def test_what_it_was_at_the_moment_of_the_connection_counts(chronicle):
    run(chronicle, 50, "sh", "-c", "x", at=NOW)
    run(chronicle, 50, "curl", at=NOW + 2 * SECOND)
    assert chronicle.recall(50, 1000, NOW + SECOND).comm == "sh"
    assert chronicle.recall(50, 1000, NOW + 3 * SECOND).comm == "curl"
    assert chronicle.changed_since(50, NOW + SECOND)
    assert not chronicle.changed_since(50, NOW + 3 * SECOND)


def test_a_forked_child_runs_what_its_parent_runs(chronicle):
    run(chronicle, 50, "python3", "pool.py")
    chronicle.forked(born(51, parent=50, at=NOW + 5))
    process = chronicle.recall(51, 1000, NOW + 9)
    assert process.argv == ("python3", "pool.py")
    assert [one.pid for one in process.ancestry] == [50]


def test_the_ancestry_is_told_though_every_ancestor_is_gone(chronicle):
    run(chronicle, 10, "init", parent=0)
    run(chronicle, 11, "bash", parent=10)
    run(chronicle, 12, "make", parent=11)
    run(chronicle, 13, "curl", parent=12)
    names = [one.comm for one in chronicle.recall(13, 1000, NOW + 1).ancestry]
    assert names == ["make", "bash", "init"]


def test_a_pid_that_was_used_again_is_not_mixed_up(chronicle):
    run(chronicle, 50, "old", at=NOW)
    run(chronicle, 50, "new", at=NOW + 9 * SECOND)
    fresh = Biography(50, 1, boottime(NOW + 9 * SECOND), 1000, None, 0, ())
    chronicle.executed(fresh, image(NOW + 9 * SECOND, "new"), (0, 0))
    assert chronicle.recall(50, 1000, NOW + SECOND) is None
    assert chronicle.recall(50, 1000, NOW + 10 * SECOND).comm == "new"


def test_a_pid_that_nobody_told_of_is_not_invented(chronicle):
    assert chronicle.recall(99, 0, NOW) is None


def test_secrets_in_arguments_are_not_kept(chronicle):
    run(chronicle, 50, "curl", "-u", "ada:hunter2")
    assert "hunter2" not in repr(chronicle.recall(50, 1000, NOW + 1))


def test_the_path_is_the_one_behind_the_inode(chronicle, tmp_path):
    program = tmp_path / "program"
    program.write_text("x")
    link = tmp_path / "link"
    link.symlink_to(program)
    status = os.stat(program)
    told = image(NOW, "link", exe=str(link))
    chronicle.executed(born(50), told, (status.st_dev, status.st_ino))
    assert chronicle.recall(50, 1000, NOW + 1).exe == str(program)


def test_parents_that_play_each_other_s_child_end_the_ancestry(chronicle):
    run(chronicle, 50, "a", parent=51)
    run(chronicle, 51, "b", parent=50)
    assert len(chronicle.recall(50, 1000, NOW + 1).ancestry) <= 64


def test_what_is_remembered_is_bounded(chronicle, monkeypatch):
    monkeypatch.setattr("milecastle.host.chronicle.REMEMBERED", 100)
    for pid in range(1, 1000):
        run(chronicle, pid, "x")
    assert len(chronicle) == 100
    assert chronicle.recall(999, 1000, NOW + 1)


def test_where_something_was_missed_nobody_is_taken_for_what_they_were_before(chronicle):
    """An exec may be among what was not told: rather no answer than the wrong program."""
    run(chronicle, 50, "shell", at=NOW)
    before, after = NOW + SECOND, NOW + 2 * SECOND
    chronicle.missed(before, after)
    assert chronicle.recall(50, 1000, before).comm == "shell"
    assert chronicle.recall(50, 1000, before + 1) is None
    assert chronicle.changed_since(50, before + 1)  # so what /proc says now counts for nothing
    assert not chronicle.changed_since(50, after)
    run(chronicle, 50, "told", at=after + 1)
    assert chronicle.recall(50, 1000, after + 2).comm == "told"


def test_a_program_with_the_inode_of_one_that_is_gone_has_its_own_path(chronicle, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for program in (old, new):
        program.write_text("x")
        status = os.stat(program)  # `new` is given the number that `old` had
        file = (status.st_dev, 7)
        chronicle._is = lambda path, _file: Path(path).exists()
        chronicle.executed(born(50), image(NOW, "x", exe=str(program)), file)
        assert chronicle.recall(50, 1000, NOW + 1).exe == str(program)
        program.unlink()

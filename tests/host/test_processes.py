import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from milecastle.host import ExecutableHashes, ProcessTable


@pytest.fixture
def table():
    return ProcessTable(ExecutableHashes())


def now():
    return time.monotonic_ns()


def argv_of(table, child, program):
    """Wait until exec() is through: a process has no arguments while it is replaced."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        process = table.identify(child.pid, os.getuid(), now())
        if process and process.argv[:1] == (program,):
            return process.argv
    pytest.fail(f"{program} was never seen")


def test_a_process_is_known_with_its_whole_ancestry(table):
    process = table.identify(os.getpid(), os.getuid(), now())
    assert process.pid == os.getpid()
    assert process.exe == os.path.realpath(sys.executable)
    assert process.argv
    assert process.cwd == str(Path.cwd())
    assert process.ancestry[0].pid == os.getppid()
    assert process.ancestry[-1].pid == 1


def test_the_start_time_is_right_to_a_second(table):
    before = time.time()
    with subprocess.Popen(["sleep", "5"]) as child:
        process = table.identify(child.pid, os.getuid(), now())
        child.kill()
    assert before - 1 <= process.started <= time.time() + 1


def test_a_pid_that_began_after_the_connection_is_somebody_else(table):
    opened = now()
    time.sleep(0.05)
    with subprocess.Popen(["sleep", "5"]) as child:
        assert table.identify(child.pid, os.getuid(), opened) is None
        assert table.identify(child.pid, os.getuid(), now()) is not None
        child.kill()


def test_a_process_that_is_gone_is_not_invented(table):
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert table.identify(child.pid, os.getuid(), now()) is None


def test_after_exec_the_same_pid_has_its_new_identity(table):
    script = "read line; exec sleep 5"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE) as child:
        assert argv_of(table, child, "sh")[:2] == ("sh", "-c")
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert argv_of(table, child, "sleep") == ("sleep", "5")
        child.kill()


def test_a_deleted_executable_is_marked_and_still_hashed(table, tmp_path):
    copy = tmp_path / "sleeper"
    copy.write_bytes(Path("/bin/sleep").read_bytes())
    copy.chmod(0o755)
    with subprocess.Popen([str(copy), "5"]) as child:
        copy.unlink()
        process = table.identify(child.pid, os.getuid(), now())
        digest = ExecutableHashes().sha256(child.pid)
        child.kill()
    assert "deleted" in process.marks
    assert process.exe == str(copy)
    assert len(digest) == 64


def test_endless_hostile_arguments_are_cut(table):
    argv = ["sleep", "5"] + ["\x1b[31m" * 100] * 1000
    with subprocess.Popen(["sh", "-c", "sleep 5 #", *argv]) as child:
        process = table.identify(child.pid, os.getuid(), now())
        child.kill()
    assert sum(map(len, process.argv)) <= 16 << 10


def test_a_comm_with_parentheses_and_spaces_is_read_whole(tmp_path):
    folder = tmp_path / "7"
    folder.mkdir()
    fields = ["S", "1"] + ["0"] * 17 + ["4711"] + ["0"] * 20
    (folder / "stat").write_text("7 (a) b (c) " + " ".join(fields))
    stat = ProcessTable(ExecutableHashes(), proc=tmp_path).stat(7)
    assert (stat.comm, stat.ppid, stat.start_ticks) == ("a) b (c", 1, 4711)


@pytest.mark.parametrize(("state", "flags", "ended"), [
    ("R", 0x400000, False), ("Z", 0x40000C, True), ("R", 0x400004, True), ("S", 0x400100, False),
])  # fmt: skip
def test_a_process_that_is_on_its_way_out_has_ended(tmp_path, state, flags, ended):
    """Its executable is gone already while it is called running still."""
    folder = tmp_path / "7"
    folder.mkdir()
    fields = [state, "1", "1", "1", "0", "-1", str(flags), *["0"] * 12, "4711", "0"]
    (folder / "stat").write_text("7 (bash) " + " ".join(fields))
    assert ProcessTable(ExecutableHashes(), proc=tmp_path).stat(7).ended is ended


@pytest.mark.parametrize("text", ["", "7", "7 (", "7 (x) S", "7 (x) S y " + "0 " * 30])
def test_a_broken_stat_file_is_no_process(tmp_path, text):
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "stat").write_text(text)
    assert ProcessTable(ExecutableHashes(), proc=tmp_path).stat(7) is None


def test_a_hash_is_computed_once_per_file(table, monkeypatch):
    hashes = ExecutableHashes()
    first = hashes.sha256(os.getpid())
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert hashes.sha256(os.getpid()) == first
    assert hashes.known(os.getpid()) == first


def test_a_process_that_has_ended_and_is_not_waited_for_tells_nothing_of_itself(table):
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert table.stat(child.pid).ended
        assert table.identify(child.pid, 0, time.monotonic_ns()) is None

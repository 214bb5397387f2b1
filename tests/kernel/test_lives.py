"""Processes that are gone before anybody can look: forks, execs and exits from the kernel."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from milecastle.kernel import Flow, Kernel, LifeKind
from milecastle.kernel.layout import ExecutionRecord, LifeRecord
from milecastle.kernel.lives import Life

from .conftest import SERVICE
from .lab import SERVICE4, entering, sub_cgroup

FORK, EXEC, EXIT = LifeKind


@pytest.fixture(scope="module")
def opened():
    with sub_cgroup() as cgroup:
        kernel = Kernel.open(cgroup, processes=True)
        assert kernel.lacks == ()
        yield kernel, cgroup
        kernel.close()


@pytest.fixture
def watching(opened):
    kernel, cgroup = opened
    lives(kernel)
    return kernel, cgroup


def lives(kernel: Kernel) -> list[Life]:
    found = []
    while list(kernel.events()) or (more := kernel.lives()):
        found += more
    return found


def run(cgroup, *command, **more) -> subprocess.CompletedProcess:
    return subprocess.run(entering(cgroup, None, list(command)), check=True, **more)


@pytest.mark.root
def test_an_exec_says_what_is_executed_by_whom(watching):
    kernel, cgroup = watching
    before = time.monotonic_ns()
    run(cgroup, "setpriv", "--reuid=65534", "--clear-groups", "/bin/echo", "a b", "", "c")
    echo = [life for life in lives(kernel) if life.kind is EXEC][-1]
    assert echo.program.filename == "/bin/echo"
    assert echo.program.argv == ("/bin/echo", "a b", "", "c")
    assert not echo.program.argv_cut
    status = os.stat("/bin/echo")
    assert (echo.program.inode, echo.program.device) == (status.st_ino, status.st_dev)
    assert (echo.comm, echo.uid, echo.cgroup) == ("echo", 65534, cgroup.stat().st_ino)
    assert echo.parent == os.getpid()
    assert before < echo.at_ns < time.monotonic_ns()


@pytest.mark.root
def test_a_script_and_its_interpreter_are_both_told(watching, tmp_path):
    kernel, cgroup = watching
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\n:\n")
    script.chmod(0o755)
    run(cgroup, script, "word")
    told = [life.program for life in lives(kernel) if life.kind is EXEC][-1]
    assert (told.filename, told.interpreter) == (str(script), "/bin/sh")
    assert told.argv == ("/bin/sh", "-e", str(script), "word")
    assert told.inode == os.stat("/bin/sh").st_ino


@pytest.mark.root
def test_arguments_that_are_too_long_are_cut_and_said_to_be(watching):
    kernel, cgroup = watching
    run(cgroup, "/bin/true", "x" * 5000)
    told = [life.program for life in lives(kernel) if life.kind is EXEC][-1]
    assert told.argv_cut
    assert told.argv[0] == "/bin/true"
    assert set(told.argv[1]) == {"x"}


@pytest.mark.root
def test_a_program_that_was_deleted_or_never_had_a_path_is_marked(watching):
    kernel, cgroup = watching
    script = """
import os
fd = os.memfd_create("hidden", 0)
os.write(fd, open("/bin/true", "rb").read())
os.execve(f"/proc/self/fd/{fd}", ["innocent"], {})
"""
    run(cgroup, "/usr/bin/python3", "-I", "-S", "-c", script)
    told = [life.program for life in lives(kernel) if life.kind is EXEC]
    assert [program.unlinked for program in told[-2:]] == [False, True]
    assert told[-1].argv == ("innocent",)


@pytest.mark.root
def test_a_fork_and_an_exit_name_the_same_process(watching):
    kernel, cgroup = watching
    script = "import os\npid = os.fork()\nif pid: os.wait(); print(pid)"
    done = run(cgroup, "/usr/bin/python3", "-I", "-S", "-c", script, capture_output=True, text=True)
    child = int(done.stdout)
    fork, end = [life for life in lives(kernel) if life.pid == child]
    assert (fork.kind, end.kind) == (FORK, EXIT)
    assert fork.started_ns == end.started_ns
    assert fork.parent == end.parent


@pytest.mark.root
def test_threads_are_no_processes(watching):
    kernel, cgroup = watching
    script = "import threading\nt = threading.Thread(target=print); t.start(); t.join()"
    run(cgroup, "/usr/bin/python3", "-I", "-S", "-c", script, capture_output=True)
    kinds = [life.kind for life in lives(kernel)]
    assert kinds.count(FORK) == 0
    assert kinds.count(EXIT) == 1


@pytest.mark.root
def test_processes_outside_the_cgroup_are_left_alone(watching):
    kernel, _ = watching
    subprocess.run(["/bin/true"], check=True)
    assert lives(kernel) == []


@pytest.mark.root
def test_what_a_process_was_is_known_before_its_connection(watching, lab):
    kernel, cgroup = watching
    kernel.learn(SERVICE4, SERVICE, 60)
    command = f"exec 3<>/dev/tcp/{SERVICE4}/443"
    for _ in range(40):
        subprocess.run(entering(cgroup, lab.near, ["bash", "-c", command]), check=True)
    flows = [event for event in kernel.events() if isinstance(event, Flow)]
    programs = {life.pid: life.program for life in kernel.lives() if life.kind is EXEC}
    assert len(flows) == 40
    assert all(programs[flow.pid].argv == ("bash", "-c", command) for flow in flows)


MANY = """
import os, socket, sys
def child():
    s = socket.socket(); s.setblocking(False)
    s.connect_ex((sys.argv[1], 443)); s.close()
    s = socket.socket(); s.setblocking(False)
    s.connect_ex((sys.argv[1], 443))
    os._exit(0)
alive = 0
for number in range(1000):
    if os.fork() == 0:
        child()
    alive += 1
    if alive == 64:
        os.wait(); alive -= 1
while alive:
    os.wait(); alive -= 1
"""


@pytest.mark.root
def test_two_thousand_connections_of_a_thousand_processes_all_have_their_owner(watching, lab):
    kernel, cgroup = watching
    kernel.learn(SERVICE4, SERVICE, 60)
    with subprocess.Popen(
        entering(cgroup, lab.near, ["/usr/bin/python3", "-I", "-S", "-c", MANY, SERVICE4])
    ) as parent:
        flows, seen = [], []
        while parent.poll() is None or len(flows) < 2000:
            new = [event for event in kernel.events() if isinstance(event, Flow)]
            flows += new
            seen += kernel.lives()
            if not new and parent.poll() is not None and not list(kernel.events()):
                break
            time.sleep(0.002)
    forks = {life.pid: life for life in seen if life.kind is FORK}
    assert len(flows) == 2000
    assert len({flow.pid for flow in flows}) == 1000
    assert all(forks[flow.pid].parent == parent.pid for flow in flows)
    counters = kernel.counters()
    assert counters["flow_unreported"] == counters["process_unreported"] == 0
    assert counters["life_forgotten"] == 0


@pytest.mark.root
def test_without_being_asked_no_process_is_watched(gate):
    gate.run({"do": "tcp", "to": SERVICE4})
    list(gate.kernel.events())
    assert gate.kernel.lives() == []


def test_a_record_that_is_cut_off_is_refused():
    with pytest.raises(ValueError, match="a record of 3 bytes"):
        Life.from_bytes(b"abc")
    with pytest.raises(ValueError):
        Life.from_bytes(bytes(LifeRecord(kind=EXEC)))
    with pytest.raises(ValueError, match="LifeKind"):
        Life.from_bytes(bytes(LifeRecord(kind=9)))


def test_devices_are_as_stat_has_them():
    record = ExecutionRecord(device=254 << 20 | 1)
    record.life.kind = EXEC
    assert Life.from_bytes(bytes(record)).program.device == os.makedev(254, 1)

"""Checkpoints in real network namespaces; the kernel's side is the fake."""

import contextlib
import os
import socket
import subprocess
import time

import pytest

from milecastle.daemon.namespaces import Namespaces
from milecastle.host import namespaces as host
from milecastle.kernel.fake import FakeKernel

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="making a network namespace needs root"),
]


class Resident:
    """A process alone in a network namespace of its own."""

    def __init__(self, loopback=True):
        up = "ip link set lo up; " if loopback else ""
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", f"{up}echo ready; exec sleep 60"],
            stdout=subprocess.PIPE,
        )
        self.process.stdout.readline()
        self.pid = self.process.pid
        self.inode = host.of_process(self.pid)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def resident():
    made = []

    def make(**options):
        made.append(Resident(**options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def followed():
    """Return Namespaces over a fake kernel, with what it told of."""
    kernel, told = FakeKernel(), []
    with socket.socket() as probe:  # a port that is free here and therefore likely there
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    one = Namespaces(
        kernel, "/", {4: port, 6: port},
        added=lambda space: told.append(("added", space.inode)),
        removed=lambda space: told.append(("removed", space.inode)),
    )  # fmt: skip
    one.told = told
    yield one
    one.close()
    kernel.close()


def present(*residents):
    return {one.inode: [one.pid] for one in residents}


def test_a_namespace_with_a_process_gets_a_checkpoint_inside_it(followed, resident):
    one = resident()
    followed.sweep(present(one))
    (served,) = followed.served
    assert followed.told == [("added", one.inode)]
    port = served.listeners[0].port
    connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('in')"
    inside = subprocess.run(
        ["nsenter", f"--net=/proc/{one.pid}/ns/net", "python3", "-c", connect],
        capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    assert inside.stdout == "in\n", inside.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)  # not in ours


def test_both_families_listen_and_know_their_namespace(followed, resident):
    followed.sweep(present(resident()))
    (served,) = followed.served
    assert [one.family for one in served.listeners] == [4, 6]
    with socket.socket() as ours:
        from milecastle.host import netns_cookie

        assert {one.netns for one in served.listeners} == {served.netns} != {netns_cookie(ours)}


def test_a_namespace_whose_last_process_ended_is_given_up(followed, resident):
    one = resident()
    followed.sweep(present(one))
    descriptors = len(os.listdir("/proc/self/fd"))
    followed.sweep({})
    assert followed.served == []
    assert followed.told[-1] == ("removed", one.inode)
    assert len(os.listdir("/proc/self/fd")) == descriptors - 3  # two listeners and the namespace


def test_without_loopback_there_is_no_checkpoint_and_it_says_why(followed, resident):
    one = resident(loopback=False)
    followed.sweep(present(one))
    assert followed.served == []
    assert "loopback" in followed.unfit[one.inode]
    subprocess.run(
        ["nsenter", f"--net=/proc/{one.pid}/ns/net", "ip", "link", "set", "lo", "up"], check=True
    )
    followed.sweep(present(one))
    assert len(followed.served) == 1
    assert followed.unfit == {}


def test_a_dialled_socket_is_in_the_namespace_it_was_asked_for(followed, resident):
    followed.sweep(present(resident()))
    (served,) = followed.served
    with followed.dial(served.netns, 4) as sock:
        from milecastle.host import netns_cookie

        assert netns_cookie(sock) == served.netns
    with pytest.raises(LookupError):
        followed.dial(served.netns + 1, 4)


def test_the_daemon_itself_never_leaves_its_namespace(followed, resident):
    before = os.stat("/proc/self/ns/net").st_ino
    followed.sweep(present(resident(), resident()))
    deadline = time.monotonic() + 2  # a thread that was joined is still a task for a moment
    while namespaces_of_threads() != {before} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert namespaces_of_threads() == {before}


def namespaces_of_threads():
    found = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            found.add(os.stat(f"/proc/self/task/{task}/ns/net").st_ino)
    return found


def test_processes_outside_the_watched_cgroup_are_left_alone(followed, resident):
    followed._watched = "/somewhere/else/"
    followed.sweep(present(resident()))
    assert followed.served == []


def test_many_namespaces_leave_no_thread_behind(followed, resident):
    residents = [resident() for _ in range(20)]
    followed.sweep(present(*residents))
    assert len(followed.served) == 20
    deadline = time.monotonic() + 2
    while len(os.listdir("/proc/self/task")) > 9 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) < 10, "threads stay behind"


class Named:
    """Exclusions that answer what a test says."""

    def __init__(self, answer):
        self.answer = answer

    def cover(self, paths):
        assert [*paths]
        return self.answer


def test_an_excluded_namespace_is_left_alone_and_the_kernel_is_told(followed, resident):
    followed._exclusions = Named(True)
    one = resident()
    descriptors = len(os.listdir("/proc/self/fd"))
    followed.sweep(present(one))
    (alone,) = followed.alone
    assert (followed.served, followed.told) == ([], [])
    assert followed._kernel.excluded == {alone.netns}
    assert len(os.listdir("/proc/self/fd")) == descriptors + 1
    followed.sweep({})
    assert (followed.alone, followed._kernel.excluded) == ([], set())
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_an_exclusion_that_comes_or_goes_later_is_followed(followed, resident):
    followed._exclusions = Named(False)
    one = resident()
    followed.sweep(present(one))
    followed._exclusions.answer = True
    followed.sweep(present(one))
    assert (followed.served, len(followed.alone)) == ([], 1)
    assert followed.told == [("added", one.inode), ("removed", one.inode)]
    followed._exclusions.answer = False
    followed.sweep(present(one))
    assert (len(followed.served), followed.alone) == (1, [])
    assert followed._kernel.excluded == set()


def test_a_namespace_waits_a_little_for_its_pod_s_name(followed, resident, monkeypatch):
    followed._exclusions = Named(None)
    one = resident()
    followed.sweep(present(one))
    followed.meet(one.pid)
    assert (followed.served, followed.alone) == ([], [])
    monkeypatch.setattr("milecastle.daemon.namespaces.PATIENCE", 0.0)
    followed.sweep(present(one))
    assert len(followed.served) == 1, "who asks for names gets none: it is watched all the same"


def test_a_namespace_that_is_met_while_a_survey_runs_is_not_given_up(followed, resident):
    before = followed._survey({}), followed._held
    one = resident()
    followed.meet(one.pid)
    followed._settle(*before)
    assert [served.inode for served in followed.served] == [one.inode]
    followed.sweep({})
    assert followed.served == []

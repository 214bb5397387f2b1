"""Who opened a connection, asked of everything that the daemon has, on the real kernel."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from milecastle.daemon.attribution import Attributor
from milecastle.host import Chronicle, ExecutableHashes, ProcessTable
from milecastle.kernel import Flow, Kernel
from milecastle.model import Attribution, Grade

from .conftest import SERVICE
from .lab import SERVICE4, entering, sub_cgroup

pytestmark = pytest.mark.root

BASH = os.path.realpath("/bin/bash")
BRIEF = f"exec 3<>/dev/tcp/{SERVICE4}/443; exec 3>&-; exec 3<>/dev/tcp/{SERVICE4}/443"
SPAWNING = f"""
import os, sys
alive = 0
for number in range(int(sys.argv[1])):
    os.posix_spawn({BASH!r}, ["bash", "-c", {BRIEF!r}, f"brief-{{number}}"], os.environ)
    alive += 1
    if alive == 64:
        os.wait(); alive -= 1
while alive:
    os.wait(); alive -= 1
"""


class Watch:
    """Takes what the kernel tells as the daemon does."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.attributor = Attributor(
            ProcessTable(ExecutableHashes()), Chronicle(), lambda number: str(number)
        )
        self.known: list[Attribution] = []

    def take(self) -> int:
        """Take what is there; return how many connections were among it."""
        events, lives = list(self.kernel.events()), self.kernel.lives()
        self.attributor.witness(lives, self.kernel.lives_lost())
        flows = [event for event in events if isinstance(event, Flow)]
        self.known += map(self.attributor.attribute, flows)
        return len(flows)

    def until_ended(self, child: subprocess.Popen[str], count: int) -> list[Attribution]:
        deadline = time.monotonic() + 60
        while len(self.known) < count and time.monotonic() < deadline:
            if not self.take() and child.poll() is not None and not self.take():
                break
            time.sleep(0.001)
        child.wait(10)
        self.take()
        return self.known


@pytest.fixture(scope="module")
def watched(lab):
    with sub_cgroup() as cgroup:
        kernel = Kernel.open(cgroup, processes=True)
        kernel.learn(SERVICE4, SERVICE, 3600)
        yield kernel, cgroup, lab
        kernel.close()


def test_two_thousand_connections_of_a_thousand_programs_are_all_attributed_right(watched):
    """They are started as vfork() does it, 64 at a time, connect twice and end at once."""
    kernel, cgroup, lab = watched
    watch, count = Watch(kernel), 1000
    before = kernel.counters()
    command = ["/usr/bin/python3", "-I", "-S", "-c", SPAWNING, str(count)]
    with subprocess.Popen(entering(cgroup, lab.near, command), text=True) as parent:
        known = watch.until_ended(parent, 2 * count)
    assert len(known) == 2 * count
    assert {one.grade for one in known} == {Grade.EXACT}
    assert {one.process.exe for one in known} == {BASH}
    assert {one.process.ancestry[0].pid for one in known} == {parent.pid}
    tags = sorted(one.process.argv for one in known)
    assert tags == sorted([("bash", "-c", BRIEF, f"brief-{n}") for n in range(count)] * 2)
    lost = {name: value - before[name] for name, value in kernel.counters().items()}
    for name in ("flow_unreported", "flow_lost", "process_unreported", "life_forgotten"):
        assert lost[name] == 0


def test_what_a_process_executes_after_its_connection_is_not_who_connected(watched):
    kernel, cgroup, lab = watched
    watch = Watch(kernel)
    script = f"exec 3<>/dev/tcp/{SERVICE4}/443; exec /bin/true innocent"
    child = subprocess.Popen(entering(cgroup, lab.near, ["bash", "-c", script]), text=True)
    (known,) = watch.until_ended(child, 1)
    assert known.process.exe == BASH
    assert known.process.argv == ("bash", "-c", script)
    assert known.process.pid == child.pid


def test_two_programs_that_had_the_same_inode_one_after_the_other_are_told_apart(watched, tmp_path):
    """As compilers leave them: the second file gets the number of the first, deleted one."""
    kernel, cgroup, lab = watched
    inodes, paths = set(), []
    for number in range(2):
        program = tmp_path / f"program-{number}"
        program.write_bytes(Path(BASH).read_bytes())
        program.chmod(0o755)
        inodes.add(program.stat().st_ino)
        watch = Watch(kernel)
        connect = f"exec 3<>/dev/tcp/{SERVICE4}/443"
        command = entering(cgroup, lab.near, [str(program), "-c", connect])
        child = subprocess.Popen(command, text=True)
        (known,) = watch.until_ended(child, 1)
        paths.append(known.process.exe)
        program.unlink()
    assert paths == [str(tmp_path / "program-0"), str(tmp_path / "program-1")]
    if len(inodes) > 1:
        pytest.skip("this file system gave the second file another number")

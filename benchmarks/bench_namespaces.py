"""What network namespaces cost the daemon: descriptors, memory, and the time of a sweep.

    .venv/bin/python benchmarks/bench_namespaces.py [--quick]

Needs root. Each namespace holds one sleeping process in a cgroup of this run; the kernel's side is
the fake, the sockets are real. A namespace may cost three descriptors (two listening sockets and
the namespace itself), and a sweep must stay a small part of the second between two: otherwise the
exit code is 1. Everything is gone afterwards.
"""

from __future__ import annotations

import gc
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

from tests.lab import cgroups  # noqa: E402

from milecastle.daemon.cgroups import inside  # noqa: E402
from milecastle.daemon.exclusions import Exclusions  # noqa: E402
from milecastle.daemon.namespaces import SWEEP_SECONDS, Namespaces  # noqa: E402
from milecastle.kernel.fake import FakeKernel  # noqa: E402
from milecastle.settings import Exclusion  # noqa: E402

COUNTS = (10, 50, 200)
SWEEPS = 20
DESCRIPTORS = 3.0
"""A namespace may cost so many."""
SHARE = 0.05
"""Of one CPU that sweeps may take."""
RESIDENT = 'echo 0 > "$0/cgroup.procs"; ip link set lo up; echo ready; exec sleep 600'


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident_kib() -> float:
    gc.collect()
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(fields["VmRSS"].split()[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def inhabit(stack: ExitStack, group: Path, count: int) -> None:
    """Start ``count`` processes, each alone in a network namespace; their cgroup ends them."""
    command = ["unshare", "--net", "sh", "-c", RESIDENT, str(group)]
    for _ in range(count):
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout and child.stdout.readline() == b"ready\n"
        child.stdout.close()
        stack.callback(child.wait)
        stack.callback(child.kill)


def timed(act) -> tuple[float, object]:
    """Return the milliseconds of CPU time that ``act`` took, and its result."""
    before = time.thread_time()
    result = act()
    return (time.thread_time() - before) * 1e3, result


def measure(count: int) -> dict[str, float]:
    kernel, port = FakeKernel(), free_port()
    with cgroups.tree(f"milecastle-bench-{os.getpid()}") as group, ExitStack() as stack:
        inhabit(stack, group, count)
        # an exclusion that fits nobody: the dearer way, every process's path is read
        exclusions = Exclusions([Exclusion(cgroup=("/nobody",))], lambda _path: None)
        followed = Namespaces(
            kernel, inside(group), {4: port, 6: port}, lambda _: None, lambda _: None, exclusions
        )
        before = descriptors(), resident_kib()
        first, _ = timed(lambda: followed._settle(followed._survey(), set()))
        assert len(followed.served) == count, followed.unfit
        after = descriptors(), resident_kib()
        surveys, settlings = [], []
        for _ in range(SWEEPS):
            took, found = timed(followed._survey)
            surveys.append(took)
            settlings.append(timed(lambda found=found: followed._settle(found, followed._held))[0])
        followed.close()
        left = descriptors() - before[0]
    kernel.close()
    return {
        "namespaces": count,
        "descriptors each": (after[0] - before[0]) / count,
        "KiB each": (after[1] - before[1]) / count,
        "taken up, CPU ms each": first / count,
        "sweep in a thread, CPU ms": statistics.median(surveys),
        "of it on the event loop": statistics.median(settlings),
        "descriptors left": left,
    }


def main() -> int:
    if os.geteuid() != 0:
        print("network namespaces need root: run it with sudo")
        return 2
    counts = COUNTS[:2] if "--quick" in sys.argv else COUNTS
    rows = [measure(count) for count in counts]
    for name in rows[0]:
        print(f"{name:<28}" + "".join(f"{row[name]:>10.2f}" for row in rows))
    good = all(
        row["descriptors each"] <= DESCRIPTORS
        and not row["descriptors left"]
        and row["sweep in a thread, CPU ms"] + row["of it on the event loop"]
        <= SWEEP_SECONDS * 1000 * SHARE
        for row in rows
    )
    print("as it should be" if good else "more than it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

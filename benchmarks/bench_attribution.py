"""How long a worker waits for "who is this?", and what the life of a process costs.

    .venv/bin/python benchmarks/bench_attribution.py [--quick]

Root, in a sub-cgroup and namespaces of its own. Three processes as in a real run: a client that
connects at a rate, a worker that accepts at the checkpoint and asks over a unix socket, and the
daemon's session, attribution and hooks, which answer. The round trip is the worker's: from its
question to the answer. Then the same beside 1,000 more living processes, and the cost of an exec
with and without the hooks (pairs, in turn) and by the kernel's own count.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent"), str(ROOT / "benchmarks")]

from bench_connect import STEADY, cost, row  # noqa: E402
from tests.kernel import lab as places  # noqa: E402

from milecastle import wire  # noqa: E402
from milecastle.daemon.attribution import Attributor  # noqa: E402
from milecastle.daemon.peer import Peer  # noqa: E402
from milecastle.daemon.workers import Shared, WorkerSession  # noqa: E402
from milecastle.host import Chronicle, ExecutableHashes, ProcessTable  # noqa: E402
from milecastle.kernel import Flow, Kernel, libbpf  # noqa: E402
from milecastle.kernel.loader import TRACEPOINTS  # noqa: E402
from milecastle.model import Standing  # noqa: E402

SERVICE = 7
SPAWN = """
import os, sys, time
for line in sys.stdin:
    took = []
    for _ in range(int(line)):
        before = time.perf_counter_ns()
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        took.append(time.perf_counter_ns() - before)
    took.sort()
    print(took[len(took) // 2], flush=True)
"""


def worker(line: int, listener: int, netns: int, count: int) -> None:
    """Accept ``count`` connections, ask who each is, print p50, p99, and how many were answered."""
    daemon, decoder = socket.socket(fileno=line), wire.Decoder()
    accepting = socket.socket(fileno=listener)
    accepting.settimeout(3)

    def ask(number: int, kind: str, **body: object) -> wire.Frame:
        daemon.sendall(wire.encode(wire.Frame(number, kind, body)))
        while True:
            for frame in decoder.feed(daemon.recv(1 << 16)):
                if frame.id == number:
                    return frame

    ask(1, "hello", version=wire.VERSION)
    took, known = [], 0
    with contextlib.suppress(TimeoutError):
        for number in range(2, count + 2):
            peer, (host, port, *_) = accepting.accept()
            before = time.perf_counter_ns()
            answer = ask(number, "attribute", address=host, port=port, netns=netns)
            took.append((time.perf_counter_ns() - before) / 1000)
            known += answer.kind == "ok" and answer.body["result"]["grade"] == "exact"
            peer.close()
    quantiles = statistics.quantiles(took, n=100)
    print(len(took), known, round(quantiles[49]), round(quantiles[98]), flush=True)


class Side:
    """The daemon's side of a worker."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.attributor = Attributor(
            ProcessTable(ExecutableHashes()), Chronicle(), lambda number: f"service-{number}"
        )
        self.flows = 0
        self.shared = Shared(
            kernel=kernel,
            attributor=self.attributor,
            catch_up=self.catch_up,
            names=None,  # type: ignore[arg-type]
            recorder=None,  # type: ignore[arg-type]
            listeners=(),
            namespaces=SimpleNamespace(served=()),  # type: ignore[arg-type]
            standing=lambda _service: Standing.TOLERATED,
            configuration=dict,
            serving=lambda: None,
        )

    def catch_up(self) -> None:
        events, lives = list(self.kernel.events()), self.kernel.lives()
        self.attributor.witness(lives, self.kernel.lives_lost())
        for event in events:
            if isinstance(event, Flow):
                self.flows += 1
                self.attributor.attribute(event)


async def round_trips(kernel, lab, cgroup, check, rate: int, count: int) -> str:
    """Return what a worker measured while connections came at this rate."""
    side = Side(kernel)
    side.catch_up()
    side.flows = 0
    ours, theirs = socket.socketpair()
    netns = places.netns_cookie(lab.near)
    command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    command += [str(theirs.fileno()), str(check.fileno()), str(netns), str(count)]
    asks = subprocess.Popen(
        command, pass_fds=[theirs.fileno(), check.fileno()], stdout=subprocess.PIPE, text=True
    )
    theirs.close()
    loop = asyncio.get_running_loop()
    session = asyncio.create_task(WorkerSession(Peer(ours), side.shared).serve())
    loop.add_reader(kernel.fileno(), side.catch_up)
    before = kernel.counters()
    connects = [sys.executable, "-I", "-S", "-c", STEADY, places.NEAR4, str(rate), str(count)]
    client = subprocess.Popen(
        places.entering(cgroup, lab.near, connects), stdout=subprocess.PIPE, text=True
    )
    while client.poll() is None or asks.poll() is None:
        kernel.beat(time.monotonic_ns() + 10**10)
        await asyncio.sleep(0.2)
    side.catch_up()
    loop.remove_reader(kernel.fileno())
    session.cancel()
    elapsed = float(client.stdout.read())
    arrived, known, p50, p99 = map(int, asks.stdout.read().split())
    after = kernel.counters()
    lost = sum(after[name] - before[name] for name in ("flow_unreported", "process_unreported"))
    return (
        f"{count / elapsed:>6.0f}/s  {arrived} arrived, {known} exact, {side.flows} recorded, "
        f"{lost} lost; p50 {p50} us, p99 {p99} us"
    )


@contextlib.contextmanager
def living(cgroup: Path, count: int):
    """So many processes more."""
    script = f"for i in $(seq {count}); do sleep 600 & done; echo; wait"
    command = places.entering(cgroup, None, ["sh", "-c", script])
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        child.stdout.readline()
        try:
            yield
        finally:
            os.killpg(child.pid, 15)


class Lives:
    """The tracepoints of processes, attached and detached at will."""

    def __init__(self, kernel: Kernel) -> None:
        self.programs = {name: kernel._loaded.programs[name] for name in TRACEPOINTS}
        for name in TRACEPOINTS:
            os.close(kernel._loaded.links.pop(name))
        self.links: list[int] = []

    def set(self, on: bool) -> None:
        while self.links and not on:
            os.close(self.links.pop())
        if on and not self.links:
            opened = libbpf.library().bpf_raw_tracepoint_open
            self.links = [opened(TRACEPOINTS[n].encode(), fd) for n, fd in self.programs.items()]
            assert min(self.links) >= 0


def executions(kernel: Kernel, cgroup: Path, pairs: int) -> None:
    """Print what an exec costs."""
    hooks = Lives(kernel)
    command = places.entering(cgroup, None, [sys.executable, "-I", "-S", "-c", SPAWN])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as child:

        def measure() -> float:
            child.stdin.write("100\n")
            child.stdin.flush()
            took = float(child.stdout.readline()) / 1000
            list(kernel.events())
            kernel.lives()
            return took

        measure()
        off, on = [], []
        for pair in range(pairs):
            for state in (False, True) if pair % 2 else (True, False):
                hooks.set(state)
                (on if state else off).append(measure())
        ratios = [b / a for a, b in zip(off, on, strict=True)]
        print(row("spawn, exec, exit, wait", "us", off, on, ratios, ""))
        hooks.set(True)
        counting = libbpf.library().bpf_enable_stats(0)
        for name, fd in hooks.programs.items():
            print(f"{'one run of ' + name:<34}{cost(fd, measure)}")
        os.close(counting)
        hooks.set(False)
        child.stdin.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--worker", nargs=4, type=int, help=argparse.SUPPRESS)
    options.add_argument("--quick", action="store_true", help="fewer connections and pairs")
    given = options.parse_args()
    if given.worker:
        worker(*given.worker)
        return
    if os.geteuid() != 0:
        sys.exit("bench_attribution needs root: it loads BPF programs in a sub-cgroup")
    with places.laboratory() as lab, places.sub_cgroup() as cgroup:
        kernel = Kernel.open(cgroup, processes=True)
        try:
            measure_all(kernel, lab, cgroup, quick=given.quick)
        finally:
            kernel.close()


def measure_all(kernel: Kernel, lab: places.Lab, cgroup: Path, *, quick: bool) -> None:
    check = places.inside(lab.near, socket.socket)
    check.bind(("127.0.0.1", 0))
    check.listen(4096)
    kernel.vouch(check.fileno())
    kernel.set_checkpoint(check.getsockname()[1], 0)
    kernel.set_service(SERVICE, True, False, False)
    kernel.learn(places.NEAR4, SERVICE, 3600)
    kernel.beat(time.monotonic_ns() + 10**10)
    seconds = 2 if quick else 5
    print("attribution, asked and answered over the worker's socket")
    for rate in (1000, 5000):
        told = asyncio.run(round_trips(kernel, lab, cgroup, check, rate, rate * seconds))
        print(f"{'':<22}{told}", flush=True)
    with living(cgroup, 1000):
        told = asyncio.run(round_trips(kernel, lab, cgroup, check, 1000, 1000 * seconds))
        print(f"{'1,000 more processes':<22}{told}", flush=True)
    kernel.forget(places.NEAR4)
    print(f"\n{'':<34}{'without':>8}{'with':>8} {'':<7} ratio (quartiles)")
    executions(kernel, cgroup, 10 if quick else 40)


if __name__ == "__main__":
    main()

"""What the hooks cost: connect() that we do not watch, to loopback, redirected; bulk TCP.

    .venv/bin/python benchmarks/bench_connect.py [--quick]

Root, in a sub-cgroup and namespaces of its own. The hooks are attached and detached between
batches of one process, in turn, so each ratio is of two neighbours in time; the table gives their
median and quartiles. Python's own share of a connect() (some 0.1 us) is in both.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

from tests.kernel import lab as places  # noqa: E402

from milecastle.kernel import Kernel, libbpf  # noqa: E402
from milecastle.kernel.loader import PROGRAMS  # noqa: E402

SERVICE = 7
BATCH = 500


def client() -> None:
    """Serve requests ``address port`` on stdin: time BATCH connects, answer the median in ns."""
    os.sched_setaffinity(0, {0})
    linger = bytes([1, 0, 0, 0, 0, 0, 0, 0])  # close with a reset: no TIME_WAIT
    for line in sys.stdin:
        address, port, listener = line.split()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        took = []
        with socket.socket(fileno=os.dup(int(listener))) as accepting:
            accepting.setblocking(False)
            for _ in range(BATCH):
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connect, to = sock.connect, (address, int(port))
                before = time.perf_counter_ns()
                connect(to)
                took.append(time.perf_counter_ns() - before)
                sock.close()
            try:
                while True:
                    accepting.accept()[0].close()
            except BlockingIOError:
                pass
        print(statistics.median(took), flush=True)


class Hooks:
    """The programs of a Kernel, attached and detached at will."""

    def __init__(self, kernel: Kernel, cgroup: int) -> None:
        self.programs = kernel._loaded.programs
        for fd in kernel._loaded.links.values():
            os.close(fd)
        kernel._loaded.links.clear()
        self.cgroup = cgroup
        self.links: list[int] = []
        self.create = libbpf.library().bpf_link_create
        self.create.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]

    def set(self, on: bool) -> None:
        while self.links and not on:
            os.close(self.links.pop())
        if on and not self.links:
            for name, fd in self.programs.items():
                if name in PROGRAMS:
                    self.links.append(self.create(fd, self.cgroup, PROGRAMS[name][1], None))
            assert min(self.links) >= 0


def paired(measure, hooks: Hooks, pairs: int) -> tuple[list[float], list[float], list[float]]:
    """Return values without hooks, with them, and the ratios with / without."""
    off, on = [], []
    for pair in range(pairs):
        for state in (False, True) if pair % 2 else (True, False):
            hooks.set(state)
            (on if state else off).append(measure())
    return off, on, [b / a for a, b in zip(off, on, strict=True)]


def row(name: str, unit: str, off, on, ratios, limit: str) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (
        f"{name:<34}{statistics.median(off):>8.2f}{statistics.median(on):>8.2f} {unit:<7}"
        f"{middle:>6.3f} ({low:.3f}-{high:.3f}) {limit}"
    )


def throughput(cgroup: Path, netns: Path, seconds: float) -> float:
    """Return iperf3's sent Gbit/s from the cgroup to the far namespace."""
    command = ["iperf3", "-c", places.SERVICE4, "-t", str(seconds), "-J"]
    done = subprocess.run(
        places.entering(cgroup, netns, command), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["end"]["sum_sent"]["bits_per_second"] / 1e9


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--quick", action="store_true", help="fewer pairs")
    given = options.parse_args()
    if given.client:
        client()
        return
    if os.geteuid() != 0:
        sys.exit("bench_connect needs root: it loads BPF programs in a sub-cgroup")
    pairs = 10 if given.quick else 40
    with places.laboratory() as lab, places.sub_cgroup() as cgroup:
        kernel = Kernel.open(cgroup)
        descriptor = os.open(cgroup, os.O_RDONLY)
        hooks = Hooks(kernel, descriptor)
        try:
            measure_all(kernel, hooks, lab, cgroup, pairs, given.quick)
        finally:
            hooks.set(False)
            os.close(descriptor)
            kernel.close()


def measure_all(kernel, hooks, lab, cgroup, pairs, quick) -> None:
    def listening(address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = places.inside(lab.near, lambda: socket.socket(family, socket.SOCK_STREAM))
        sock.bind((address, port))
        sock.listen(4096)
        return sock

    own = [listening(places.NEAR4, port) for port in (443, 8443)]
    own6 = listening(places.NEAR6, 443)
    loop = listening("127.0.0.1", 443)
    check = listening("127.0.0.1", 0)
    kernel.vouch(check.fileno())
    kernel.set_checkpoint(check.getsockname()[1], 0)
    for number in range(1, 2000):  # a map that is not empty
        kernel.learn(f"198.18.{number // 250}.{number % 250 + 1}", SERVICE, 3600)
    kernel.set_service(SERVICE, True, False, False)
    sockets = [*own, own6, loop, check]
    for sock in sockets:
        sock.set_inheritable(True)

    command = places.entering(
        cgroup, lab.near, [sys.executable, str(Path(__file__).resolve()), "--client"]
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, pass_fds=[s.fileno() for s in sockets], **pipes)

    def connects(address: str, port: int, listener: socket.socket, watched: bool = False):
        def run() -> float:
            kernel.beat(time.monotonic_ns() + 10**10)
            for _ in kernel.events():
                pass
            target = check if watched and hooks.links else listener
            child.stdin.write(f"{address} {port} {target.fileno()}\n")
            child.stdin.flush()
            return float(child.stdout.readline()) / 1000

        run()
        return run

    print(f"{'':<34}{'without':>8}{'with':>8} {'':<7} ratio (quartiles)")
    table = [
        ("connect, port not watched", connects(places.NEAR4, 8443, own[1]), "<= 1.10"),
        ("connect, address not watched", connects(places.NEAR4, 443, own[0]), "<= 1.10"),
        ("connect6, address not watched", connects(places.NEAR6, 443, own6), "<= 1.10"),
        ("connect, loopback", connects("127.0.0.1", 443, loop), "<= 1.05"),
    ]
    for name, measure, limit in table:
        print(row(name, "us", *paired(measure, hooks, pairs), limit), flush=True)
    kernel.learn(places.NEAR4, SERVICE, 3600)
    measure = connects(places.NEAR4, 443, own[0], watched=True)
    print(row("connect, redirected and recorded", "us", *paired(measure, hooks, pairs), ""))
    kernel.forget(places.NEAR4)
    child.stdin.close()
    child.wait()

    server = subprocess.Popen(
        ["nsenter", f"--net={lab.far}", "--", "iperf3", "-s"], stdout=subprocess.DEVNULL
    )
    time.sleep(0.3)
    try:
        bulk = paired(lambda: throughput(cgroup, lab.near, 1), hooks, 3 if quick else 8)
        print(row("bulk TCP (iperf3, veth)", "Gbit/s", *bulk, ">= 0.97"))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()

"""What the hooks cost: connect() that we do not watch, to loopback, redirected; bulk TCP.

Then what each program takes by the kernel's own count (BPF run-time statistics, which add some
20 ns to each run), and whether attribution keeps up with 5,000 connections in a second.

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

from milecastle.kernel import Kernel, Restriction, libbpf  # noqa: E402
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


def spent(fd: int) -> tuple[int, int]:
    """Return a program's run time in ns and its runs so far."""
    fields = dict(
        line.split(":\t") for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    )
    return int(fields["run_time_ns"]), int(fields["run_cnt"])


def cost(program: int, action) -> str:
    """Return what one run of the program took while ``action`` went on."""
    before = spent(program)
    action()
    took, runs = (b - a for a, b in zip(before, spent(program), strict=True))
    return f"{took / max(1, runs):>8.0f} ns" if runs else "       -"


def refused(lab, cgroup) -> None:
    """Try to connect 500 times, in one process."""
    script = (
        "import socket\nfor _ in range(500):\n s = socket.socket()\n"
        f" print(s.connect_ex(('{places.NEAR4}', 443)) == 1)\n"
    )
    command = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.check_output(places.entering(cgroup, lab.near, command), text=True)
    assert done == "True\n" * 500


def restrictions(cgroup: Path) -> dict[str, Restriction]:
    """Return what refuses `refused`: its user, its program, a cgroup above it."""
    program = Path(sys.executable).resolve().stat()
    above = cgroup.parent.stat().st_ino
    return {
        "user": Restriction(SERVICE, refuse=True, uid=0),
        "program": Restriction(SERVICE, refuse=True, program=(program.st_dev, program.st_ino)),
        "cgroup above": Restriction(SERVICE, refuse=True, cgroup=above, below=True),
    }


def answers(lab, cgroup, name: str) -> None:
    """Have 500 DNS answers with one address each arrive in the cgroup, over loopback."""
    question = b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + bytes(
        [0, 0, 1, 0, 1]
    )
    record = bytes.fromhex("c00c 0001 0001 0000012c 0004 c6336409")
    message = bytes.fromhex("0007 8180 0001 0001 0000 0000") + question + record
    command = ["/usr/bin/python3", "-I", "-S", *places.CLIENT, "resolve"]
    subprocess.run(
        places.entering(cgroup, lab.near, command),
        input=f"{message.hex()}\n" * 500,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )


STEADY = """
import socket, sys, time
linger = bytes([1, 0, 0, 0, 0, 0, 0, 0])
begin = time.perf_counter()
for number in range(int(sys.argv[3])):
    pause = begin + number / int(sys.argv[2]) - time.perf_counter()
    if pause > 0:
        time.sleep(pause)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    s.connect((sys.argv[1], 443))
    s.close()
print(time.perf_counter() - begin)
"""


def sustained(kernel, lab, cgroup, check, rate: int, seconds: int) -> str:
    """Connect at a rate; look up each connection where it arrives, and read each event."""
    netns = places.netns_cookie(lab.near)
    count = rate * seconds
    command = [sys.executable, "-I", "-S", "-c", STEADY, places.NEAR4, str(rate), str(count)]
    took, known, events, accepted = [], 0, 0, 0
    unreported = kernel.counters()["flow_unreported"]
    while list(kernel.events()):
        pass
    with subprocess.Popen(
        places.entering(cgroup, lab.near, command), stdout=subprocess.PIPE, text=True
    ) as child:
        check.settimeout(2)
        while accepted < count:
            kernel.beat(time.monotonic_ns() + 10**10)
            try:
                peer, (host, port) = check.accept()
            except TimeoutError:
                break
            accepted += 1
            before = time.perf_counter_ns()
            flow = kernel.flow(host, port, netns)
            took.append((time.perf_counter_ns() - before) / 1000)
            known += flow is not None and flow.pid == child.pid
            peer.close()
            if accepted % 50 == 0:
                events += len(list(kernel.events()))
        elapsed = float(child.stdout.readline())
        events += len(list(kernel.events()))
    lost = kernel.counters()["flow_unreported"] - unreported
    quantiles = statistics.quantiles(took, n=100)
    return (
        f"{count / elapsed:>5.0f}/s: {accepted} arrived, {known} attributed, {events} events, "
        f"{lost} lost; look-up p50 {quantiles[49]:.0f} us, p99 {quantiles[98]:.0f} us"
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

    hooks.set(True)
    statistics_on = libbpf.library().bpf_enable_stats(0)  # as long as this descriptor is open
    connect4, ingress, egress = (hooks.programs[n] for n in ("connect4", "ingress", "egress"))
    unwatched = table[1][1]
    print(f"\n{'one run of a program':<34}")
    print(f"{'connect4, port not watched':<34}{cost(connect4, table[0][1])}")
    print(f"{'connect4, address not watched':<34}{cost(connect4, unwatched)}")
    print(f"{'connect4, loopback':<34}{cost(connect4, table[3][1])}")
    print(f"{'ingress, TCP':<34}{cost(ingress, unwatched)}")
    print(f"{'egress, TCP':<34}{cost(egress, unwatched)}")
    kernel.learn(places.NEAR4, SERVICE, 3600)
    print(f"{'connect4, redirected and recorded':<34}{cost(connect4, measure)}")
    print(f"{'egress, redirected':<34}{cost(egress, measure)}")
    kernel.set_service(SERVICE, False, False, True)
    print(f"{'connect4, refused and recorded':<34}{cost(connect4, lambda: refused(lab, cgroup))}")
    kernel.set_service(SERVICE, True, False, False)
    for what, restriction in restrictions(cgroup).items():
        kernel.restrict([restriction])
        took = cost(connect4, lambda: refused(lab, cgroup))
        print(f"{f'connect4, refused to a {what}':<34}{took}")
    kernel.restrict(())
    for names in (10, 10_000, 100_000):
        kernel.set_names([(f"n{n}.example.test", False, SERVICE) for n in range(names)])
        print(f"{f'ingress, DNS answer, {names} names':<34}", end="")
        print(
            cost(ingress, lambda: answers(lab, cgroup, "n7.example.test")), end=", of another name"
        )
        print(cost(ingress, lambda: answers(lab, cgroup, "other.test")))
    os.close(statistics_on)
    print()
    for rate in (1000, 5000):
        print(sustained(kernel, lab, cgroup, check, rate, 1 if quick else 3), flush=True)
    print()
    kernel.forget(places.NEAR4)
    child.stdin.close()
    child.wait()

    server = subprocess.Popen(
        ["nsenter", f"--net={lab.far}", "--", "iperf3", "-s"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
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

"""What an intercepted call costs, against bare mitmproxy; memory; time to ready.

    python benchmarks/bench_proxy.py [--quick] [--policy FILE] [--json]

Root. In the lab, one client process holds three connections to one upstream: direct, through a
bare mitmproxy (Master, Core, DisableH2C, Proxyserver, NextLayer, TlsConfig and an addon that
reads the bodies as JSON), and through milecastle. Every round calls all three, in random order;
so each number has its two neighbours in the same second. Latency is what a way adds to direct.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

import psutil  # noqa: E402
from tests.lab import Agent, Lab, missing  # noqa: E402
from tests.lab.network import address4  # noqa: E402
from tests.lab.sites import SITES  # noqa: E402

HERE = Path(__file__).parent
HOST, DIRECT = "api.openai.com", "direct.example.test"
BLOCKS = 10
"""The calls are cut into blocks; the quartiles are of the blocks' ratios."""
IDLE_SECONDS = 3.0

type Told = dict[str, dict[str, list[float]]]


class Row(NamedTuple):
    what: str
    value: float
    unit: str
    bar: float | None = None
    """At most this."""
    note: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    parser.add_argument("--policy", type=Path, help="instead of the shipped policy")
    parser.add_argument("--json", action="store_true", help="one object a line, no table")
    args = parser.parse_args()
    if sentence := missing():
        print(sentence, file=sys.stderr)
        return 2
    policy = args.policy.read_text() if args.policy else None
    rows = measure(policy, calls=60 if args.quick else 600, streams=2 if args.quick else 12)
    for row in rows:
        print(json.dumps(row._asdict()) if args.json else line(row))
    return 0


def measure(policy: str | None, calls: int, streams: int) -> list[Row]:
    upstream = [sys.executable, str(HERE / "proxy_upstream.py")]
    with Lab.up(stand_in=upstream) as lab, Agent.up(lab, policy=policy) as agent:
        rows = [Row("start to ready", agent.ready_seconds, "s", 5.0), *memory(agent, "idle")]
        with bare(lab) as (port, ca):
            ways = {
                "direct": way(address(DIRECT), DIRECT, lab.ca_pem),
                "bare": way("127.0.0.1", HOST, ca, port),
                "milecastle": way(address(HOST), HOST, agent.ca_path()),
            }
            # the hooks learn the address from the answer that the client sees
            lab.run_client(["getent", "ahosts", HOST], cgroup=agent.cgroup)
            for version in (1, 2):
                task = {"ways": ways, "calls": calls, "streams": streams, "h2": version == 2}
                rows += latencies(drive(lab, agent, task), f"HTTP/{version}")
        return [*rows, *memory(agent, f"after {calls * 2} calls")]


def way(address: str, host: str, ca: Path, port: int = 443) -> dict[str, object]:
    return {"address": address, "port": port, "host": host, "ca": str(ca)}


def address(host: str) -> str:
    return next(address4(site.number) for site in SITES if site.host == host)


def drive(lab: Lab, agent: Agent, task: dict) -> Told:
    argv = [sys.executable, str(HERE / "proxy_client.py"), json.dumps(task)]
    done = lab.run_client(argv, cgroup=agent.cgroup, timeout=600)
    if done.returncode:
        raise RuntimeError(f"the client failed: {done.stderr[-800:]}\n{agent.log()[-800:]}")
    return json.loads(done.stdout)


@contextmanager
def bare(lab: Lab) -> Iterator[tuple[int, Path]]:
    """Run a bare mitmproxy where no agent looks; yield its port and its authority."""
    folder = lab.folder / "bare"
    folder.mkdir()
    argv = [sys.executable, str(HERE / "proxy_bare.py"), HOST, str(lab.ca_pem), str(folder)]
    process = lab.popen(argv, cgroup=lab.bystanders, stderr=subprocess.DEVNULL)
    try:
        yield int(process.stdout.readline()), folder / "mitmproxy-ca-cert.pem"
    finally:
        process.kill()
        process.communicate()


def latencies(told: Told, protocol: str) -> Iterator[Row]:
    yield Row(f"{protocol} direct call, p50", p50(told["direct"]["call"]), "ms")
    for name in ("bare", "milecastle"):
        added = p50(told[name]["call"]) - p50(told["direct"]["call"])
        p99 = statistics.quantiles(told[name]["call"], n=100)[98]
        yield Row(f"{protocol} added by {name}, p50", added, "ms", note=f"p99 in all {p99:.1f}")
    low, middle, high = statistics.quantiles(ratios(told), n=4)
    yield Row(f"{protocol} ratio", middle, "x", 1.15, f"quartiles {low:.2f}-{high:.2f}")
    for what, bar, named in (("first", 10.0, "first token"), ("chunk", 1.5, "each chunk")):
        for name in ("bare", "milecastle"):
            added = p50(told[name][what]) - p50(told["direct"][what])
            ours = name == "milecastle"
            yield Row(f"{protocol} {named}, added by {name}", added, "ms", bar if ours else None)


def ratios(told: Told) -> list[float]:
    """Return what milecastle adds over what bare mitmproxy adds, one ratio a block."""
    size = max(1, len(told["direct"]["call"]) // BLOCKS)
    found = []
    for start in range(0, size * BLOCKS, size):
        block = {name: p50(ways["call"][start : start + size]) for name, ways in told.items()}
        found.append((block["milecastle"] - block["direct"]) / (block["bare"] - block["direct"]))
    return found


def p50(values: list[float]) -> float:
    return statistics.median(values)


def memory(agent: Agent, when: str) -> Iterator[Row]:
    """Resident memory of the agent's processes, MB; the largest where there are several."""
    idle = when == "idle"
    bars = {"daemon": 60.0, "workers": 150.0, "signer": 45.0} if idle else {}
    time.sleep(IDLE_SECONDS if idle else 0)
    for part, pids in agent.pids.items():
        resident = max((psutil.Process(pid).memory_info().rss for pid in pids), default=0)
        yield Row(
            f"{part} RSS {when}", resident / 1e6, "MB", bars[part] if when == "idle" else None
        )


def line(row: Row) -> str:
    bar = "" if row.bar is None else f"<= {row.bar:g}"
    verdict = "" if row.bar is None else ("ok" if row.value <= row.bar else "OVER")
    return f"{row.what:42} {row.value:8.2f} {row.unit:3} {bar:8} {verdict:4} {row.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main())

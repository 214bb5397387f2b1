"""Whether the ledger keeps up: connections a second, what each costs the event loop, what is lost.

    .venv/bin/python benchmarks/bench_ledger.py [--quick]

No root, no kernel: connections are told to the ledger as the daemon tells them, in bursts of a
millisecond, with their names a moment later, from processes that live for a hundred connections.
Beside them runs a look-out that asks for the event loop every two milliseconds: what it waits
longer is what an attribution would have waited.
"""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

from milecastle import catalogue, shipped  # noqa: E402
from milecastle.daemon import ledger as module  # noqa: E402
from milecastle.kernel import Flow  # noqa: E402
from milecastle.kernel.layout import Outcome, Reason  # noqa: E402
from milecastle.model import Ancestor, Attribution, Connection, Endpoint, Grade, Process  # noqa: E402
from milecastle.store import Register, listing  # noqa: E402

RATES = (500, 1000, 5000)
LOOK_OUT = 0.002


def processes():
    chain = tuple(Ancestor(pid, "bash", "/usr/bin/bash") for pid in range(8))
    for pid in range(1000, 1 << 22):
        yield Process(
            pid=pid, comm="python3", uid=1000, user="ada", started=float(pid), ancestry=chain,
            exe="/usr/bin/python3.12", argv=("python3", "-m", "ask", f"--number={pid}"),
            cgroup="/user.slice/user-1000.slice", sha256="ab" * 32,
        )  # fmt: skip


async def load(folder: Path, rate: int, seconds: float, services) -> dict[str, float]:
    known: dict[int, Attribution] = {}
    number = services.number("openai")
    kept = module.Ledger(
        Register.open(folder / f"{rate}.db"), services.match, known.get, keep_days=30
    )
    keeping = asyncio.create_task(kept.keep())
    who, waits, own = processes(), [], 0.0
    template = Flow(
        cookie=0, netns=1, cgroup=1, opened_ns=0, address="198.51.100.9", port=443, pid=1, tid=1,
        uid=1000, gid=1000, comm="python3", service=number, outcome=Outcome.REDIRECTED,
        reason=Reason.POLICY,
    )  # fmt: skip

    async def look_out() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(LOOK_OUT)
            waits.append(time.perf_counter() - before - LOOK_OUT)

    looking = asyncio.create_task(look_out())
    begun, cookie, process = time.perf_counter(), 0, next(who)
    burnt = resource.getrusage(resource.RUSAGE_SELF)
    while (passed := time.perf_counter() - begun) < seconds:
        while cookie < passed * rate:
            cookie += 1
            process = next(who) if cookie % 100 == 0 else process
            now = time.monotonic_ns()
            flow = dataclasses.replace(template, cookie=cookie, opened_ns=now, pid=process.pid)
            where = Connection(cookie, Endpoint(flow.address, 443), 1, 1, flow.tid, now)
            known[cookie] = Attribution(where, process, "openai", Grade.EXACT, "kernel")
            known.pop(cookie - 16384, None)
            before = time.perf_counter()
            kept.opened(flow, known[cookie])
            if cookie > 10:
                kept.seen(cookie - 10, "api.openai.com", "decrypted")
            own += time.perf_counter() - before
        await asyncio.sleep(0.001)
    after = resource.getrusage(resource.RUSAGE_SELF)
    looking.cancel()
    rows = await kept.ask(lambda db: db.execute("SELECT count(*) FROM connections").fetchone())
    (use,) = await kept.ask(lambda db: listing.inventory(db))
    keeping.cancel()
    lost = kept.dropped + cookie - use["connections"]
    kept.close()
    cpu = (after.ru_utime + after.ru_stime) - (burnt.ru_utime + burnt.ru_stime)
    waits.sort()
    return {
        "rate": cookie / seconds,
        "lost": lost,
        "rows": rows[0],
        "us": own / cookie * 1e6,
        "cpu": cpu / seconds * 100,
        "p50": statistics.median(waits) * 1e3,
        "p99": waits[int(len(waits) * 0.99)] * 1e3,
    }


def main() -> None:
    seconds = 3.0 if "--quick" in sys.argv else 12.0
    services, _ = catalogue.load(shipped.texts("config", "catalogue"))
    print("connections/s    lost    kept  us each on the loop  CPU of all  loop p50   p99 (ms)")
    for rate in (100, *RATES):
        with tempfile.TemporaryDirectory() as folder:
            told = asyncio.run(load(Path(folder), rate, seconds, services))
        print(
            f"{told['rate']:13.0f} {told['lost']:7.0f} {told['rows']:7.0f} {told['us']:20.1f} "
            f"{told['cpu']:10.0f}% {told['p50']:9.2f} {told['p99']:10.2f}"
        )


if __name__ == "__main__":
    main()

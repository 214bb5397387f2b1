"""What a turn of a long conversation costs, from its first to its 200th.

    .venv/bin/python benchmarks/bench_sessions.py [--turns 200] [--words 400]

Each turn resends the whole history, as clients of stateless APIs do. Columns: bytes of the request
that turn; ms to parse it (JSON, which nobody can avoid) and the rest of the inspection; ms to make
the record, of that to trace the history; bytes of the record on its way to the store; ms to store
it; bytes kept. Means over ten turns.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import orjson  # noqa: E402
from tests.store.conversations import (  # noqa: E402 - after the path is set
    AGENT,
    JSON,
    NOW,
    assistant,
    attribution,
    make_inspector,
    user,
)

from milecastle import providers  # noqa: E402
from milecastle.inspection import Context  # noqa: E402
from milecastle.model import RequestHead  # noqa: E402
from milecastle.store import Store  # noqa: E402

HEAD = RequestHead(
    "POST", "api.openai.com", "/v1/chat/completions", {"content-type": "application/json"}
)
WORDS = (
    "the",
    "wall",
    "runs",
    "from",
    "sea",
    "to",
    "sea",
    "and",
    "a",
    "fort",
    "at",
    "each",
    "mile",
)
COLUMNS = (
    "turn", "request kB", "parse ms", "inspect ms", "record ms", "trace ms", "record kB",
    "store ms", "kept kB",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--turns", type=int, default=200)
    options.add_argument("--words", type=int, default=400)
    asked = options.parse_args()
    rows = measure(asked.turns, asked.words)
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for first in sorted({0, len(rows) // 4, len(rows) // 2, len(rows) - 10}):
        part = rows[first : first + 10]
        means = [statistics.fmean(column) for column in zip(*part, strict=True)]
        cells = [f"{first + 1}-{first + len(part)}", *(f"{mean:.2f}" for mean in means)]
        print("| " + " | ".join(cells) + " |")


def measure(turns: int, words: int) -> list[tuple[float, ...]]:
    """Return the columns of each turn."""
    chance = random.Random(1)
    inspector = make_inspector()
    store = Store.open(Path(tempfile.mkdtemp()) / "bench.db")
    memory = providers.History()
    history: list[dict[str, str]] = []
    rows = []
    for turn in range(turns):
        history.append(user(said(chance, words)))
        body = json.dumps({"model": "gpt-4o", "messages": history}).encode()
        answer = said(chance, words)
        message = {"message": assistant(answer), "finish_reason": "stop"}
        reply = json.dumps({"id": f"c{turn}", "choices": [message]}).encode()
        now = NOW + turn
        context = Context(f"01JBENCH{turn:018d}", now, cookie=7, process=AGENT)
        inspection = inspector.begin(HEAD, context)
        assert inspection is not None
        parse, _ = timed(providers.parse_request, inspection.format, HEAD, body, memory)
        inspect, _ = timed(inspection.request, body)
        inspection.respond(JSON)
        inspection.response(reply)
        trace, _ = timed(inspector.threads.trace, inspection.exchange)
        make, record = timed(inspection.record, now + 0.5)
        sent = len(orjson.dumps(record))
        record["attribution"] = attribution(AGENT)
        before = store.health()["bytes"]
        add, _ = timed(store.add, record, now + 0.6)
        commit, _ = timed(store.flush)
        kept = store.health()["bytes"] - before
        history.append(assistant(answer))
        rows.append(
            (
                len(body) / 1e3,
                parse,
                inspect - parse,
                make,
                trace,
                sent / 1e3,
                add + commit,
                kept / 1e3,
            )
        )
    (session,) = store.sessions(10)
    assert session["exchanges"] == turns, "they are one session"
    store.close()
    return rows


def timed[**P, T](work: Callable[P, T], *given: P.args, **named: P.kwargs) -> tuple[float, T]:
    """Return the milliseconds of CPU that this took, and its result."""
    begun = time.thread_time()
    result = work(*given, **named)
    return (time.thread_time() - begun) * 1e3, result


def said(chance: random.Random, words: int) -> str:
    """Return so many words."""
    return " ".join(chance.choices(WORDS, k=words))


if __name__ == "__main__":
    main()

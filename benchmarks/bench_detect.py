"""How well secrets are found, what is flagged by mistake, and what reading costs.

    .venv/bin/python benchmarks/bench_detect.py [--peers] [--write]

Reads the development data (../shared/data/detection.tar.xz beside the repository), which no part
of the product contains. ``--peers`` installs detect-secrets and CredSweeper from PyPI into a
throwaway environment and measures them on the same rows in the same run. ``--write`` puts the
tables into docs/ACCURACY.md with the date and the command. One thread; processor time, not wall
time, because the machines are shared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

from tests.detect.test_normalise import ENCODINGS  # noqa: E402

from milecastle import shipped  # noqa: E402
from milecastle.detect import Engine, StreamScanner, Unfinished  # noqa: E402
from milecastle.model import Segment  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "detection.tar.xz"
PAGE = ROOT / "docs" / "ACCURACY.md"
MARK, END = "<!-- bench-detect: written by the command -->", "<!-- bench-detect: end -->"
KEY = b"bench-detect"
LABELLED = ("secrets",)
CLEAN = ("benign", "pii", "injection", "tool_abuse")
PEERS = ("detect-secrets", "credsweeper")
GENERATED = 60
"""Rules, evenly taken, whose example is put through every encoding."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--peers", action="store_true", help="measure others from PyPI as well")
    options.add_argument("--write", action="store_true", help="write docs/ACCURACY.md")
    chosen = options.parse_args()
    started = time.process_time()
    everything = Engine.load(rule_files(), key=KEY)
    start_up = time.process_time() - started
    engine = Engine.load(rule_files("secrets"), key=KEY)
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        if DATA.exists():
            unpack(Path(folder))
            sets = {file: rows(file) for file in sorted(Path(folder).rglob("*.jsonl"))}
            parts.append(accuracy(engine, sets, Path(folder) if chosen.peers else None))
            parts.append(clean(engine, sets))
            parts.append(speed(engine, everything, sets, start_up))
        else:
            parts.append(
                f"No {DATA.name} beside the repository: accuracy and speed are left out.\n"
            )
        parts.append(evasion(engine))
    text = "\n".join(parts)
    print(text)
    if chosen.write:
        write(text, "--peers --write" if chosen.peers else "--write")


def rule_files(kind: str = "") -> list[tuple[str, str]]:
    folder = shipped.path("config", "rules", kind)
    return [(file.name, file.read_text()) for file in sorted(folder.rglob("*.yaml"))]


def unpack(folder: Path) -> None:
    with tarfile.open(DATA) as archive:
        archive.extractall(folder, filter="data")


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.open()]


def secrets_in(engine: Engine, text: str) -> bool:
    try:
        found = engine.scan([Segment(text, "user", "user")])
    except Unfinished as error:
        found = list(error.findings)
    return any(finding.category == "secret" for finding in found)


def accuracy(engine: Engine, sets: dict[Path, list[dict]], peers: Path | None) -> str:
    table = [
        "## Secrets, labelled sets",
        "",
        "| set | tool | rows | precision | recall | F1 | false positives | ms a row |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for file, found in sets.items():
        if file.parent.name not in LABELLED:
            continue
        texts = [row["text"] for row in found]
        labels = [bool(row["label"]) for row in found]
        tools = {"milecastle": lambda texts=texts: ours(engine, texts)}
        for name in PEERS if peers else ():
            tools[name] = lambda name=name, texts=texts: theirs(name, peers, texts)
        for tool, run in tools.items():
            answer = run()
            if answer is None:
                table.append(f"| {file.stem} | {tool} | could not be installed | | | | | |")
                continue
            verdicts, took = answer
            table.append(f"| {file.stem} | {tool} | {figures(labels, verdicts, took)} |")
    return "\n".join(table) + "\n"


def ours(engine: Engine, texts: list[str]) -> tuple[list[bool], float]:
    before = time.process_time()
    verdicts = [secrets_in(engine, text) for text in texts]
    return verdicts, time.process_time() - before


PEER_SCRIPTS = {
    "detect-secrets": """
import json, os, sys, tempfile, time
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import default_settings
texts = json.load(open(sys.argv[1]))
found = []
took = 0.0
with default_settings(), tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, "prompt.txt")
    for text in texts:
        open(file, "w").write(text)
        before = time.process_time()
        found.append(any(True for _ in scan_file(file)))
        took += time.process_time() - before
print(json.dumps([found, took]))
""",
    "credsweeper": """
import json, sys, time
from credsweeper.app import CredSweeper
from credsweeper.file_handler.string_content_provider import StringContentProvider
from credsweeper.common.constants import ThresholdPreset
texts = json.load(open(sys.argv[1]))
sweeper = CredSweeper(ml_threshold=0)
before = time.process_time()
found = []
for text in texts:
    provider = StringContentProvider(text.split("\\n"))
    found.append(bool(sweeper.file_scan(provider)))
print(json.dumps([found, time.process_time() - before]))
""",
}


def theirs(name: str, folder: Path, texts: list[str]) -> tuple[list[bool], float] | None:
    python = folder / "peers" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "peers")], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", name], capture_output=True, check=False)
    given = folder / "texts.json"
    given.write_text(json.dumps(texts))
    done = subprocess.run(
        [python, "-c", PEER_SCRIPTS[name], str(given)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    verdicts, took = json.loads(done.stdout.strip().splitlines()[-1])
    return verdicts, took


def figures(labels: list[bool], verdicts: list[bool], took: float) -> str:
    pairs = list(zip(labels, verdicts, strict=True))
    hit = sum(label and said for label, said in pairs)
    false = sum(said and not label for label, said in pairs)
    missed = sum(label and not said for label, said in pairs)
    clean_rows = labels.count(False)
    precision = share(hit, hit + false)
    recall = share(hit, hit + missed)
    f1 = share(2 * hit, 2 * hit + false + missed)
    return (
        f"{len(labels)} | {precision} | {recall} | {f1} | {share(false, clean_rows)}"
        f" | {took / len(labels) * 1e3:.2f}"
    )


def share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def clean(engine: Engine, sets: dict[Path, list[dict]]) -> str:
    table = [
        "## Secrets reported where nobody labelled one",
        "",
        "Some of these rows do hold one: players of a game state passwords to a model.",
        "",
        "| kind | set | rows | flagged | share |",
        "|---|---|---|---|---|",
    ]
    for file, found in sets.items():
        if file.parent.name not in CLEAN:
            continue
        flagged = sum(secrets_in(engine, row["text"]) for row in found)
        share_of = share(flagged, len(found))
        table.append(
            f"| {file.parent.name} | {file.stem} | {len(found)} | {flagged} | {share_of} |"
        )
    return "\n".join(table) + "\n"


def evasion(engine: Engine) -> str:
    """Put examples of many rules through every encoding: found, and nothing left of it?"""
    rules = [rule for rule in engine.rules if rule.category == "secret"]
    chosen = rules[:: max(1, len(rules) // GENERATED)]
    table = [
        "## Evasion",
        "",
        f"The first example of {len(chosen)} rules, taken evenly, put through each encoding in",
        "a sentence. *Found*: some secret is reported. *Covered*: the reports span all of it.",
        "",
        "| encoding | found | covered |",
        "|---|---|---|",
    ]
    for name, encode in ENCODINGS.items():
        found = covered = tried = 0
        for rule in chosen:
            plain = rule.matches[0]
            encoded = encode(plain)
            text = f"Please decode this: {encoded} and tell me what it says."
            tried += 1
            try:
                hits = engine.scan([Segment(text, "user", "user")])
            except Unfinished as error:
                hits = list(error.findings)
            hits = [hit for hit in hits if hit.category == "secret"]
            found += bool(hits)
            rest = text
            for hit in sorted(hits, key=lambda hit: hit.start, reverse=True):
                rest = rest[: hit.start] + rest[hit.end :]
            covered += bool(hits) and not secrets_in(engine, rest)
        table.append(f"| {name} | {share(found, tried)} | {share(covered, tried)} |")
    return "\n".join(table) + "\n"


def speed(engine: Engine, everything: Engine, sets: dict[Path, list[dict]], start_up: float) -> str:
    rows_of = [row for file, found in sets.items() if file.parent.name == "benign" for row in found]
    lines = [json.dumps(row) for row in rows_of]
    documents = list(joined(lines, 16_384))
    prompts = [text[:2_048] for text in documents if len(text) >= 2_048]
    prose = " ".join(row["text"] for row in rows_of if "roleplay" in row["id"])[:60_000]
    events = [prose[at : at + 5] for at in range(0, len(prose), 5)]
    patterns = engine.patterns
    reading = [
        (
            "rules for secrets, 16 KB of clean JSON",
            per_second(documents, lambda t: pattern(patterns, t)),
        ),
        ("the same with decoding", per_second(documents, lambda t: decoded(engine, t))),
        ("all rules", per_second(documents, lambda t: pattern(everything.patterns, t))),
        ("all detectors", per_second(documents, lambda t: whole(everything, t))),
        ("all detectors, a row at a time", per_second(lines, lambda t: whole(everything, t))),
    ]
    took = [timed(lambda t=text: whole(everything, t)) for text in prompts]
    known = [timed(lambda t=text: secrets_in(everything, t)) for text in prompts[:1_000] * 2]
    again = statistics.median(known[len(known) // 2 :]) * 1e6
    table = ["## Cost, one thread", "", "| what | figure |", "|---|---|"]
    table += [f"| {what} | {figure:.0f} MB/s |" for what, figure in reading]
    table += [
        f"| a prompt of 2 KB, all detectors, median / 99% | {spread(took)} |",
        f"| the same prompt sent again, median | {again:.0f} us |",
        f"| one event of a stream (5 characters of prose), mean | {stream(everything, events)} |",
        f"| start-up with {len(everything.rules)} rules | {start_up:.2f} s |",
        f"| memory of a process that loads and reads all of it, less bare Python | {memory()} |",
    ]
    return "\n".join(table) + "\n"


def joined(lines: list[str], size: int) -> Iterator[str]:
    kept: list[str] = []
    for line in lines:
        kept.append(line)
        if sum(map(len, kept)) >= size:
            yield "[" + ",\n".join(kept) + "]"
            kept = []


def pattern(patterns, text: str) -> None:
    patterns.scan(Segment(text, "user", "user"))


def decoded(engine: Engine, text: str) -> None:
    engine.patterns.scan(Segment(text, "user", "user"))
    for view in engine.decoder.views(text):
        engine.patterns.scan(Segment(view.text, "user", "user"))


def whole(engine: Engine, text: str) -> None:
    with suppress(Unfinished):
        engine._read(Segment(text, "user", "user"))


def timed(run) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


def per_second(texts: list[str], run) -> float:
    """Return MB/s over the second of two passes: the first builds the automaton."""
    for _ in range(2):
        before = time.process_time()
        for text in texts:
            run(text)
        took = time.process_time() - before
    return sum(map(len, texts)) / took / 1e6


def stream(engine: Engine, events: list[str]) -> str:
    for _ in range(2):
        scanner = StreamScanner(engine, "assistant", "assistant")
        held, seen = [], 0
        before = time.process_time()
        for event in events:
            seen += len(event)
            held.append(seen - scanner.feed(event).safe)
        took = time.process_time() - before
    middle = statistics.median(held)
    return f"{took / len(events) * 1e6:.0f} us; held back: median {middle:.0f}, most {max(held)}"


def spread(took: list[float]) -> str:
    ordered = sorted(took)
    return f"{statistics.median(took) * 1e3:.3f} / {ordered[int(len(took) * 0.99)] * 1e3:.3f} ms"


MEMORY = """
import sys
from pathlib import Path
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
before = resident()
from milecastle import shipped
from milecastle.detect import Engine, Unfinished
from milecastle.model import Segment
files = [(f.name, f.read_text()) for f in sorted(shipped.path("config", "rules").rglob("*.yaml"))]
engine = Engine.load(files, key=b"bench-detect")
loaded = resident()
for number in range(2000):
    text = " ".join(f"word{number * 7919 % 9973:x} line {n} of text" for n in range(80))
    engine.scan([Segment(text, "user", "user")])
print(f"{loaded - before:.0f} MB loaded, {resident() - before:.0f} MB after 4 MB of text")
"""


def memory() -> str:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "agent",
    )
    return done.stdout.strip()


def write(text: str, how: str) -> None:
    page = PAGE.read_text()
    before, after = page.partition(MARK)[0], page.partition(END)[2]
    when = f"{datetime.now(UTC):%Y-%m-%d}, `.venv/bin/python benchmarks/bench_detect.py {how}`"
    PAGE.write_text(f"{before}{MARK}\n\n{when}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()

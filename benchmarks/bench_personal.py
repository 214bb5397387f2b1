"""How well personal data is found, beside Presidio's pattern recognisers; what is flagged wrongly.

    .venv/bin/python benchmarks/bench_personal.py [--peers] [--write]

Reads the development data (../shared/data/detection.tar.xz beside the repository); its rows were
looked at while the rules were written. ``--peers`` installs presidio-analyzer from PyPI into a
throwaway environment; its recognisers that need no language model read the same rows in the same
run, at the score of .4 and more that they give to a pattern without context. ``--write`` puts the
tables into docs/ACCURACY.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent"), str(ROOT / "benchmarks")]

from bench_detect import KEY, PAGE, rows, rule_files, share, unpack  # noqa: E402

from milecastle.detect import Engine, Unfinished  # noqa: E402
from milecastle.model import Segment  # noqa: E402

LABELLED = ("presidio_research_large", "presidio_research_synth")
KINDS = (
    "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "US_SSN",
    "US_DRIVER_LICENSE",
)  # fmt: skip
"""Labels that a pattern can find; names, places and times are no business of patterns."""
BEGIN, END = "<!-- bench-personal -->", "<!-- end of bench-personal -->"
PRESIDIO = """
import json, sys, time
from presidio_analyzer import predefined_recognizers as known
names = ("CreditCard", "Email", "Iban", "Ip", "Phone", "UsSsn", "UsLicense", "UsItin", "UsPassport",
         "UsBank", "Crypto")
used = [getattr(known, name + "Recognizer")() for name in names]
found = []
took = time.process_time()
for text in json.load(open(sys.argv[1])):
    hits = [hit for one in used for hit in one.analyze(text, one.supported_entities, None) or ()]
    found.append([(hit.start, hit.end) for hit in hits if hit.score >= 0.4])
print(json.dumps([found, time.process_time() - took]))
"""

type Spans = list[tuple[int, int]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--peers", action="store_true", help="measure Presidio as well")
    options.add_argument("--write", action="store_true", help="write docs/ACCURACY.md")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(folder)
        sets = {file.stem: rows(file) for file in sorted(folder.rglob("*.jsonl"))}
        ordinary = sorted(folder.rglob("benign/*.jsonl"))
        clean = [row["text"] for file in ordinary for row in rows(file)]
        engine = Engine.load(rule_files("pii"), key=KEY)
        readers = {"milecastle": lambda texts: ours(engine, texts)}
        if chosen.peers:
            readers["presidio, patterns"] = lambda texts: theirs(folder, texts)
        table = ["| set | tool | " + " | ".join(KINDS) + " | ms a row |", "|---" * 10 + "|"]
        for source in LABELLED:
            texts = [row["text"] for row in sets[source]]
            for tool, read in readers.items():
                found, took = read(texts)
                recall = recalls(sets[source], found)
                table.append(f"| {source} | {tool} | {recall} | {took / len(texts) * 1e3:.2f} |")
        table += ["", "| ordinary texts | tool | rows | flagged |", "|---|---|---|---|"]
        for tool, read in readers.items():
            found, _ = read(clean)
            flagged = share(sum(map(bool, found)), len(clean))
            table.append(f"| the benign sets | {tool} | {len(clean)} | {flagged} |")
    text = "\n".join(table)
    print(text)
    if chosen.write:
        write(text, " --peers" if chosen.peers else "")


def ours(engine: Engine, texts: list[str]) -> tuple[list[Spans], float]:
    before = time.process_time()
    return [spans(engine, text) for text in texts], time.process_time() - before


def spans(engine: Engine, text: str) -> Spans:
    try:
        found = engine.scan([Segment(text, "user", "user")])
    except Unfinished as error:
        found = list(error.findings)
    return [(finding.start, finding.end) for finding in found]


def theirs(folder: Path, texts: list[str]) -> tuple[list[Spans], float]:
    python = folder / "peers" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "peers")], check=True)
        command = [python, "-m", "pip", "install", "-q", "presidio-analyzer"]
        subprocess.run(command, check=True, capture_output=True)
    given = folder / "texts.json"
    given.write_text(json.dumps(texts))
    command = [python, "-c", PRESIDIO, str(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, took = json.loads(done.stdout.strip().splitlines()[-1])
    return found, took


def recalls(labelled: list[dict], found: list[Spans]) -> str:
    """Return the share of each kind's spans that something touches, as cells."""
    expected, hit = Counter(), Counter()
    for row, places in zip(labelled, found, strict=True):
        for span in row["spans"] or ():
            expected[span["type"]] += 1
            hit[span["type"]] += any(a < span["end"] and span["start"] < b for a, b in places)
    return " | ".join(share(hit[kind], expected[kind]) for kind in KINDS)


def write(text: str, how: str) -> None:
    page = PAGE.read_text()
    command = f"`.venv/bin/python benchmarks/bench_personal.py{how} --write`"
    when = f"{datetime.now(UTC):%Y-%m-%d}, {command}"
    section = f"{BEGIN}\n\n## Personal data\n\n{when}\n\n{text}\n\n{END}"
    if BEGIN in page:
        before, after = page.partition(BEGIN)[0], page.partition(END)[2]
        page = f"{before}{section}{after}"
    else:
        mark = "<!-- bench-detect:"
        page = page.replace(mark, f"{section}\n\n{mark}", 1)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

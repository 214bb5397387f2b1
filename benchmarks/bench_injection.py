"""How well injection is found, and what reading costs.

    .venv/bin/python benchmarks/bench_injection.py

The first table is the training's own: every source judged by a model that never saw it. To make it
anew takes minutes and scipy: ``scripts/train_injection.py --table``. The second is measured now:
the structural rules, which are not trained, on the rows of the development data
(../shared/data/detection.tar.xz), beside the word "ignore" alone. The third is processor time.
"""

from __future__ import annotations

import io
import json
import re
import resource
import sys
import tarfile
import time
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "agent"))

from milecastle import shipped  # noqa: E402
from milecastle.detect import Engine  # noqa: E402
from milecastle.detect.classifier import model  # noqa: E402
from milecastle.detect.injection import RULE  # noqa: E402
from milecastle.model import Segment  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "detection.tar.xz"
EVERY = {"pa_satml_ctf_2024": 5, "slabs": 3}
"""Of these large sources every so-manieth row is read."""
OUTSIDE = ("benign_tool_output", "injection_indirect")
IGNORE = re.compile(r"\bignore\b", re.IGNORECASE)


def main() -> None:
    recorded()
    if not DATA.exists():
        sys.exit(f"{DATA} is not there: nothing measured")
    engine = loaded()
    rows = list(labelled())
    structural(engine, rows)
    speed(engine, [row for row in rows if not row["label"]])


def recorded() -> None:
    """Print what the training measured with sources left out."""
    metrics = model()["metrics"]
    print(f"Sources left out, as trained on {model()['made']}\n")
    print("| source left out | recall at 1% false positives |\n|---|---|")
    for source, value in metrics["recall"].items():
        print(f"| {source} | {value:.3f} |")
    print(f"| **macro over families** | **{metrics['recall_at_1_percent_macro']:.3f}** |")
    print("\n| ordinary texts left out | flagged |\n|---|---|")
    for source, value in metrics["flagged"].items():
        print(f"| {source} | {value:.3f} |")
    print(f"| **hard negatives** | **{metrics['hard_negatives_flagged']:.3f}** |")


def loaded() -> Engine:
    files = sorted(Path(shipped.path("config", "rules", "injection")).glob("*.yaml"))
    before = time.process_time()
    engine = Engine.load([(file.name, file.read_text("utf-8")) for file in files], key=b"bench")
    print(f"\nLoaded in {1e3 * (time.process_time() - before):.0f} ms of processor time")
    return engine


def labelled():
    """Yield the rows of the injection and the ordinary sets, with their source."""
    with tarfile.open(DATA) as tar:
        for name in sorted(m.name for m in tar.getmembers() if m.name.endswith(".jsonl")):
            if re.search(r"(?:^|/)(?:injection|benign)/", name):
                source = Path(name).stem
                lines = io.TextIOWrapper(tar.extractfile(name), "utf-8")
                for number, line in enumerate(lines):
                    if number % EVERY.get(source, 1) == 0:
                        yield {**json.loads(line), "set": source}


def segment(row) -> Segment:
    outside = row["kind"] in OUTSIDE
    return Segment(row["text"], "tool" if outside else "user", "tool_result" if outside else "user")


def structural(engine: Engine, rows) -> None:
    """Print the share of rows that a structural rule finds; the classifier is left out."""
    total, hit, word = Counter(), Counter(), Counter()
    rules = defaultdict(Counter)
    for row in rows:
        key = (row["label"], row["set"])
        found = {f.rule for f in engine.injection.scan(segment(row)) if f.rule != RULE}
        total[key] += 1
        hit[key] += bool(found)
        word[key] += bool(IGNORE.search(row["text"]))
        rules[key].update(found)
    for label, title in ((1, "attacks"), (0, "ordinary texts")):
        print(f'\n| {title} | rows | rules | the word "ignore" | most frequent rule |')
        print("|---|---|---|---|---|")
        for key in (k for k in total if k[0] == label):
            most = ", ".join(name for name, _ in rules[key].most_common(1))
            share, ignore = hit[key] / total[key], word[key] / total[key]
            print(f"| {key[1]} | {total[key]} | {share:.3f} | {ignore:.3f} | {most} |")


def speed(engine: Engine, rows) -> None:
    """Print processor time for ordinary texts, and memory."""
    segments = [segment(row) for row in rows[::3]]
    size = sum(len(each.text) for each in segments) / 1024
    print("\n| reading ordinary texts | ms per KB |\n|---|---|")
    lexicon = engine.injection._classifier.lexicon
    for title, read in (
        ("cut into windows", lambda s: lexicon.windows(s.text)),
        ("rules and classifier", engine.injection.scan),
    ):
        best = 1e9
        for _ in range(3):
            before = time.process_time()
            for each in segments:
                read(each)
            best = min(best, time.process_time() - before)
        print(f"| {title} | {1e3 * best / size:.3f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of this process with all rows in it: {peak:.0f} MB")


if __name__ == "__main__":
    main()

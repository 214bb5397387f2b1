"""What an index of own documents takes, and what a look-up costs, at the size of 1 GB of text.

    .venv/bin/python benchmarks/bench_fingerprints.py [--megabytes 8]

So many megabytes of English-like text (words drawn as often as words are: Zipf) are really indexed:
that gives the speed, and the bytes of index for one of text. An index of 1 GB has the same hashes
128 times over, and hashes are uniform, so that a second index of random ones is written in its
size, mapped as a worker maps it, and searched beside the first. Processor time of one thread.
"""

from __future__ import annotations

import argparse
import mmap
import random
import resource
import struct
import sys
import tempfile
import time
from array import array
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

from milecastle.detect.fingerprints import (  # noqa: E402
    BUCKET,
    HEADER,
    MAGIC,
    WINDOW,
    WORDS,
    Builder,
    Hasher,
    Index,
    OwnDocuments,
)
from milecastle.model import Segment  # noqa: E402

KEY = b"k" * 32
WHOLE = 1 << 30
DOCUMENT = 20_000
"""Characters of a document: seven pages."""
FILLERS = WHOLE // DOCUMENT
PROMPTS = 200


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--megabytes", type=int, default=8)
    size = options.parse_args().megabytes << 20
    source = random.Random(1)
    words = vocabulary(source)
    began = time.process_time()
    documents = [text(source, words) for _ in range(size // DOCUMENT)]
    made = time.process_time() - began
    builder = Builder(KEY)
    began = time.process_time()
    kept = sum(builder.add(f"{n}.txt", each) for n, each in enumerate(documents))
    indexing = time.process_time() - began
    began = time.process_time()
    small = b"".join(builder.finish())
    finishing = time.process_time() - began
    total = sum(map(len, documents))
    print(f"text made in {made:.1f} s: {total / 1e6:.1f} MB in {len(documents)} documents")
    print(f"indexed at {total / indexing / 1e6:.2f} MB/s, finished in {finishing:.2f} s")
    fixed = 262_188
    share = (len(small) - fixed) / total
    whole = fixed + share * WHOLE
    print(f"kept {kept} hashes, {kept / total * 6:.3f} bytes of index for one of text")
    print(f"an index of 1 GB: {whole / (1 << 20):.0f} MB   (bar: 200 MB)")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "whole.idx"
        filler(file, round(kept / total * WHOLE))
        before = resident()
        with file.open("rb") as opened:
            data = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
        indexes = [Index(small, KEY), Index(memoryview(data), KEY)]
        print(f"mapped: {resident() - before:.1f} MB of a worker's own memory")
        detector = OwnDocuments(indexes, KEY)
        clean(detector, source, words)
        copied(detector, source, documents)


def clean(detector: OwnDocuments, source: random.Random, words: list[str]) -> None:
    """Read prompts that are no passage of anything."""
    prompts = [text(source, words)[:4_096] for _ in range(PROMPTS)]
    began = time.process_time()
    false = sum(len(detector.scan(Segment(each, "user", "user"))) for each in prompts)
    took = (time.process_time() - began) / (PROMPTS * 4) * 1000
    print(f"reading: {took:.3f} ms a KB (bar: 1 ms), {false} false findings in {PROMPTS} prompts")
    began = time.process_time()
    for each in prompts:
        for _ in Hasher(KEY).marks(each):
            pass
    took = (time.process_time() - began) / (PROMPTS * 4) * 1000
    print(f"   of that, hashing: {took:.3f} ms a KB")


def copied(detector: OwnDocuments, source: random.Random, documents: list[str]) -> None:
    """Read prompts with a passage of a document: verbatim, and edited."""
    for words, edits in ((60, 0), (60, 2), (100, 4), (200, 10)):
        found = 0
        for _ in range(PROMPTS):
            passage = source.choice(documents).split()
            at = source.randrange(len(passage) - words)
            taken = passage[at : at + words]
            for _ in range(edits):
                taken[source.randrange(words)] = "edited"
            prompt = "Please rewrite this: " + " ".join(taken) + " - shorter."
            found += bool(detector.scan(Segment(prompt, "user", "user")))
        print(f"{words} copied words, {edits} of them changed: {found / PROMPTS:.1%} found")


def vocabulary(source: random.Random) -> list[str]:
    """Return words as long as English ones are, the short ones first: they come most often."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [
        13,
        9,
        8,
        8,
        7,
        7,
        6,
        6,
        6,
        4,
        4,
        3,
        3,
        2,
        2,
        2,
        2,
        2,
        1,
        1,
        2,
        1,
        0.2,
        0.1,
        0.2,
        0.1,
    ]
    lengths = [1, 2, 2, 3, 3, 3, 4, 4, 4, 5] + [4, 5, 5, 6, 6, 7, 7, 8, 9, 10] * 3_000
    return ["".join(source.choices(letters, weights, k=length)) for length in lengths]


def text(source: random.Random, words: list[str]) -> str:
    """Return one document: words by Zipf's law, a full stop now and then."""
    weights = ZIPF or [1 / (rank + 2) for rank in range(len(words))]
    if not ZIPF:
        total = 0.0
        for each in weights:
            total += each
            ZIPF.append(total)
    chosen = source.choices(words, cum_weights=ZIPF, k=DOCUMENT // 5)
    for at in range(11, len(chosen), 13):
        chosen[at] += "."
    return " ".join(chosen)[:DOCUMENT]


ZIPF: list[float] = []


def filler(file: Path, hashes: int) -> None:
    """Write an index of one document with so many hashes, uniform as hashes are."""
    source = random.Random(2)
    buckets = 1 << BUCKET
    begins = array("I", (number * hashes // buckets for number in range(buckets + 1)))
    with file.open("wb") as opened:
        opened.write(HEADER.pack(MAGIC, WORDS, WINDOW, FILLERS, hashes, Hasher(KEY).check()))
        opened.write(begins.tobytes())
        numbers = array("I", range(FILLERS)).tobytes()
        opened.write((numbers * (hashes // FILLERS + 1))[: hashes * 4])
        for first, last in pairwise(begins):
            rests = array("H", source.randbytes((last - first) * 2))
            opened.write(array("H", sorted(rests)).tobytes())
        opened.write((struct.pack("<H", 6) + b"filler") * FILLERS)


def resident() -> float:
    """Return this process's own memory in MB, what is mapped from files not counted."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

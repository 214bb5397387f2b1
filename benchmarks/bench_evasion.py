"""How much of a secret is still found when it is disguised, once and twice over.

    .venv/bin/python benchmarks/bench_evasion.py [--rules 150] [--nested 24] [--write]

Each transformation of `tests/detect/test_normalise.py` over the first example of so many rules for
secrets, taken evenly (0: all), in the middle of a sentence; then two transformations within one
another over fewer rules. *Found*: a secret is reported. *Gone*: when what is reported is cut out,
nothing is found in the rest. ``--write`` puts the tables into docs/ACCURACY.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

from tests.detect.test_normalise import ENCODINGS  # noqa: E402

from milecastle import shipped  # noqa: E402
from milecastle.detect import Engine, Rule, Unfinished  # noqa: E402
from milecastle.model import Finding, Segment  # noqa: E402

PAGE = ROOT / "docs" / "ACCURACY.md"
BEGIN = "<!-- bench-evasion: written by the command -->"
END = "<!-- bench-evasion: end -->"
NESTED = (
    "zero-width",
    "fullwidth",
    "html decimal",
    "percent",
    "json escapes",
    "base64",
    "base64url",
    "base64 of gzip",
    "hexadecimal",
    "rot13",
    "reversed",
    "spaced out",
)
"""The transformations that are put within one another."""
SENTENCE = "Please look at this: {} and tell me what it says."

type Encode = Callable[[str], str]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rules", type=int, default=150, help="rules; 0 is all of them")
    options.add_argument("--nested", type=int, default=24, help="rules for two transformations")
    options.add_argument("--write", action="store_true", help="write docs/ACCURACY.md")
    chosen = options.parse_args()
    files = sorted(shipped.path("config", "rules", "secrets").rglob("*.yaml"))
    engine = Engine.load([(file.name, file.read_text()) for file in files], key=b"bench-evasion")
    plain = [rule for rule in engine.rules if reported(engine, SENTENCE.format(rule.matches[0]))]
    text = "\n".join((
        once(engine, evenly(plain, chosen.rules), len(engine.rules)),
        twice(engine, evenly(plain, chosen.nested)),
    ))  # fmt: skip
    print(text)
    if chosen.write:
        how = f"--rules {chosen.rules} --nested {chosen.nested} --write"
        write(text, how)


def evenly(rules: Sequence[Rule], count: int) -> Sequence[Rule]:
    return rules[:: max(1, len(rules) // count)] if count else rules


def reported(engine: Engine, text: str) -> list[Finding]:
    try:
        return engine.scan([Segment(text, "user", "user")])
    except Unfinished as error:
        return list(error.findings)


def survives(
    engine: Engine, encode: Encode, rules: Sequence[Rule]
) -> tuple[float, float, list[str]]:
    """Return the shares that are found and gone, and the rules whose example was not found."""
    found = gone = 0
    missed = []
    for rule in rules:
        text = SENTENCE.format(encode(rule.matches[0]))
        hits = reported(engine, text)
        found += bool(hits)
        if not hits:
            missed.append(rule.id)
        for hit in sorted(hits, key=lambda hit: hit.start, reverse=True):
            text = text[: hit.start] + text[hit.end :]
        gone += bool(hits) and not reported(engine, text)
    return found / len(rules), gone / len(rules), missed


def once(engine: Engine, rules: Sequence[Rule], every: int) -> str:
    table = [
        f"One transformation, the examples of {len(rules)} of {every} rules:",
        "",
        "| transformation | found | gone | not found, for example |",
        "|---|---|---|---|",
    ]
    for name, encode in ENCODINGS.items():
        found, gone, missed = survives(engine, encode, rules)
        some = ", ".join(f"`{each}`" for each in missed[:3])
        table.append(f"| {name} | {found:.3f} | {gone:.3f} | {some} |")
    return "\n".join(table) + "\n"


def twice(engine: Engine, rules: Sequence[Rule]) -> str:
    kinds: Mapping[str, Encode] = {name: ENCODINGS[name] for name in NESTED}
    table = [
        f"Two transformations, the one of the row first, {len(rules)} rules, share found:",
        "",
        "| then | " + " | ".join(kinds) + " |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for first, inner in kinds.items():
        shares = []
        for outer in kinds.values():
            found, _, _ = survives(engine, lambda t, i=inner, o=outer: o(i(t)), rules)
            shares.append("1" if found == 1 else f"{found:.2f}"[-3:])
        table.append(f"| {first} | " + " | ".join(shares) + " |")
    return "\n".join(table) + "\n"


def write(text: str, how: str) -> None:
    """Put the tables between their marks."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    when = f"{datetime.now(UTC):%Y-%m-%d}, `.venv/bin/python benchmarks/bench_evasion.py {how}`"
    PAGE.write_text(f"{before}{BEGIN}\n\n{when}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()

"""Feed native parsers what nobody would write; run as a process of its own, which may die of it.

``python -m tests.detect.hostile_child PARSER SEED SECONDS`` prints how many inputs it got through.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from milecastle.detect import Unfinished
from milecastle.detect.vocabulary import vocabulary
from milecastle.model import ParseError

HERE = Path(__file__).parent
COMMANDS = [
    line
    for name in ("commands_dangerous.txt", "commands_ordinary.txt")
    for line in (HERE / name).read_text().splitlines()
]
SHELL = sorted(
    vocabulary("""
    <<E << <<- <<< E ` $( ${ } ) (( )) [[ ]] =~ == case in esac ;; { .. <( ' " $' \\ | & ; # = += !
    function f() if then fi do done for while $ $$ ${!x@} ${x[@]} a[1]= * ? @ % ^ / ~ :- ## ⟦ ⟧ é
    """)
)
BLANKS = ["\n", "\t", "\r", "\0", "\x1f", "\x7f", " ", "\\\n", "\ud800", "\U0010ffff"]
JSON = ['{"a":', "[", "]", "}", '"', "\\u", "\\ud800", "1e999", "-", "null", ",", "\\", "\x00", "é"]


def character(rng: random.Random) -> str:
    return chr(rng.randrange(rng.choice((0x80, 0x3000, 0x30000, 0x110000))))


def text(rng: random.Random, words: list[str]) -> str:
    """Return fragments, single characters, or one pair of fragments very often."""
    kind = rng.random()
    if kind < 0.5:
        return "".join(rng.choice(words) for _ in range(rng.randint(1, 60)))
    if kind < 0.9:
        return "".join(rng.choice((rng.choice(words), character(rng))) for _ in range(40))
    return (rng.choice(words) + rng.choice(words)) * rng.randint(100, 3_000)


def changed(rng: random.Random, line: str) -> str:
    """Return a line with a few characters put in and taken out."""
    for _ in range(rng.randint(1, 8)):
        at = rng.randint(0, len(line))
        added = rng.choice((rng.choice(SHELL), character(rng), ""))
        line = line[:at] + added + line[at + rng.randint(0, 3) :]
    return line


def shell(rng: random.Random) -> None:
    from milecastle.detect.tools.telling import Teller

    known = changed(rng, rng.choice(COMMANDS))
    Teller().script(known if rng.random() < 0.5 else text(rng, SHELL + BLANKS))


def python(rng: random.Random) -> None:
    from milecastle.detect.tools.python import told

    words = ["(", "[", "{", "-", "not ", "lambda:", "a.", "f'{", "a if b else ", "\n ", "'", "x**"]
    list(told(text(rng, words + BLANKS)))


def expressions(rng: random.Random) -> None:
    from tests.detect.shipped_rules import engine

    from milecastle.model import Segment

    engine().scan([Segment(text(rng, SHELL + JSON + BLANKS), "user", "user")])


def json(rng: random.Random) -> None:
    import orjson

    with contextlib.suppress(orjson.JSONDecodeError):
        orjson.loads(text(rng, JSON).encode(errors="surrogatepass"))


def compressed(rng: random.Random) -> None:
    from milecastle.providers import encodings

    data = bytearray(encodings.encode(b"plain words " * 50, rng.choice(("br", "zstd", "gzip"))))
    for _ in range(rng.randint(0, 5)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    encodings.decode(bytes(data), rng.choice(("br", "zstd", "gzip", "deflate")), 1 << 20)


PARSERS: dict[str, Callable[[random.Random], None]] = {
    each.__name__: each for each in (shell, python, expressions, json, compressed)
}


def main() -> None:
    name, seed, seconds = sys.argv[1:]
    rng, count = random.Random(int(seed)), 0
    with contextlib.suppress(ParseError, Unfinished):
        PARSERS[name](rng)  # what is loaded with the first one is not measured
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        with contextlib.suppress(ParseError, Unfinished):
            PARSERS[name](rng)
        count += 1
    print(count)


if __name__ == "__main__":
    main()

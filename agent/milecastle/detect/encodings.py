"""The encodings that are undone before matching: for each, how to notice it and what it said.

A ``Layer`` has a gate, an RE2 expression that stands in every text worth decoding and hardly in
any other, and a function that yields what to replace. The gates of base64 and hexadecimal ask
for the digits that *printable* bytes have, so that hashes, images and long identifiers pass by.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import re2

from milecastle.detect.candidate import Unfinished
from milecastle.detect.confusables import FOLD

type Shape = Literal["block", "linear", "mirror"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """``text`` is what the original's ``start:end`` says, once undone."""

    start: int
    end: int
    text: str
    shape: Shape = "block"
    """block: the parts have no places of their own; linear: character for character; mirror:
    character for character, backwards."""
    via: str = ""
    """Where one layer knows several encodings: which."""


@dataclass(frozen=True, slots=True)
class Layer:
    name: str
    gate: str
    decode: Callable[[str], Iterator[Decoded]]


INFLATED = 1 << 20
"""Bytes that one compressed run may grow to."""
AROUND = 512
"""Characters on either side of a reversed or ROT13 word that are read with it."""

# Base64 of printable ASCII, by position in the group of four: the bytes' top bits are 0.
Q1, Q2, Q3, Q4 = "[I-Za-f]", "[C-HS-Xi-nyz0-3]", "[ABEFIJMNQRUVYZcdghklopstwx014589]", r"[\w+/-]"
BASE64_TEXT = f"(?:{Q1}{Q2}{Q3}{Q4}){{4}}"
BASE64_UTF16 = "(?:[A-Za-f][AQgw][AB][A-Za-z0-9+/]A[C-H][AEIMQUYcgkosw048]A){3}"
BASE64_PACKED = r"(?:H4sI|eJ[wxyz]|eN[opq])[\w+/-]{16}"
BASE64_WIDE = r"(?:4oC[L-P][\w+/-]{12}){3}|(?:77[y2][\w+/-]){4}"
"""Letters with an invisible character between them, and full-width letters, as UTF-8."""
BASE64_RUN = re.compile(
    r"[A-Za-z0-9+/_-]{8,}(?:(?:\\n|\\r|\s{1,2})[A-Za-z0-9+/_-]{40,})*={0,2}", re.ASCII
)
BASE64_SIGNS = re2.compile(f"{BASE64_TEXT}|{BASE64_UTF16}|{BASE64_PACKED}|{BASE64_WIDE}")

HEX_TEXT = r"(?:(?:0x|\\x)?[2-7][0-9a-fA-F][ ,:]{0,2}){12}"
HEX_WIDE = "(?i:(?:e2808[b-f][2-7][0-9a-f]){4}|(?:efb[cd][89ab][0-9a-f]){4})"
HEX_RUN = re2.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[ ,:]{0,2}){12,}")

PERCENT = re2.compile(r"(?:%[0-9A-Fa-f]{2})+")
ENTITY = re2.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});")
ESCAPE = re2.compile(r"""\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[0-7]{3}|[nrt"'/\\])""")
SIMPLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
SPACING = r"(?:[!-~] {1,2}){9,}[!-~]|(?:\w\.){9,}\w|(?:\w-){9,}\w|(?:\w\n){9,}\w"
SPACED_GATE = re2.compile(SPACING)
SPACED = re.compile(
    r"(?<!\w)(?:[!-~](?:(?P<a> {1,2})[!-~](?!\w)){9,}|\w(?:\.\w(?!\w)){9,}|\w(?:-\w(?!\w)){9,}"
    r"|\w(?:\n\w(?!\w)){9,})",
    re.ASCII,
)
JOINING = r"""["'](?:\s{0,4}[+&]\s{0,8}| \. |\s{0,4}\\\n\s{0,8}|\n[ \t]{2,16})["']"""
JOINT = re2.compile(JOINING)
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e007f\U000e0100-\U000e01ef"
)
NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
LETTERED = re.compile(r"[\w\-]+")


def base64_runs(text: str) -> Iterator[Decoded]:
    """Decode base64 and base64url that holds text, UTF-16 text, gzip or zlib."""
    reached = 0
    for sign in BASE64_SIGNS.finditer(text):
        if sign.start() < reached:
            continue
        run = run_around(BASE64_RUN, text, sign.start(), reached)
        if run is None:
            continue
        reached = run.end()
        said, via = base64_text(run.group(), sign.start() - run.start())
        if said:
            yield Decoded(run.start(), run.end(), said, via=via)


def run_around(run: re.Pattern[str], text: str, at: int, floor: int) -> re.Match[str] | None:
    """Return the run that holds position ``at``: go back to where its alphabet began."""
    start = at
    while start > floor and (text[start - 1].isascii() and in_base64(text[start - 1])):
        start -= 1
    return run.match(text, start)


def in_base64(char: str) -> bool:
    return char.isalnum() or char in "+/_-"


def base64_text(run: str, sign: int) -> tuple[str, str]:
    """Return (text, encoding) of a run in which groups of four are known to begin at ``sign``.

    Something else may stand before and after, without a joint: what is no text is left out.
    """
    before = len(BLANKS.sub("", run[:sign]))
    plain = BLANKS.sub("", run).rstrip("=").translate(URL_SAFE)
    for start in dict.fromkeys((before % 4, before)):
        body = plain[start:]
        if len(body) % 4 == 1:
            body = body[:-1]
        try:
            data = base64.b64decode(body + "=" * (-len(body) % 4))
        except (binascii.Error, ValueError):
            continue
        text, via = text_of(data)
        if not text:
            text = "\n".join(part.decode() for part in PRINTABLE.findall(data))
        if text:
            return text, via
    return "", ""


BLANKS = re.compile(r"\\[nr]|\s")
PRINTABLE = re.compile(rb"[\x20-\x7e\t\r\n]{12,}")
URL_SAFE = str.maketrans("-_", "+/")


def text_of(data: bytes) -> tuple[str, str]:
    """Return (text, encoding) of decoded bytes; an empty text where they hold none."""
    if data[:3] == b"\x1f\x8b\x08" or data[:1] == b"\x78":
        inflated = inflate(data)
        if inflated:
            return readable(inflated), "gzip" if data[:1] == b"\x1f" else "zlib"
    if len(data) >= 8 and not any(data[1:32:2]):
        return readable(
            data[: len(data) // 2 * 2].decode("utf-16-le", "replace").encode()
        ), "utf-16"
    return readable(data), ""


def inflate(data: bytes) -> bytes:
    """Decompress gzip or zlib; Unfinished where it grows over INFLATED."""
    unpack = zlib.decompressobj(47)
    try:
        plain = unpack.decompress(data, INFLATED)
    except zlib.error:
        return b""
    if unpack.unconsumed_tail:
        raise Unfinished(f"a compressed run holds more than {INFLATED} bytes")
    return plain


def readable(data: bytes) -> str:
    """Return the bytes as text where nearly all of them are."""
    text = data.decode("utf-8", "replace")
    strange = sum(text.count(char) for char in ("\ufffd", "\0"))
    if len(text) < 6 or strange > len(text) // 16:
        return ""
    odd = len(CONTROL.findall(text))
    return text if odd <= len(text) // 16 else ""


CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def hex_runs(text: str) -> Iterator[Decoded]:
    for run in HEX_RUN.finditer(text):
        pairs = re.sub(r"0x|\\x|[ ,:]", "", run.group())
        plain = readable(bytes.fromhex(pairs[: len(pairs) // 2 * 2]))
        if plain:
            yield Decoded(run.start(), run.start() + len(run.group().rstrip(" ,:")), plain)


def percent_runs(text: str) -> Iterator[Decoded]:
    for run in PERCENT.finditer(text):
        plain = bytes.fromhex(run.group().replace("%", "")).decode("utf-8", "replace")
        yield Decoded(run.start(), run.end(), plain)


def entities(text: str) -> Iterator[Decoded]:
    for run in ENTITY.finditer(text):
        plain = html.unescape(run.group())
        if plain != run.group():
            yield Decoded(run.start(), run.end(), plain)


def escapes(text: str) -> Iterator[Decoded]:
    """Undo JSON's and C's escapes."""
    for run in ESCAPE.finditer(text):
        body = run.group()[1:]
        if body[0] in "ux":
            plain = chr(int(body[1:], 16)).encode(errors="replace").decode()
        elif len(body) == 3:
            plain = chr(int(body, 8) & 0xFF)
        else:
            plain = SIMPLE_ESCAPES.get(body, body)
        yield Decoded(run.start(), run.end(), plain)


def spaced_out(text: str) -> Iterator[Decoded]:
    """Close up ``g h p _ 1 2``: every second character is the filler."""
    for stretch in SPACED_GATE.finditer(text):
        for run in SPACED.finditer(text, stretch.start(), min(len(text), stretch.end() + 1)):
            yield from closed_up(run.group(), run.start())


def closed_up(body: str, at: int) -> Iterator[Decoded]:
    if body[1] != " ":
        yield Decoded(at, at + len(body), body[::2])
        return
    for word in body.split("  "):
        yield Decoded(at, at + len(word), word.replace(" ", ""))
        at += len(word) + 2


def joints(text: str) -> Iterator[Decoded]:
    """Join string literals that are put together: ``"ghp_" + "16C7"``."""
    for run in JOINT.finditer(text):
        yield Decoded(run.start(), run.end(), "")


def folded(text: str) -> Iterator[Decoded]:
    """Drop invisible characters, read tag characters as ASCII, fold compatibility forms and
    look-alikes to the letters they imitate.

    Look-alikes only inside words that also have ASCII letters or digits: Russian and Greek stay.
    """
    for run in NOT_ASCII.finditer(text):
        for at, char in enumerate(run.group(), run.start()):
            plain, via = fold(char)
            if plain == char or (via == "confusables" and not beside_ascii(text, at)):
                continue
            yield Decoded(at, at + 1, plain, via=via)


def fold(char: str) -> tuple[str, str]:
    """Return (what the character stands for, by which rule)."""
    code = ord(char)
    if 0xE0020 <= code <= 0xE007E:
        return chr(code - 0xE0000), "tags"
    if INVISIBLE_CLASS.match(char):
        bidi = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or code in (0x200E, 0x200F)
        return "", "bidi" if bidi else "zero-width"
    plain = unicodedata.normalize("NFKC", char)
    if plain.isascii():
        return plain, "nfkc"
    return (FOLD[char], "confusables") if char in FOLD else (char, "")


INVISIBLE_CLASS = re.compile(f"[{INVISIBLE}]")
WORD_REACH = 64


def beside_ascii(text: str, at: int) -> bool:
    """Tell whether the word around this place also has ASCII letters or digits."""
    for step in (-1, 1):
        place = at + step
        while 0 <= place < len(text) and abs(place - at) <= WORD_REACH:
            char = text[place]
            if char.isascii() and (char.isalnum() or char in "_-"):
                return True
            if not char.isalnum() and not INVISIBLE_CLASS.match(char):
                break
            place += step
    return False


def around(words: re2._Regexp, text: str) -> Iterator[tuple[int, int]]:
    """Yield the stretches within AROUND of any of the words, joined where they touch."""
    start = end = -1
    for match in words.finditer(text):
        left, right = max(0, match.start() - AROUND), min(len(text), match.end() + AROUND)
        if left > end:
            if end > 0:
                yield start, end
            start = left
        end = right
    if end > 0:
        yield start, end


def rot13(words: re2._Regexp) -> Callable[[str], Iterator[Decoded]]:
    def decode(text: str) -> Iterator[Decoded]:
        for start, end in around(words, text):
            yield Decoded(start, end, codecs.encode(text[start:end], "rot13"), "linear")

    return decode


def backwards(words: re2._Regexp) -> Callable[[str], Iterator[Decoded]]:
    def decode(text: str) -> Iterator[Decoded]:
        for start, end in around(words, text):
            yield Decoded(start, end, text[start:end][::-1], "mirror")

    return decode


ANCHORS = (
    "password",
    "passwd",
    "secret",
    "api_key",
    "apikey",
    "access_key",
    "token",
    "private key",
    "ignore",
    "instructions",
    "previous",
    "system prompt",
    "disregard",
)
"""Words beside which somebody would hide something; found backwards and in ROT13 as well."""


def layers(prefixes: tuple[str, ...]) -> tuple[Layer, ...]:
    """Return all layers. ``prefixes`` are the literal beginnings of the rules' tokens."""
    turned = literals(lambda word: codecs.encode(word, "rot13"), prefixes)
    mirrored = literals(lambda word: word[::-1], prefixes)
    invisible = f"[{INVISIBLE}]"
    near = "[\\w=:.@/\\-\uff01-\uff5e]"
    unicode = (
        f"{near}{invisible}+{near}|[\U000e0020-\U000e007e]{{4}}|[\uff01-\uff5e]{{3}}"
        "|[\U0001d400-\U0001d7ff]{3}|[\u24b6-\u24e9]{3}"
        "|[\\w-][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][\\w-]"
    )
    return (
        Layer("unicode", unicode, folded),
        Layer("percent", "%[2-7][0-9A-Fa-f]", percent_runs),
        Layer(
            "html",
            r"&(?:#[0-9xX]|quot;|apos;|amp;|lt;|gt;|colon;|equals;|lowbar;|commat;)",
            entities,
        ),
        Layer("escape", r"\\(?:u00[2-7][0-9A-Fa-f]|x[2-7][0-9A-Fa-f]|1[0-7]{2})|:\\/\\/", escapes),
        Layer("base64", f"{BASE64_TEXT}|{BASE64_UTF16}|{BASE64_PACKED}|{BASE64_WIDE}", base64_runs),
        Layer("hex", f"{HEX_TEXT}|{HEX_WIDE}", hex_runs),
        Layer("spaced", SPACING, spaced_out),
        Layer("joined", JOINING, joints),
        Layer("rot13", turned, rot13(re2.compile(turned))),
        Layer("reversed", mirrored, backwards(re2.compile(mirrored))),
    )


def literals(turn: Callable[[str], str], prefixes: Sequence[str]) -> str:
    """Return an expression for the anchors, in any case, and the prefixes, all of them turned."""
    anchors = "|".join(re.escape(turn(word)) for word in ANCHORS)
    return "|".join([f"(?i:{anchors})", *sorted({re.escape(turn(word)) for word in prefixes})])

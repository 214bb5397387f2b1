"""Words and what they mean to a reader of attacks: text in, windows of words out.

A text is cut into windows of a few sentences, so that an order hidden in a long document is judged
by itself. Words are folded (small letters, no accents, compatibility forms undone), and the lexicon
says which meanings they carry: *override*, *prior*, *instruction*, ... whatever the language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_

import yaml

from milecastle import shipped
from milecastle.detect.rules import SAFE

LEAST = 16
"""Words that fill a window; sentences are added until then."""
MOST = 40
"""Words of the longest window."""
LONGEST_WORD = 24
REMEMBERED = 20_000
"""Distinct words of which something is kept."""
HEAD, TAIL = 192_000, 64_000
"""Characters of a very long text that are read: its beginning and its end."""

MARKS = "\u0900-\u0dff\u0e00-\u0eff"
"""Scripts whose vowel signs are no letters to Python: Devanagari to Sinhala, Thai, Lao."""
TOKEN = re.compile(rf"(?:[^\W\d_]|[{MARKS}])+(?:['’][^\W\d_]+)?|\d+")
PLAIN = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[.!?\n;]+")
"""TOKEN, or what ends a sentence, in small ASCII letters."""
ENDS = frozenset(".!?\n;")
UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
"""Chinese and Japanese: no blanks between words."""
SENTENCE = re.compile(r"[^.!?\n;。！？]+[.!?\n;。！？]*")


@dataclass(frozen=True, slots=True)
class Window:
    """Some neighbouring sentences: where they stand in the text, and their words."""

    start: int
    end: int
    words: tuple[str, ...]


def accents() -> dict[int, str | None]:
    """Return what str.translate needs to drop accents from Latin, Greek and Cyrillic letters."""
    table: dict[int, str | None] = dict.fromkeys(range(0x300, 0x370))
    for code in (*range(0xC0, 0x590), *range(0x1E00, 0x2000)):
        parts = unicodedata.normalize("NFKD", chr(code))
        plain = "".join(part for part in parts if not unicodedata.combining(part))
        if plain != chr(code):
            table[code] = plain
    return table


ACCENTS = accents()


def fold(text: str) -> str:
    """Return the text in small letters without accents."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).lower().translate(ACCENTS)


class Learnt[T](dict[str, T]):
    """What is known of words; asks for what it does not hold."""

    def __init__(self, learn: Callable[[str], T]) -> None:
        super().__init__()
        self._learn = learn

    def __missing__(self, word: str) -> T:
        if len(self) >= REMEMBERED:
            self.clear()
        self[word] = known = self._learn(word)
        return known


class Lexicon:
    """Which meanings a word carries, as bits: ``1 << number of the meaning``."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self.names = tuple(entries)
        self._whole: dict[str, int] = {}
        self._stems: dict[str, int] = {}
        for number, words in enumerate(entries.values()):
            for word in words.split():
                folded = fold(word.rstrip("*"))
                hangul = "\uac00" <= folded[0] <= "\ud7a3"  # particles are glued to Korean words
                known = self._stems if word.endswith("*") or hangul else self._whole
                known[folded] = known.get(folded, 0) | 1 << number
        self._unspaced = {word for word in {*self._whole, *self._stems} if UNSPACED.match(word)}
        for word in self._unspaced & set(self._stems):
            self._whole[word] = self._whole.get(word, 0) | self._stems[word]
        self._known = Learnt(self._meanings)

    def bits(self, names: tuple[str, ...]) -> int:
        """Return the bits of these meanings. KeyError names one that does not exist."""
        numbers = {name: number for number, name in enumerate(self.names)}
        return sum(1 << numbers[name] for name in names)

    def meanings(self, word: str) -> int:
        """Return the meanings of a folded word, 0 for most words."""
        return self._known[word]

    def meant(self, words: Iterable[str]) -> int:
        """Return the meanings of all these folded words."""
        return reduce(or_, map(self._known.__getitem__, words), 0)

    def _meanings(self, word: str) -> int:
        bits = self._whole.get(word, 0)
        for length in range(2, len(word) + 1):
            bits |= self._stems.get(word[:length], 0)
        return bits

    def words(self, text: str) -> list[str]:
        """Return the folded words of a text."""
        found = []
        for word in TOKEN.findall(fold(text)):
            if word.isascii() or not UNSPACED.search(word):
                found.append(word[:LONGEST_WORD])
            else:
                found += self._split(word)
        return found

    def _split(self, run: str) -> Iterator[str]:
        """Cut a run without blanks: known words where they stand, single characters between."""
        at = 0
        while at < len(run):
            for length in (6, 5, 4, 3, 2):
                if run[at : at + length] in self._unspaced:
                    yield run[at : at + length]
                    at += length
                    break
            else:
                yield run[at]
                at += 1

    def windows(self, text: str) -> list[Window]:
        """Cut a text into windows of LEAST to MOST words; a short rest joins its neighbour."""
        found: list[Window] = []
        words: list[str] = []
        start = 0
        for begin, end, said in self._sentences(text):
            if not words:
                start = begin
            words += said
            while len(words) > MOST:
                found.append(Window(start, end, tuple(words[:MOST])))
                words = words[MOST:]
                start = begin
            if len(words) >= LEAST:
                found.append(Window(start, end, tuple(words)))
                words = []
        if words and found and len(words) < LEAST // 2:
            last = found.pop()
            found.append(Window(last.start, len(text), last.words + tuple(words)))
        elif words:
            found.append(Window(start, len(text), tuple(words)))
        return found

    def _sentences(self, text: str) -> Iterator[tuple[int, int, list[str]]]:
        """Yield where each sentence that is read begins and ends, and its words."""
        for begin, end in read(len(text)):
            places = [match.span() for match in SENTENCE.finditer(text, begin, end)]
            if text.isascii():
                said = plain_sentences(text[begin:end])
                yield from ((a, b, words) for (a, b), words in zip(places, said, strict=True))
            else:
                yield from ((a, b, self.words(text[a:b])) for a, b in places)


def plain_sentences(text: str) -> Iterator[list[str]]:
    """Yield the words of each sentence of an ASCII text: all of it is taken apart at once."""
    tokens = PLAIN.findall(text.lower())
    if tokens and len(max(tokens, key=len)) > LONGEST_WORD:
        tokens = [token[:LONGEST_WORD] for token in tokens]
    ends = [at for at, token in enumerate(tokens) if token[0] in ENDS]
    begin = 0
    if text[:1] in ENDS and ends:
        begin = ends.pop(0) + 1  # no sentence goes before it
    for end in ends:
        yield tokens[begin:end]
        begin = end + 1
    if text and text[-1] not in ENDS:
        yield tokens[begin:]


def read(length: int) -> tuple[tuple[int, int], ...]:
    """Return which parts of a text of this length are read."""
    if length <= HEAD + TAIL:
        return ((0, length),)
    return ((0, HEAD), (length - TAIL, length))


@cache
def lexicon() -> Lexicon:
    """Return the shipped lexicon."""
    _, text = shipped.text("config", "models", "lexicon.yaml")
    root = yaml.compose(text, Loader=SAFE)
    assert isinstance(root, yaml.MappingNode)
    return Lexicon({str(key.value): str(value.value) for key, value in root.value})

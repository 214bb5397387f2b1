"""A linear classifier for injection: hashed words, letters of words, and meanings in their order.

Each window of words gets a logit; the text's is their smooth maximum, less what length alone would
bring. Nothing here is random or learns: the weights stand in ``config/models/injection.json``, and
``scripts/train_injection.py`` made them with these very functions. See docs/MODEL_CARD.md.

Features of a window, each group divided by the square root of its size:

``words``    the distinct words and pairs of neighbours;
``letters``  runs of 3 to 5 letters within the distinct words, ends marked: ``<ign``, ``nore>``;
``meanings`` the lexicon's meanings that occur, the first word's, and which stands before which.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from milecastle import shipped
from milecastle.detect.injection_words import Lexicon, Window, lexicon
from milecastle.model import Json

WORDS = 1 << 18
LETTERS = 1 << 18
MEANINGS = 64 + 32 * 32
"""Weights of each group."""
GROUPS = {"words": WORDS, "letters": LETTERS, "meanings": MEANINGS}
MIXER = 0x9E3779B1
"""Knuth's multiplicative constant, the golden ratio of 2**32."""
REACH = 8
"""Words that two meanings may stand apart, to count as one before the other."""
NEXT = 4
"""How many of the following words with a meaning are looked at."""
REMEMBERED = 20_000
"""Distinct words of which is kept what they weigh."""


def crc(text: str) -> int:
    return zlib.crc32(text.encode(errors="replace"))


def word_features(codes: Sequence[int]) -> set[int]:
    """Return the places of the distinct words (their CRCs) and neighbours."""
    found = {code >> 5 & WORDS - 1 for code in codes}
    found.update((first * MIXER + second) >> 7 & WORDS - 1 for first, second in pairwise(codes))
    return found


def letter_features(word: str) -> list[int]:
    """Return the places of a word's runs of letters; none for short words."""
    if len(word) < 4:
        return []
    marked = f"<{word}>"
    return [
        crc(marked[at : at + length]) >> 5 & LETTERS - 1
        for length in (3, 4, 5)
        for at in range(len(marked) - length + 1)
    ]


def meaning_features(meanings: Sequence[int]) -> set[int]:
    """Return the places of what the words' meanings (bits) say, in their order."""
    found: set[int] = set()
    carriers = [(at, numbers(bits)) for at, bits in enumerate(meanings) if bits]
    for place, (at, own) in enumerate(carriers):
        found.update(own)
        for later, others in carriers[place + 1 : place + 1 + NEXT]:
            if later - at > REACH:
                break
            found.update(64 + 32 * one + other for one in own for other in others)
    if meanings and meanings[0]:
        found.update(32 + number for number in numbers(meanings[0]))
    return found


@cache
def numbers(bits: int) -> tuple[int, ...]:
    """Return which bits are set."""
    return tuple(number for number in range(32) if bits >> number & 1)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the classifier thinks of a text."""

    logit: float
    start: int
    end: int
    """The window that weighs most."""


class Known(NamedTuple):
    """What need not be asked again of a word."""

    code: int
    meanings: int
    letters: int
    """Sum of its letters' weights."""
    runs: int
    """How many those are."""


class Classifier:
    """Weights, and how to ask them. One thread at a time."""

    def __init__(
        self, weights: Mapping[str, tuple[float, bytes]], bias: float, words: Lexicon
    ) -> None:
        """``weights``: group -> (scale, one signed byte a weight)."""
        for group, size in GROUPS.items():
            if len(weights[group][1]) != size:
                raise ValueError(f"{len(weights[group][1])} weights for {group}, not {size}")
        self._words, self._letters, self._meanings = (
            array("b", weights[group][1]) for group in GROUPS
        )
        self._scale = tuple(weights[group][0] for group in GROUPS)
        self._bias = bias
        self.lexicon = words
        self._known: dict[str, Known] = {}

    def window(self, words: Sequence[str]) -> float:
        """Return the logit of one window of words."""
        if not words:
            return self._bias
        known = [self._known.get(word) or self._learn(word) for word in words]
        own = word_features([word.code for word in known])
        meant = meaning_features([word.meanings for word in known])
        distinct = set(known)
        letters = sum([word.letters for word in distinct])
        count = sum([word.runs for word in distinct])
        logit = self._bias
        logit += self._scale[0] * sum([self._words[at] for at in own]) / math.sqrt(len(own))
        if count:
            logit += self._scale[1] * letters / math.sqrt(count)
        if meant:
            weight = sum([self._meanings[at] for at in meant])
            logit += self._scale[2] * weight / math.sqrt(len(meant))
        return logit

    def _learn(self, word: str) -> Known:
        places = letter_features(word)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        known = Known(
            crc(word),
            self.lexicon.meanings(word),
            sum(self._letters[at] for at in places),
            len(places),
        )
        self._known[word] = known
        return known

    def judge(self, windows: Sequence[Window]) -> Judgement:
        """Return the logit of a whole text, given its windows."""
        if not windows:
            return Judgement(self._bias, 0, 0)
        logits = [self.window(window.words) for window in windows]
        best = max(range(len(logits)), key=logits.__getitem__)
        return Judgement(pooled(logits), windows[best].start, windows[best].end)


def pooled(logits: Sequence[float]) -> float:
    """Return the smooth maximum of windows' logits, less half the logarithm of their number."""
    top = max(logits)
    return top + math.log(sum(math.exp(each - top) for each in logits) / math.sqrt(len(logits)))


def unpacked(text: str) -> bytes:
    """Return weights as the model file holds them: zlib in base64."""
    return zlib.decompress(base64.b64decode(text))


@cache
def model() -> dict[str, Json]:
    """Return the shipped model file."""
    loaded: dict[str, Json] = json.loads(shipped.text("config", "models", "injection.json")[1])
    return loaded


@cache
def classifier() -> Classifier:
    """Return the shipped classifier."""
    groups = model()["groups"]
    assert isinstance(groups, dict)
    weights = {}
    for name in GROUPS:
        group = groups[name]
        assert isinstance(group, dict)
        weights[name] = (float(str(group["scale"])), unpacked(str(group["weights"])))
    return Classifier(weights, float(str(model()["bias"])), lexicon())

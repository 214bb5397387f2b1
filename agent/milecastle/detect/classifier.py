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
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, reduce
from itertools import pairwise
from operator import or_
from typing import NamedTuple

from milecastle import shipped
from milecastle.detect.injection_words import Learnt, Lexicon, Window, lexicon
from milecastle.model import Json

WORDS = 1 << 18
LETTERS = 1 << 18
MEANINGS = 64 + 32 * 32
"""Weights of each group."""
GROUPS = {"words": WORDS, "letters": LETTERS, "meanings": MEANINGS}
MIXER = 0x9E3779B1
"""Knuth's multiplicative constant, the golden ratio of 2**32."""
HOPELESS = -2.5
"""What a window's words promise at least that is worth a look at their order. Of 21,873 windows of
the development data with a logit over -0.5 it leaves out five, of ordinary ones two in three."""
PAIRED = (WORDS << 7) - 1
"""The bits of a pair's code that its place depends on."""
REACH = 8
"""Words that two meanings may stand apart, to count as one before the other."""
NEXT = 4
"""How many of the following words with a meaning are looked at."""


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
    carriers = [(at, bits) for at, bits in enumerate(meanings) if bits]
    parts = [single(bits) for _, bits in carriers]
    for place, (at, own) in enumerate(carriers, 1):
        reach = at + REACH
        parts += [ordered(own, bits) for to, bits in carriers[place : place + NEXT] if to <= reach]
    if meanings and meanings[0]:
        parts.append(frozenset(32 + number for number in single(meanings[0])))
    return set().union(*parts)


@cache
def single(bits: int) -> frozenset[int]:
    """Return which bits are set."""
    return frozenset(number for number in range(32) if bits >> number & 1)


@cache
def ordered(bits: int, later: int) -> frozenset[int]:
    """Return the places of each of these meanings before each of those."""
    return frozenset(64 + 32 * one + other for one in single(bits) for other in single(later))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the classifier thinks of a text."""

    logit: float
    start: int
    end: int
    """The window that weighs most."""


class Known(NamedTuple):
    """What need not be asked again of a word."""

    place: int
    """Its own, among the words."""
    leading: int
    """What it adds to the place of a pair that it leads."""
    following: int
    meanings: int


class Classifier:
    """Weights, and how to ask them. One thread at a time."""

    def __init__(
        self, weights: Mapping[str, tuple[float, bytes]], bias: float, words: Lexicon
    ) -> None:
        """``weights``: group -> (scale, one signed byte a weight)."""
        for group, size in GROUPS.items():
            if len(weights[group][1]) != size:
                raise ValueError(f"{len(weights[group][1])} weights for {group}, not {size}")
        words_, letters, meanings = (array("b", weights[group][1]) for group in GROUPS)
        self._words, self._letters, self._meanings = words_.tolist(), letters, meanings.tolist()
        self._scale = tuple(weights[group][0] for group in GROUPS)
        self._bias = bias
        self.lexicon = words
        self._known = Learnt(self._learn)
        self._runs = Learnt(self._learn_runs)

    def window(self, words: Sequence[str]) -> float:
        """Return the logit of one window of words."""
        if not words:
            return self._bias
        known = map(self._known.__getitem__, words)
        places, leading, following, bits = zip(*known, strict=True)
        own = set(places)
        runs = sum(map(self._runs.__getitem__, set(words)))
        base = self._bias
        if runs.imag:
            base += self._scale[1] * runs.real / math.sqrt(runs.imag)
        quick = base + self._share(0, self._words, own, 2 * len(own))
        quick += self._share(2, self._meanings, single(reduce(or_, bits)))
        if quick < HOPELESS:
            return quick
        pairs = zip(leading, following[1:], strict=False)
        own.update([a + b >> 7 & WORDS - 1 for a, b in pairs])
        meant = meaning_features(bits)
        return base + self._share(0, self._words, own) + self._share(2, self._meanings, meant)

    def _share(self, group: int, weights: list[int], places: Set[int], size: int = 0) -> float:
        """Return what a group of features adds to the logit."""
        if not places:
            return 0.0
        weight = sum(map(weights.__getitem__, places))
        return self._scale[group] * weight / math.sqrt(size or len(places))

    def _learn(self, word: str) -> Known:
        code = crc(word)
        return Known(
            code >> 5 & WORDS - 1,
            code * MIXER & PAIRED,
            code & PAIRED,
            self.lexicon.meanings(word),
        )

    def _learn_runs(self, word: str) -> complex:
        """Return the sum of a word's letters' weights; the imaginary part says of how many.

        So both are added up at once.
        """
        places = letter_features(word)
        return complex(sum(self._letters[at] for at in places), len(places))

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

"""Tell strings that a machine drew from strings that a person wrote.

Drawn strings change between letters and digits all the time and put letters side by side that no
word does. ``oddness`` is the share of such neighbours. Over 208,000 identifiers of Python
packages its median is 0.11; of 2,000 random strings of 16 characters, 98% and more reach 0.42,
whatever their alphabet.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

from milecastle.detect.vocabulary import vocabulary

COMMON_PAIRS = vocabulary(
    "ab ac ad ag ai al am an ap ar as at au ay ba be bi bl bo bu ca ce ch ci ck cl co cr ct cu da "
    "dd de di do dr ds du ea ec ed ee ef eg el em en ep eq er es et ev ex ey fa fe ff fi fl fo fr "
    "ge gi gn gr gs ha he ho ht ia ib ic id ie if ig il im in io ip ir is it iv iz ke la ld le lf "
    "li ll lo ls lt lu ma mb me mi mm mo mp ms na nc nd ne nf ng ni nn no ns nt nu ob oc od of ol "
    "om on oo op or os ot ou ow pa pe pi pl po pp pr pt pu py qu ra rc rd re rg ri rm ro rr rs rt "
    "ru rv ry sa sc se sh si sl so sp ss st su ta tc te th ti tl to tp tr ts tt tu ty ub ue ui ul "
    "um un up ur us ut va ve vi wa wi xt yp ze"
)
"""The 200 commonest neighbours within the words of identifiers; 89% of all of them."""
ODD = 0.42
ODD_LETTERS = 0.5
"""Asked of strings without a digit: foreign words reach the lower mark."""
HEX = re.compile(r"^(?:0x)?[0-9a-f]+$|^(?:0x)?[0-9A-F]+$")


def entropy(text: str) -> float:
    """Return Shannon's entropy of the characters, in bits per character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values()) if text else 0.0


def sequential(text: str) -> float:
    """Return the share of neighbours that follow each other (``ab``, ``21``) or are equal."""
    if len(text) < 2:
        return 0.0
    near = sum(abs(ord(a) - ord(b)) <= 1 for a, b in pairwise(text))
    return near / (len(text) - 1)


def oddness(text: str) -> float:
    """Return the share of neighbours that words and identifiers do not have, 0 to 1."""
    counted = 0
    odd = 0.0
    for a, b in pairwise(text):
        if not (a.isalnum() and b.isalnum()) or (a.isdecimal() and b.isdecimal()):
            continue
        counted += 1
        if a.isdecimal() != b.isdecimal():
            odd += 1
        elif a.islower() and b.isupper():
            odd += 0.5
        elif (a + b).lower() not in COMMON_PAIRS:
            odd += 1
    return odd / counted if counted else 0.0


def is_random(text: str) -> bool:
    """Judge a string of at least eight characters; a shorter one never is."""
    core = text.strip("=-_.")[:512]
    if len(core) < 8:
        return False
    if not any(char.isdecimal() for char in core):
        return len(core) >= 16 and oddness(core) >= ODD_LETTERS and entropy(core) > 3
    if HEX.match(core):
        return len(core) >= 16 and entropy(core) > 2.6
    if sum(char.isdecimal() for char in core) > len(core) * 0.8:
        return len(core) >= 16 and entropy(core) > 2.8
    return oddness(core) >= ODD

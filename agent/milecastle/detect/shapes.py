"""Texts and expressions reduced to what kind of character stands where: ``4821-AB`` is ``0000-FF``.

An automaton over many formats of numbers remembers which of them each digit still allows, so a page
of numbers gives it a new state with nearly every character, and building one takes microseconds.
Of shapes there are few: digits are alike, and letters are small or capital, hexadecimal or not.
Every text that an expression matches has a shape that the expression's shape matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import re2

from milecastle.detect.expressions import ASSERTIONS, Group, Item, parse, render

KINDS = {
    "0": "0123456789",
    "f": "abcdef",
    "z": "ghijklmnopqrstuvwxyz",
    "F": "ABCDEF",
    "Z": "GHIJKLMNOPQRSTUVWXYZ",
}
"""The character that stands for each kind; all others stand for themselves."""
TABLE = bytes.maketrans(
    b"".join(members.encode() for members in KINDS.values()),
    b"".join(kind.encode() * len(members) for kind, members in KINDS.items()),
)
KIND_OF = dict(enumerate(TABLE.decode("latin-1")))
ASCII = "".join(map(chr, range(128)))
FOREIGN = "\u212a\u017f\u0085\u00a0\u00e9\u0301\u03c9\u0436\u0e01\u2028\u4e2d\uac00\U0001f600"
"""Some of every sort; the first two are k and s to an expression that folds case."""
BEYOND = r"\x{80}-\x{10ffff}"


def shape_of(data: bytes) -> bytes:
    """Return the text's shape; every byte keeps its place."""
    return data.translate(TABLE)


def shape_expression(expression: str) -> str:
    """Return the expression over shapes. ValueError where it is beyond ``expressions``."""
    tree = parse(expression)
    return render(Item(shaped(tree, "i" in tree.flags)))


def least_digits(expression: str) -> int:
    """Return how many digits stand in every match, at least; 0 where that is not known."""
    try:
        return digits_in([Item(parse(expression))])
    except ValueError:
        return 0


def digits_in(items: Sequence[Item]) -> int:
    total = 0
    for item in items:
        if isinstance(item.what, Group):
            total += item.least * min(map(digits_in, item.what.branches))
        elif item.least:
            total += item.least * (kinds_of(item.what, False) == "0")
    return total


def shaped(group: Group, fold: bool) -> Group:
    branches = tuple(
        tuple(
            Item(
                shaped(item.what, fold or "i" in item.what.flags)
                if isinstance(item.what, Group)
                else kinds_of(item.what, fold),
                item.least,
                item.most,
                item.lazy,
            )
            for item in branch
        )
        for branch in group.branches
    )
    # Words of the same length have one shape: what is said twice is kept once.
    return Group("", "", branches if len(branches) == 1 else tuple(dict.fromkeys(branches)))


@cache
def kinds_of(atom: str, fold: bool) -> str:
    """Return the class of the kinds that this atom matches."""
    if atom in ASSERTIONS:
        return atom
    found = re2.findall(f"(?is:{atom})" if fold else f"(?s:{atom})", ASCII + FOREIGN)
    kinds = sorted({char.translate(KIND_OF) for char in found if char.isascii()})
    inner = "".join(map(escaped, kinds))
    if not atom.isascii() or r"\x{" in atom or not all(map(str.isascii, found)):
        return f"[{inner}{BEYOND}]"
    return f"[{inner}]" if len(kinds) > 1 else inner


def escaped(char: str) -> str:
    return char if char.isalnum() else f"\\x{ord(char):02x}"

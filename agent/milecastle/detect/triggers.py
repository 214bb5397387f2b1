"""What is looked for before a rule's pattern: cheap expressions that stand in every match.

Plain words are looked for in the text. What has too few of them, a number or a random string, is
looked for by its shape; a rule whose context is given as well asks for both.
"""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.detect.expressions import ENOUGH, Item, beginning, literal_length, parse
from milecastle.detect.shapes import least_digits, shape_expression

START = r"(?:\b|\\[nrt])"
"""Where a token begins; ``\\n`` in source code is a joint too."""


WORD_BEGINS = r"(?:\A|[^A-Za-z0-9]|\\[nrt])"
"""As START, where an assertion would double the automaton's states. What has few plain characters
has to begin here, or an automaton would count along in every word."""
DIGITS = 4
"""Digits that make a number of an expression without plain characters."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """Two RE2 expressions; an empty one asks for nothing."""

    words: str = ""
    """To be found in the text."""
    shape: str = ""
    """To be found in the text's shape."""


def trigger_of(begins: str, given: str = "") -> Trigger:
    """Return the trigger of a rule whose matches begin like this expression.

    ``given`` is what its author says stands in every match, or near it.
    """
    plain = plain_bytes(begins) >= ENOUGH
    numeric = not plain and least_digits(begins) >= DIGITS
    if given:
        return Trigger(given, shape(begins) if numeric else "")
    if numeric:
        return Trigger(shape=shape(begins))
    lead = "" if plain else WORD_BEGINS
    return Trigger(lead + shortened(begins)) if begins else Trigger()


def shortened(pattern: str) -> str:
    """Return the pattern's cheap beginning; all of it where its syntax is beyond us."""
    try:
        return beginning(pattern)
    except ValueError:
        return pattern


def shape(pattern: str) -> str:
    """Return the shape of the pattern's beginning; empty where its syntax is beyond us."""
    try:
        return shape_expression(beginning(pattern, asserting=True))
    except ValueError:
        return ""


def plain_bytes(expression: str) -> int:
    """Return how many plain bytes every match has at least."""
    try:
        return literal_length([Item(parse(expression))])
    except ValueError:
        return 0

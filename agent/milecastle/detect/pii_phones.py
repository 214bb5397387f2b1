"""Telephone numbers: what phonenumbers (libphonenumber's tables) holds for one.

The library is imported at the first candidate, and it loads the table of a country when asked.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.pii_numbers import JOINED, monotonous

FICTION = re.compile(r"555[ .)\-]{0,2}01\d\d(?!\d)|1234567|(\d)\1{6}|0123456|98765432")
"""555-0100 to 555-0199 are kept for fiction (NANPA); the others are what people make up."""
DATE = re.compile(
    r"\d{1,4}[./\-]\d{1,2}[./\-]\d{1,4}(?:[ T].*)?"
    r"|(?:19|20)\d\d[.\-/ ](?:19|20)\d\d|(?:\d+\.){3}\d+|0\d{4}-\d{4}"
    r"|\d{1,2}[.\-/ ](?:19|20)\d\d"
)
"""Dates, spans of years, addresses of machines, ZIP codes."""
FEWEST = 8
"""Digits of a number that nothing but its form gives away."""
EXTENSION = re.compile(r"\s?(?:x|ext\.?|#)\s?\d{1,6}\Z", re.IGNORECASE)


@lru_cache(maxsize=1)
def library() -> Any:  # noqa: ANN401 - the library ships no complete types
    import phonenumbers  # only here: it takes 40 ms

    return phonenumbers


def phone(candidate: Candidate, argument: str) -> Evidence | None:
    """Judge a number: ``international``, ``possible``, or the countries it may be valid in.

    ``possible`` asks for a length only; the rule has a word beside it. Countries are ISO 3166
    codes: ``GB FR DE``.
    """
    text = candidate.secret
    if JOINED.search(candidate.before[-48:]) or FICTION.search(text):
        return None
    if DATE.fullmatch(text.strip("() ")):
        return None
    digits = "".join(filter(str.isdecimal, EXTENSION.sub("", text)))
    if FICTION.search(digits) or monotonous(digits) or len(set(digits)) < 3:
        return None
    if argument == "possible":
        return Evidence("a number's length", 0.8) if 7 <= len(digits) <= 15 else None
    if argument == "international":
        return international(digits, text.startswith("00"))
    if len(digits) < FEWEST:
        return None
    for region in argument.split():
        if valid(digits, region):
            return Evidence(f"valid in {region}", 0.9)
    return None


def international(digits: str, dialled: bool) -> Evidence | None:
    """Judge a number that begins with a country code, behind + or (dialled) 00."""
    number = parsed("+" + digits.lstrip("0"), None)
    trunk = re.sub(r"^(\d{2,3}?)0", r"\1", digits.lstrip("0"), count=1)
    # +44 (0)20 ...: the zero is dialled at home only
    for reading in (number, parsed("+" + trunk, None)):
        if reading is None:
            continue
        if library().is_valid_number(reading):
            return Evidence(f"valid, +{reading.country_code}", 0.95)
    if not dialled and number is not None and library().is_possible_number(number):
        return Evidence(f"possible, +{number.country_code}", 0.7)
    return None


def valid(digits: str, region: str) -> bool:
    number = parsed(digits, region)
    return number is not None and library().is_valid_number_for_region(number, region)


def parsed(digits: str, region: str | None) -> Any:  # noqa: ANN401 - see library
    """Return the library's number, or None."""
    try:
        return library().parse(digits, region)
    except library().NumberParseException:
        return None

"""Dates of birth: a date that a person alive may have been born on."""

from __future__ import annotations

import re

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.pii_numbers import alone

FIRST, LAST = 1905, 2026
"""Years of birth of people alive; a date outside belongs to history."""
MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
PARTS = re.compile(r"\d+")
FORMS = {
    "yymmdd": (2, 2, 2, 0),
    "ddmmyy": (2, 2, 2, 2),
    "yyyymmdd": (4, 2, 2, 0),
    "ddmmyyyy": (2, 2, 4, 2),
}
"""Lengths of the three parts, and which of them is the year."""


def day_exists(day: int, month: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= MONTHS[month - 1]


def begins_with_date(candidate: Candidate, form: str) -> Evidence | None:
    """Ask that the number begins with a date: ``yymmdd``, ``ddmmyy``, ``yyyymmdd``."""
    digits = "".join(filter(str.isdecimal, candidate.secret))
    first, second, third, _ = FORMS[form]
    parts = [digits[:first], digits[first : first + second], digits[first + second :][:third]]
    if alone(candidate, "") is None or not all(parts):
        return None
    day, month = (parts[2], parts[1]) if form.startswith("y") else (parts[0], parts[1])
    return Evidence("begins with a date") if day_exists(int(day), int(month)) else None


def birth_date(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for a day, a month (by name or number) and a year that somebody alive was born in."""
    numbers = [int(part) for part in PARTS.findall(candidate.secret)]
    years = [n for n in numbers if n > 99]
    if years and not FIRST <= years[0] <= LAST:
        return None
    days = [n for n in numbers if n <= 99]
    if len(numbers) == 3 and not years:
        days = days[:2] if days[2] > 31 or days[0] <= 31 else days[1:]
    if len(days) == 1:
        return Evidence("a date of birth") if 1 <= days[0] <= 31 else None
    fits = len(days) == 2 and (day_exists(days[0], days[1]) or day_exists(days[1], days[0]))
    return Evidence("a date of birth") if fits else None

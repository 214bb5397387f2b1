"""Checksums of identity numbers that python-stdnum does not know, as a table.

Each takes the number without blanks, dots and hyphens, in capitals, and tells whether it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.pii_dates import day_exists
from milecastle.detect.pii_numbers import alone, compact, luhn_sum, monotonous

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""A letter's value where A is ten: ISO 7064, machine-readable zones, Polish cards."""


def values(text: str) -> list[int]:
    return [LETTERS.index(char) if char in LETTERS else 0 for char in text]


def weigh(numbers: Iterable[int], weights: Iterable[int]) -> int:
    return sum(a * b for a, b in zip(numbers, weights, strict=False))


def us_ssn(text: str) -> bool:
    """Areas, groups and serials that are never issued, and numbers that advertisements used."""
    area, group, serial = text[:3], text[3:5], text[5:]
    never = area in {"000", "666"} or area[0] == "9" or group == "00" or serial == "0000"
    famous = {"078051120", "219099999", "123456789", "123121234", "111223333", "457555462"}
    return not never and text not in famous


def uk_nino(text: str) -> bool:
    return text[:2] not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ", "QQ"} and text != "AB123456C"


def pl_id(text: str) -> bool:
    return weigh(values(text), (7, 3, 1, 9, 7, 3, 1, 7, 3)) % 10 == 0


def de_insurance(text: str) -> bool:
    """Area, birth date, letter as two digits, serial, check digit (VKVV §2)."""
    letter = f"{ord(text[8]) - 64:02d}"
    digits = [int(char) for char in text[:8] + letter + text[9:11]]
    products = [a * b for a, b in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True)]
    return sum(map(digit_sum, products)) % 10 == int(text[11]) and int(text[2:4]) <= 81


def de_health(text: str) -> bool:
    """Letter as two digits, eight digits, check digit (SGB V §290)."""
    digits = [int(char) for char in f"{ord(text[0]) - 64:02d}{text[1:9]}"]
    products = [a * b for a, b in zip(digits, (1, 2) * 5, strict=True)]
    return sum(map(digit_sum, products)) % 10 == int(text[9])


def digit_sum(number: int) -> int:
    return number // 10 + number % 10


def hu_taj(text: str) -> bool:
    return weigh(map(int, text[:8]), (3, 7) * 4) % 10 == int(text[8])


def hu_personal(text: str) -> bool:
    return day_exists(int(text[5:7]), int(text[3:5]))


def ru_snils(text: str) -> bool:
    total = weigh(map(int, text[:9]), range(9, 0, -1)) % 101
    return total % 100 == int(text[9:])


def hk_identity(text: str) -> bool:
    body = text[:-1].rjust(8)
    numbers = [36 if char == " " else LETTERS.index(char) for char in body]
    total = weigh(numbers, range(9, 1, -1)) + LETTERS.index(text[-1])
    return total % 11 == 0


def tw_identity(text: str) -> bool:
    """The letter counts as a number from 10 to 35, in the order of the counties."""
    code = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(text[0]) + 10
    digits = [code // 10, code % 10, *map(int, text[1:])]
    return weigh(digits, (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)) % 10 == 0


def sg_identity(text: str) -> bool:
    total = weigh(map(int, text[1:8]), (2, 7, 6, 5, 4, 3, 2))
    total += {"T": 4, "G": 4, "M": 3}.get(text[0], 0)
    alphabet = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "XWUTRQPNJLK"}.get(
        text[0], "XWUTRQPNMLK"
    )
    if text[0] == "M":
        return alphabet[10 - total % 11] == text[8]
    return alphabet[total % 11] == text[8]


def jp_individual(text: str) -> bool:
    remainder = weigh(map(int, text[10::-1]), (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6)) % 11
    return int(text[11]) == (0 if remainder < 2 else 11 - remainder)


def au_medicare(text: str) -> bool:
    return weigh(map(int, text[:8]), (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(text[8])


def uy_identity(text: str) -> bool:
    return weigh(map(int, text), (2, 9, 8, 7, 6, 3, 4, 1)) % 10 == 0


def us_dea(text: str) -> bool:
    digits = [int(char) for char in text[2:]]
    total = sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])
    return total % 10 == digits[6]


def vehicle(text: str) -> bool:
    """The ninth sign weighs the others (49 CFR 565.15); Europe leaves it free."""
    table = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", "12345678123457923456789", strict=True))
    numbers = [int(table.get(char, char)) for char in text]
    total = weigh(numbers, (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    mixed = any(map(str.isalpha, text)) and len(set(text)) > 5
    return mixed and "0123456789X"[total] == text[8]


def zone(text: str) -> bool:
    """Check digits of ICAO 9303 over the number, in the second line of two or the first of three.

    The specimens of the document's own example country, UTO, belong to nobody.
    """
    lines = text.split()
    if text[2:5] == "UTO" or len(lines) < 2:
        return False
    first, second = lines[0], lines[1]
    number = second[:10] if len(first) > 31 else first[5:15]
    total = weigh(values(number[:9]), (7, 3, 1) * 3)
    return number[9:].isdecimal() and total % 10 == int(number[9])


def luhn(text: str) -> bool:
    return luhn_sum(text) % 10 == 0


SUMS: Mapping[str, Callable[[str], bool]] = {
    "us-ssn": us_ssn,
    "uk-nino": uk_nino,
    "pl-id": pl_id,
    "de-insurance": de_insurance,
    "de-health": de_health,
    "hu-taj": hu_taj,
    "hu-personal": hu_personal,
    "ru-snils": ru_snils,
    "hk-identity": hk_identity,
    "tw-identity": tw_identity,
    "sg-identity": sg_identity,
    "jp-individual": jp_individual,
    "au-medicare": au_medicare,
    "uy-identity": uy_identity,
    "us-dea": us_dea,
    "vehicle": vehicle,
    "mrz": zone,
}
WORDS = {"us-ssn": "an area that is issued", "uk-nino": "a prefix that is issued"}


def identity(candidate: Candidate, name: str) -> Evidence | None:
    """Ask one of the checksums above: ``identity: us-ssn``."""
    text = candidate.secret.upper()
    text = text if name == "mrz" else compact(text)
    if alone(candidate, "") is None or monotonous(text):
        return None
    try:
        holds = SUMS[name](text)
    except (ValueError, IndexError):
        return None
    return Evidence(WORDS.get(name, "checksum valid")) if holds else None


PLATE = re.compile(r"(?=.*[0-9])(?=.*[A-Z])[A-Z0-9 -]{4,10}")


def plate(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for letters and digits, as number plates have them nearly everywhere."""
    return Evidence("letters and digits") if PLATE.fullmatch(candidate.secret) else None

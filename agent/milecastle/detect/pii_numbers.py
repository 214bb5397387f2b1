"""Numbers that carry their own proof: cards, accounts, identity numbers.

python-stdnum knows the checksums of national numbers; each of its modules is imported when the
first candidate asks for it.
"""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from itertools import pairwise
from typing import Any

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.vocabulary import vocabulary

JOINED = re.compile(
    r"(?:[0-9A-Za-z]|[0-9][._/:\-]|[0-9A-Fa-f]{4}-|\\u|(?:[0-9][0-9A-F]{3}|[0-9A-F]{3}[0-9]) "
    r"|[A-Z]{2}[0-9]{2} (?:[A-Z0-9]{4} ){0,8})\Z"
)
"""A text that ends so is a part of the number behind it."""
JOINS = re.compile(r"[0-9A-Za-z_/\-]|\s[0-9]{0,3}[A-F][0-9A-F]{0,3}\b")
"""And one that begins so, of the number before it: a word, or a table of hexadecimal codes."""
SIGNS = str.maketrans("", "", " -./   ‑–()")
MODULE = re.compile(r"[a-z_]{2,4}\.[a-z_]{2,16}|[a-z]{2,8}")


def tail(candidate: Candidate) -> str:
    """Return what the pattern took behind the secret."""
    return candidate.context.partition(candidate.secret)[2]


def compact(text: str) -> str:
    return text.translate(SIGNS)


def alone(candidate: Candidate, _: str) -> Evidence | None:
    """Refuse what is a piece of a longer number, version, path or identifier."""
    if JOINED.search(candidate.before[-48:]) or JOINS.match(candidate.after):
        return None
    return Evidence()


@lru_cache(maxsize=256)
def module(name: str) -> Any:  # noqa: ANN401 - one interface, spelt by a hundred modules
    """Return python-stdnum's module of this name. ValueError where a rule names none."""
    if not MODULE.fullmatch(name):
        raise ValueError(f"no number format {name!r}")
    return importlib.import_module(f"stdnum.{name}")


def stdnum(candidate: Candidate, name: str) -> Evidence | None:
    """Ask python-stdnum whether the number holds: ``stdnum: nl.bsn``."""
    text = candidate.secret
    if alone(candidate, "") is None or monotonous(text):
        return None
    valid = module(name).is_valid
    return Evidence("checksum valid") if valid(text) or valid(compact(text)) else None


def plausible(candidate: Candidate, _: str) -> Evidence | None:
    """Refuse a part of a longer number, and a made-up one."""
    return None if monotonous(candidate.secret) else alone(candidate, "")


def monotonous(text: str) -> bool:
    """Tell made-up numbers: one digit repeated, or digits in a row."""
    digits = [char for char in text if char.isdecimal()]
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(digits)}
    return len(digits) > 4 and (steps == {0} or steps == {1} or steps == {9})


def luhn_sum(digits: str) -> int:
    """Return the sum of ISO/IEC 7812-1 annex B; a number holds where it ends in zero."""
    doubled = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    return sum(
        doubled[int(digit)] if place % 2 else int(digit)
        for place, digit in enumerate(reversed(digits))
    )


def luhn(candidate: Candidate, prefix: str) -> Evidence | None:
    """Ask for a valid Luhn digit; the argument is counted before the number (NPI: 80840)."""
    digits = prefix + "".join(filter(str.isdecimal, candidate.secret))
    if alone(candidate, "") is None or monotonous(candidate.secret) or luhn_sum(digits) % 10:
        return None
    return Evidence("checksum valid")


def weighed(candidate: Candidate, argument: str) -> Evidence | None:
    """Ask that the weighted sum of the digits leaves no remainder: ``3 7 1 3 7 1 3 7 1 % 10``."""
    weights, _, modulus = argument.partition("%")
    factors = [int(word) for word in weights.split()]
    digits = [int(char) for char in candidate.secret if char.isdecimal()]
    if alone(candidate, "") is None or len(digits) != len(factors) or monotonous(candidate.secret):
        return None
    total = sum(a * b for a, b in zip(digits, factors, strict=True))
    return None if total % int(modulus) else Evidence("checksum valid")


def clabe(candidate: Candidate, _: str) -> Evidence | None:
    """Compare the last digit with the weighed sum of the others, each product modulo 10."""
    digits = [int(char) for char in candidate.secret if char.isdecimal()]
    total = sum(a * b % 10 for a, b in zip(digits[:17], (3, 7, 1) * 6, strict=False))
    if alone(candidate, "") is None or len(digits) != 18 or -total % 10 != digits[17]:
        return None
    return Evidence("checksum valid")


COUNTRIES = vocabulary(
    """
    AD AE AL AM AO AR AT AU AZ BA BB BD BE BG BH BM BN BO BR BS BW BY BZ CA CH CI CL CM CN CO CR CU
    CY CZ DE DK DO DZ EC EE EG ES ET FI FJ FO FR GA GB GE GG GH GI GL GR GT HK HN HR HU ID IE IL IM
    IN IQ IR IS IT JE JM JO JP KE KG KH KR KW KY KZ LA LB LI LK LT LU LV LY MA MC MD ME MG MK ML MM
    MN MO MT MU MV MX MY MZ NA NG NI NL NO NP NZ OM PA PE PG PH PK PL PR PS PT PY QA RO RS RU RW SA
    SC SE SG SI SK SM SN SV SY TH TJ TN TR TT TW TZ UA UG US UY UZ VA VE VG VN XK YE ZA ZM ZW
    """
)


def bic(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for a country in the fifth and sixth place of a BIC (ISO 9362)."""
    return Evidence("a country's bank") if candidate.secret[4:6] in COUNTRIES else None


ISSUERS: tuple[tuple[str, frozenset[int], re.Pattern[str]], ...] = tuple(
    (name, frozenset(lengths), re.compile(prefix))
    for name, lengths, prefix in (
        ("Visa", {13, 16, 19}, r"4"),
        ("Mastercard", {16}, r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"),
        ("American Express", {15}, r"3[47]"),
        ("Discover", {16, 17, 18, 19}, r"6011|64[4-9]|65"),
        ("Diners Club", {14, 16}, r"30[0-59]|36|38|39"),
        ("JCB", {16}, r"35"),
        ("JCB", {15}, r"1800|2131"),
        ("UnionPay", {16, 17, 18, 19}, r"62|81"),
        ("Maestro", {12, 13, 15, 16, 18, 19}, r"5018|5020|5038|5[68]|6304|67"),
        ("RuPay", {16}, r"60|82|508"),
        ("Mir", {16}, r"220[0-4]"),
        ("Troy", {16}, r"9792"),
        ("Elo", {16}, r"4011|4312|4389|5041|5066|5067|509|6277|6362|6363|650|6516|6550"),
    )
)
"""Issuers by number prefix (ISO/IEC 7812) and length, as their own documentation gives them."""
USUAL = frozenset({14, 15, 16})
GROUPED = re.compile(
    r"\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5}|\d{12,19}"
)
TEST_CARDS = vocabulary(
    """
    4111111111111111 4242424242424242 4000056655665556 4012888888881881 4222222222222
    4000000000000002 4000000000009995 4000002500003155 4000000000003220 4917610000000000
    5555555555554444 5105105105105100 5200828282828210 2223003122003222 2223000048400011
    5454545454545454 378282246310005 371449635398431 378734493671000 341111111111111
    6011111111111117 6011000990139424 6011981111111113 30569309025904 38520000023237
    3056930009020004 36227206271667 3566002020360505 3530111333300000 6200000000000005
    6205500000000000004 6759649826438453 5019717010103742 6304000000000000 6799990100000000019
    4988438843884305 4166676667666746 4646464646464644 4444333322221111 5100000010001004
    2222400070000005 4000000000000077 4000000000000010 4000000000000101 4000000000000341
    """
)
"""Numbers that payment providers publish for tests; they buy nothing."""
CARD_WORDS = re.compile(
    r"card|credit|debit|visa|master|amex|maestro|discover|diners|\bpan\b|\bcc\b|karte|carte|carta"
    r"|tarjeta|cart[aã]o|kaart|kort|karta|kart\b|карт|カード|卡|카드|payment|billing|charge",
    re.IGNORECASE,
)


def card(candidate: Candidate, _: str) -> Evidence | None:
    """Judge a payment card's number: issuer, length, Luhn digit, and no test number."""
    if not GROUPED.fullmatch(candidate.secret) or alone(candidate, "") is None:
        return None
    digits = compact(candidate.secret)
    names = [
        name for name, lengths, prefix in ISSUERS if len(digits) in lengths and prefix.match(digits)
    ]
    if not names or digits in TEST_CARDS or len(set(digits)) < 3 or luhn_sum(digits) % 10:
        return None
    if digits[6:-1].count("0") == len(digits) - 7:
        return None  # every provider's test numbers have this form
    said = CARD_WORDS.search(candidate.before)
    if not said and len(digits) not in USUAL and not (names[0] == "Visa" and len(digits) == 19):
        return None
    return Evidence(f"{names[0]}, Luhn valid", 1.0 if said or digits != candidate.secret else 0.8)


EXAMPLE_IBANS = frozenset({"GB29NWBK60161331926819", "DE89370400440532013000"})
"""The two that documentation repeats most; both hold, and belong to nobody."""


def iban(candidate: Candidate, _: str) -> Evidence | None:
    """Judge an IBAN: country, its length and the remainder of ISO 7064 (ISO 13616)."""
    number = compact(candidate.secret).upper()
    if alone(candidate, "") is None or number in EXAMPLE_IBANS:
        return None
    # A word in capitals may stand right behind it: drop group after group from the end.
    for end in range(len(number), 14, -1):
        if module("iban").is_valid(number[:end]):
            rest = len(number) - end
            return Evidence("checksum valid") if rest in range(5) else None
    return None

"""The checks of personal data that rule files may ask for, under one table.

What has a checksum is believed by itself; what has only a shape needs a word beside it that says
what it is. Values that documentation prints (555-0100, 4111 1111 …, example.com) belong to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from milecastle.detect import (
    pii_contact,
    pii_dates,
    pii_identity,
    pii_network,
    pii_numbers,
    pii_phones,
)
from milecastle.detect import pii_wallets as wallets
from milecastle.detect.candidate import Candidate, Evidence

CLOSE = 32
"""Code points before it that count as next to it."""
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
JOINT = re.compile(r"[_\-\s]+")


@lru_cache(maxsize=512)
def expression(words: str) -> re.Pattern[str]:
    return re.compile(words.removeprefix("(?i)"), re.IGNORECASE)


def spread(text: str) -> str:
    """Return the text with identifiers taken apart: ``dateOfBirth``, ``date_of_birth``."""
    return JOINT.sub(" ", HUMP.sub(" ", text))


def beside(candidate: Candidate, words: str) -> Evidence | None:
    """Ask for one of these words (an expression) before the candidate, on whatever line."""
    found = expression(words).search(candidate.before)
    found = found or expression(words).search(spread(candidate.before))
    return Evidence(f"beside {found.group().strip().lower()[:24]!r}") if found else None


def after(candidate: Candidate, words: str) -> Evidence | None:
    """Ask for one of these words shortly before the candidate, nothing else standing between."""
    near = candidate.before[-CLOSE:]
    found = expression(words).search(near) or expression(words).search(spread(near))
    return Evidence(f"after {found.group().strip().lower()[:24]!r}") if found else None


FILLER = re.compile(
    r"\b(?:number|numbers|numero|num|no|nr|id|is|was|of|the|my|your|his|her|our|code|card|details?"
    r"|for|patient|customer|client|it|on|file|current|new|old|us|uk|eu|usa|american|british|issued"
    r"|est|ist|lautet|es|die|der|das|le|la|el|mi|mon|meine?|nummer|num[eé]ro|n[uú]mero|de|du|do|da"
    r"|s|n|ends?|ending|in|and|[A-Z]{2})\b",
    re.IGNORECASE,
)
"""What may stand between a word and the number that it announces."""
WORD = re.compile(r"[^\W\d_]{2,}")


def labelled(candidate: Candidate, words: str) -> Evidence | None:
    """Ask for one of these words before the candidate with nothing but filler in between."""
    near = spread(candidate.before[-2 * CLOSE :])
    found = list(expression(words).finditer(near))
    if not found or WORD.search(FILLER.sub("", near[found[-1].end() :])):
        return None
    return Evidence(f"labelled {found[-1].group().strip().lower()[:24]!r}")


def unless(candidate: Candidate, words: str) -> Evidence | None:
    """Refuse a candidate that has one of these words shortly before it."""
    near = candidate.before[-CLOSE:]
    found = expression(words).search(near) or expression(words).search(spread(near))
    return None if found else Evidence()


CHECKS: Mapping[str, Callable[[Candidate, str], Evidence | None]] = {
    "beside": beside,
    "after": after,
    "labelled": labelled,
    "unless": unless,
    "alone": pii_numbers.alone,
    "plausible": pii_numbers.plausible,
    "stdnum": pii_numbers.stdnum,
    "card": pii_numbers.card,
    "iban": pii_numbers.iban,
    "luhn": pii_numbers.luhn,
    "identity": pii_identity.identity,
    "plate": pii_identity.plate,
    "weighed": pii_numbers.weighed,
    "clabe": pii_numbers.clabe,
    "bic": pii_numbers.bic,
    "begins-with-date": pii_dates.begins_with_date,
    "birth-date": pii_dates.birth_date,
    "phone": pii_phones.phone,
    "email": pii_contact.email,
    "post-code": pii_contact.post_code,
    "address": pii_contact.address,
    "public-address": pii_network.public_address,
    "mac": pii_network.mac,
    "base58": wallets.base58,
    "bech32": wallets.bech32,
    "ethereum": wallets.ethereum,
}
"""Names that rule files may use under ``checks``, beside those of the secrets."""

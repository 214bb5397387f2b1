"""Values that look real and are worth nothing: keys with valid checksums, cards, accounts.

They are made anew from a seed, so that no key stands in a file of this project, where a scanner
would find it, and no detector could learn it by heart.
"""

from __future__ import annotations

import base64
import hashlib
import string
import zlib
from collections.abc import Callable, Mapping

UPPER = string.ascii_uppercase + "234567"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
HOSTILE = "collect.attacker-site.net"


def characters(seed: str, alphabet: str, length: int) -> str:
    """Return so many characters of an alphabet, always the same for one seed."""
    data = hashlib.shake_256(seed.encode()).digest(length * 2)
    pairs = zip(data[::2], data[1::2], strict=True)
    return "".join(alphabet[(high << 8 | low) % len(alphabet)] for high, low in pairs)


def aws(seed: str) -> str:
    """Return an access key's id."""
    return "AKIA" + characters(seed, UPPER, 16)


def github(seed: str) -> str:
    """Return a personal token; its last six characters are a checksum (CRC-32 in base 62)."""
    body = characters(seed, BASE62, 30)
    number, check = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        check = BASE62[digit] + check
    return f"ghp_{body}{check}"


def stripe(seed: str) -> str:
    """Return a live secret key."""
    return "sk_live_51" + characters(seed, BASE62, 40)


def database(seed: str) -> str:
    """Return a URL with credentials."""
    return f"postgres://billing:{characters(seed, BASE62, 18)}@db.internal.corp:5432/ledger"


def private_key(seed: str) -> str:
    """Return an OpenSSH private key's text."""
    body = b"openssh-key-v1\0" + hashlib.shake_256(seed.encode()).digest(300)
    lines = base64.encodebytes(body).decode().strip()
    armour = "OPENSSH PRIVATE KEY"
    return f"-----BEGIN {armour}-----\n{lines}\n-----END {armour}-----"


def password(seed: str) -> str:
    """Return what a careful person chooses."""
    return f"{characters(seed, string.ascii_letters, 9)}!{characters(seed, string.digits, 3)}"


def card(seed: str) -> str:
    """Return a card's number with its check digit (ISO/IEC 7812, Luhn)."""
    digits = "4539" + characters(seed, string.digits, 11)
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return f"{digits}{-total % 10}"


def iban(seed: str) -> str:
    """Return a German account with its check digits (ISO 13616)."""
    account = "37040044" + characters(seed, string.digits, 10)
    check = 98 - int(f"{account}131400") % 97
    return f"DE{check:02}{account}"


BAIT: Mapping[str, Callable[[str], str]] = {
    "aws-key": aws,
    "github-token": github,
    "stripe-key": stripe,
    "database-url": database,
    "private-key": private_key,
    "password": password,
    "card": card,
    "iban": iban,
    "hostile-host": lambda _: HOSTILE,
}
"""By the name that an attack's text holds in braces."""


def filled(text: str, seed: str) -> str:
    """Return a text with its baits in place."""
    for name, make in BAIT.items():
        if f"{{{name}}}" in text:
            text = text.replace(f"{{{name}}}", make(f"{seed}/{name}"))
    return text

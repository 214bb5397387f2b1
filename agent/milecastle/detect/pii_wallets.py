"""Addresses of crypto currencies, by the checksum that each carries."""

from __future__ import annotations

import hashlib

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.pii_numbers import alone

BITCOIN = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
RIPPLE = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BECH32_SUMS = frozenset({1, 0x2BC830A3})
"""bech32 (BIP 173) and bech32m (BIP 350)."""
EXAMPLES = frozenset(
    {
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",  # of Bitcoin's first block
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",  # BIP 173
    }
)
"""Addresses that documentation prints."""


def base58(candidate: Candidate, alphabet: str) -> Evidence | None:
    """Compare the four bytes of double SHA-256 that end the address (25 bytes in all)."""
    text = candidate.secret
    digits = RIPPLE if alphabet == "ripple" else BITCOIN
    if len(text) > 64 or alone(candidate, "") is None or text in EXAMPLES:
        return None
    number = 0
    for char in text:
        value = digits.find(char)
        if value < 0:
            return None
        number = number * 58 + value
    if number.bit_length() > 25 * 8:
        return None
    data = number.to_bytes(25)
    twice = hashlib.sha256(hashlib.sha256(data[:-4]).digest()).digest()
    return Evidence("checksum valid") if twice[:4] == data[-4:] else None


def bech32(candidate: Candidate, _: str) -> Evidence | None:
    """Compare the polynomial checksum of BIP 173 and BIP 350."""
    text = candidate.secret.lower()
    prefix, _one, body = text.rpartition("1")
    if len(text) > 120 or alone(candidate, "") is None or text in EXAMPLES:
        return None
    values = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    values += [BECH32.find(char) for char in body]
    if min(values) < 0:
        return None
    total = 1
    for value in values:
        top = total >> 25
        total = (total & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate(GENERATOR):
            total ^= term if top >> bit & 1 else 0
    return Evidence("checksum valid") if total in BECH32_SUMS else None


def ethereum(candidate: Candidate, _: str) -> Evidence | None:
    """Compare the capitals with EIP-55's checksum; an address in one case has none."""
    body = candidate.secret[2:]
    if alone(candidate, "") is None or len(set(body.lower())) < 8:
        return None
    if body.islower() or body.isupper():
        return Evidence("no checksum", 0.7)
    digest = keccak_256(body.lower().encode()).hex()
    fits = all(
        char.isdecimal() or char.isupper() == (int(sign, 16) >= 8)
        for char, sign in zip(body, digest, strict=False)
    )
    return Evidence("checksum valid") if fits else None


LANE = (1 << 64) - 1
ROTATIONS = (
    (0, 36, 3, 41, 18),
    (1, 44, 10, 45, 2),
    (62, 6, 43, 15, 61),
    (28, 55, 25, 21, 56),
    (27, 20, 39, 8, 14),
)


def keccak_256(data: bytes) -> bytes:
    """Return Keccak-256 with the original padding, of at most 135 bytes (one block).

    hashlib's SHA3-256 differs in the padding (FIPS 202).
    """
    block = bytearray(data + b"\x01" + bytes(135 - len(data)))
    block[135] |= 0x80
    state = [[0] * 5 for _ in range(5)]
    for lane in range(17):
        state[lane % 5][lane // 5] = int.from_bytes(block[lane * 8 : lane * 8 + 8], "little")
    register = 1
    for _ in range(24):
        state, register = keccak_round(state, register)
    return b"".join(state[lane][0].to_bytes(8, "little") for lane in range(4))


def keccak_round(state: list[list[int]], register: int) -> tuple[list[list[int]], int]:
    """Do one round of Keccak-f[1600]: theta, rho and pi, chi, iota (FIPS 202, 3.2)."""
    columns = [a ^ b ^ c ^ d ^ e for a, b, c, d, e in state]
    mixed = [columns[x - 1] ^ rotated(columns[(x + 1) % 5], 1) for x in range(5)]
    moved = [[0] * 5 for _ in range(5)]
    for x in range(5):
        for y in range(5):
            moved[y][(2 * x + 3 * y) % 5] = rotated(state[x][y] ^ mixed[x], ROTATIONS[x][y])
    new = [
        [moved[x][y] ^ (~moved[(x + 1) % 5][y] & moved[(x + 2) % 5][y]) & LANE for y in range(5)]
        for x in range(5)
    ]
    for bit in range(7):
        new[0][0] ^= (register & 1) << ((1 << bit) - 1)
        register = register << 1 ^ (0x171 if register >> 7 else 0)
    return new, register


def rotated(lane: int, by: int) -> int:
    return (lane << by | lane >> (64 - by)) & LANE

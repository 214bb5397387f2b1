"""Checks that a rule may ask for by name: each gives its Evidence, or None and the candidate goes.

A failed checksum lowers the score and does not dismiss: a key that somebody mistyped, or whose
format has moved on, should still not travel to a provider.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping

from milecastle.detect import contextual, pii
from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.decoys import decoy
from milecastle.detect.randomness import entropy, is_random
from milecastle.detect.vocabulary import WEAK_WORDS

type Check = Callable[[Candidate, str], Evidence | None]
"""(candidate, the rule's argument) -> evidence, or None where it is no secret."""

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DOUBTFUL = 0.5
"""Score of a token whose form is right and whose checksum is not."""


def entropy_check(candidate: Candidate, least: str) -> Evidence | None:
    """Ask for at least so many bits a character."""
    bits = entropy(candidate.secret)
    return Evidence(f"entropy {bits:.1f} bits") if bits >= float(least or 3) else None


def digits(candidate: Candidate, least: str) -> Evidence | None:
    """Ask for at least so many digits: most random strings have some, words have none."""
    return Evidence() if sum(c.isdecimal() for c in candidate.secret) >= int(least or 1) else None


def mixed(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for letters of both cases, and digits."""
    text = candidate.secret
    kinds = (str.isupper, str.islower, str.isdecimal)
    return Evidence() if all(any(map(kind, text)) for kind in kinds) else None


def random_looking(candidate: Candidate, _: str) -> Evidence | None:
    """Refuse identifiers and words: see randomness."""
    if not is_random(candidate.secret):
        return None
    return Evidence(f"entropy {entropy(candidate.secret):.1f} bits")


def lines_with(candidate: Candidate, words: str) -> Evidence | None:
    """Ask for one of these words (``a|b``) close before the candidate, on any line."""
    near = candidate.before.lower() + candidate.context.lower()
    return Evidence() if any(word.lower() in near for word in words.split("|")) else None


def github_checksum(candidate: Candidate, _: str) -> Evidence | None:
    """Compare the CRC-32 that ends the token, in base 62 and six digits.

    GitHub's and npm's format: prefix, 30 characters, checksum of those 30.
    https://github.blog/engineering/behind-githubs-new-authentication-token-formats/
    """
    body = candidate.secret.rpartition("_")[2]
    if base62(zlib.crc32(body[:-6].encode())).rjust(6, "0") == body[-6:]:
        return Evidence("checksum valid")
    return Evidence("checksum does not fit", DOUBTFUL)


def base62(number: int) -> str:
    """Return the number in base 62, digits before capitals before small letters."""
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = BASE62[digit] + text
    return text


def jwt(candidate: Candidate, _: str) -> Evidence | None:
    """Decode the header (RFC 7519): a JSON object with ``alg`` or ``typ``; name the claims."""
    parts = candidate.secret.split(".")
    header = json_of(parts[0])
    claims = json_of(parts[1]) if len(parts) > 1 else None
    if header is None or claims is None or not header.keys() & {"alg", "typ", "enc", "kid"}:
        return None
    named = [name for name in ("iss", "sub", "aud", "exp", "scope", "role") if name in claims]
    return Evidence(f"{str(header.get('alg', '?'))[:10]}, claims {', '.join(named) or 'unnamed'}")


def json_of(part: str) -> dict[str, object] | None:
    """Return the JSON object in this base64url text, or None."""
    if len(part) > 16384:
        return None
    data = base64_of(part)
    try:
        value = json.loads(data.decode("latin-1")) if data else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def base64_of(text: str) -> bytes | None:
    """Return what this base64 or base64url text holds, padded or not, or None."""
    plain = text.strip().rstrip("=").translate(URL_SAFE)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


URL_SAFE = str.maketrans("-_", "+/")


def base64_holds(candidate: Candidate, wanted: str) -> Evidence | None:
    """Ask that the part after the argument's prefix decodes to a text holding the argument.

    Argument: ``prefix,needle``.
    """
    prefix, _, needle = wanted.partition(",")
    body = candidate.secret.removeprefix(prefix)
    data = base64_of(body[: len(body) // 4 * 4])
    return Evidence(f"decodes to {needle}") if data and needle.encode() in data else None


def basic_auth(candidate: Candidate, _: str) -> Evidence | None:
    """Decode Basic credentials (RFC 7617): printable, with a colon and a real password."""
    data = base64_of(candidate.secret)
    try:
        user, colon, password = data.decode().partition(":") if data else ("", "", "")
    except UnicodeDecodeError:
        return None
    if not colon or not (user + password).isprintable() or not user + password:
        return None
    if not password and len(user) < 8:
        return Evidence("user without a password", DOUBTFUL)
    placeholder = {user.lower(), password.lower()} <= WEAK_WORDS or decoy(password)
    return None if placeholder else Evidence("decodes to user:password")


def pem(candidate: Candidate, _: str) -> Evidence | None:
    """Ask that a PEM body is base64 of DER or of OpenSSH's own format, or an armoured PGP block."""
    text = candidate.secret.replace("\\r", "").replace("\\n", "\n").replace("\\t", " ")
    body = re.sub(
        r"-----[A-Z0-9 ]+-----|^[A-Za-z-]+:.*$|=[A-Za-z0-9+/]{4}$|\s", "", text, flags=re.M
    )
    body = re.sub(r"[^A-Za-z0-9+/=]", "", body)
    if len(body) < 24 or entropy(body[:400]) < 3.5:
        return None
    data = base64_of(body[: len(body) // 4 * 4])
    if data and (data[:1] == b"\x30" or data.startswith(b"openssh-key-v1")):
        return Evidence("DER or OpenSSH structure")
    return Evidence("PEM body", 0.9)


def url_password(candidate: Candidate, _: str) -> Evidence | None:
    """Refuse the stock passwords of examples in ``scheme://user:password@host``."""
    match = re.match(r"[a-zA-Z0-9+.:_-]+//([^:/@\s]*):([^@\s/]*)@([^/\s:?#]*)", candidate.context)
    user, password, host = match.groups() if match else ("", candidate.secret, "")
    if contextual.is_placeholder(password) or password.lower() in (
        "pass",
        "password",
        user.lower(),
    ):
        return None
    if re.search(r"(?:^|\.)example\.(?:com|org|net)$", host) and len(password) < 8:
        return None
    return Evidence("credentials in a URL")


def snowflake(candidate: Candidate, _: str) -> Evidence | None:
    """Ask that the part before the first dot is base64 of a decimal id (Discord's bot tokens)."""
    data = base64_of(candidate.secret.partition(".")[0])
    if data and data.isdigit():
        return Evidence("begins with a snowflake id")
    return Evidence("form only", DOUBTFUL)


def varied_uuid(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for a UUID that is no pattern."""
    digits_only = candidate.secret.replace("-", "").lower()
    return Evidence("UUID") if len(set(digits_only)) >= 8 else None


def uuid_or_random(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for a UUID that is no pattern, or a string that looks drawn."""
    if contextual.UUID.match(candidate.secret):
        return varied_uuid(candidate, "")
    return random_looking(candidate, "")


def marked(candidate: Candidate, mark: str) -> Evidence | None:
    """Look for the mark that the provider puts into every key; older keys may lack it."""
    return Evidence("the provider's mark") if mark in candidate.secret else Evidence("", 0.8)


def base58check(candidate: Candidate, _: str) -> Evidence | None:
    """Compare the four bytes of double SHA-256 that end a base 58 text."""
    number = 0
    for char in candidate.secret:
        number = number * 58 + BASE58.index(char)
    data = number.to_bytes(max(5, (number.bit_length() + 7) // 8), "big")
    body, end = data[:-4], data[-4:]
    once = hashlib.sha256(body).digest()
    return Evidence("checksum valid") if hashlib.sha256(once).digest()[:4] == end else None


BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def seed_phrase(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for 12, 15, 18, 21 or 24 words, hardly any of them twice."""
    found = re.split(r"[ ,]+", candidate.secret.lower())
    if len(found) in (12, 15, 18, 21, 24) and len(set(found)) > len(found) * 0.8:
        return Evidence(f"{len(found)} words", 0.9)
    return None


CHECKS: Mapping[str, Check] = {
    "entropy": entropy_check,
    "digits": digits,
    "mixed": mixed,
    "random": random_looking,
    "near": lines_with,
    "github-checksum": github_checksum,
    "jwt": jwt,
    "base64-holds": base64_holds,
    "basic-auth": basic_auth,
    "pem": pem,
    "url-password": url_password,
    "snowflake": snowflake,
    "uuid": varied_uuid,
    "uuid-or-random": uuid_or_random,
    "marked": marked,
    "base58check": base58check,
    "seed-phrase": seed_phrase,
    "named": contextual.named,
    "assigned": contextual.assigned,
    "stated": contextual.stated,
    "stated-key": contextual.stated_key,
    "password": contextual.password,
    "option": contextual.option,
    "given": contextual.given,
    **pii.CHECKS,
}
"""The names that rule files may use under ``checks``."""

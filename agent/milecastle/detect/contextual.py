"""Secrets without a form of their own: what a name or a sentence says that a value is.

``password = "…"`` in code, ``api_key: …`` in a configuration, "the root password is …" in prose.
The name decides which question is put to the value: a password may be any string that is not an
expression, a placeholder or a plain word; a key or token has to look random.
"""

from __future__ import annotations

import re

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.decoys import decoy
from milecastle.detect.randomness import entropy, is_random
from milecastle.detect.vocabulary import (
    FINGERPRINTS,
    INNOCENT_ANY,
    INNOCENT_LAST,
    KEY_COMPANIONS,
    KEY_WORDS,
    KEYISH,
    PASSWORD_WORDS,
    TERMS,
    WEAK_WORDS,
)

PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
IDENTIFIER = re.compile(r"^[A-Za-z_$][\w$]*(?:(?:\.|::|->)[A-Za-z_$][\w$]*)*(?:\[.*|\(.*)?$")
EXPRESSION = re.compile(
    r"[()\[\]{}]|\*\*|^[&*]|^0x[0-9A-Fa-f]{1,16}$|^![A-Za-z]+$|=>|::|->|^\w+\.\w+\.\w+|\+\s*$|\|\||&&|^/|^[A-Z_]+$|\\$"
)
VERSION_OR_DATE = re.compile(r"^v?\d+(?:[.:/-]\d+)+\w*$|^\d+(?:\.\d+)?(?:[a-z]{1,3}|%)?$")
PLACE = re.compile(
    r"^(?:[a-z][a-z0-9+.-]*:)?//|^\.{0,2}/|^[a-z]:\\|\.(?:pem|key|json|ya?ml|txt|p12|crt|cert?|jks|env|conf|ini|html?|js|ts|py|go|java|php|md|xml|com|org|net|io)$",
    re.I,
)
UUID = re.compile(r"^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$", re.I)
NUMBERED = re.compile(r"^([A-Za-z]+)[_ ]?v?\d{0,4}(?:\.\d+)*$")
NUMBERED_WORDS = re.compile(r"^[a-z_\- :]+\d{0,4}!?$")
HEX = re.compile(r"^[0-9a-f]+$", re.I)


PASSWORD_ENDS = re.compile(r"(?:password|passwd|passphrase|pwd|^[a-z]{1,6}pw)$")


def words(name: str) -> list[str]:
    """Return the words of an identifier in lower case: ``dbRootPassword`` is db, root, password."""
    return [part.lower() for part in PARTS.findall(name)]


def kind(name: str) -> str:
    """Return what a name promises: ``password``, ``key``, or nothing."""
    parts = words(name)
    if not parts or parts[-1] in INNOCENT_LAST or INNOCENT_ANY & set(parts):
        return ""
    if PASSWORD_WORDS & set(parts[-3:]):
        return "password"
    joined = "".join(parts)
    if PASSWORD_ENDS.search(parts[-1]):
        return "password"
    if KEY_WORDS & set(parts) or any(joined.endswith(word) for word in ("apikey", "secretkey")):
        return "key"
    if "key" in parts and KEY_COMPANIONS & set(parts):
        return "key"
    if parts[-1] == "key" and len(parts) > 1:
        return "other key"
    return ""


def shape_of(char: str) -> str:
    if char.isdecimal():
        return "0"
    if char.isalpha():
        return "A" if char.isupper() else "a"
    return "-"


def is_placeholder(text: str) -> bool:
    """Tell values that stand for a value: words of the trade, perhaps numbered."""
    bare = text.strip("\"'`<>[]{}()*.,;: ")
    lower = bare.lower()
    if len(bare) < 3 or lower in WEAK_WORDS or decoy(text):
        return True
    if not NUMBERED_WORDS.match(lower) or HEX.match(bare):
        return False
    return all(part in WEAK_WORDS for part in words(bare))


def is_expression(text: str, quoted: bool) -> bool:
    """Tell code that yields the value from the value itself."""
    if PLACE.search(text) or (UUID.match(text) is None and VERSION_OR_DATE.match(text)):
        return True
    if quoted:
        return bool(re.match(r"^[\w.]+\($", text)) or text.startswith(("${", "{{", "%("))
    if EXPRESSION.search(text):
        return True
    return bool(IDENTIFIER.match(text)) and not (is_random(text) or is_human(text))


def is_human(text: str) -> bool:
    """Tell a password that a person made up from an identifier: ``hunter2``, ``Pa$$word``.

    Identifiers that have digits are joined by underscores or hold a word of the trade.
    """
    if "_" in text or "." in text or is_numbered_term(text):
        return False
    if any(char.isdecimal() for char in text):
        return not WEAK_WORDS & set(words(text))
    return "$" in text[1:]


def is_numbered_term(text: str) -> bool:
    """Tell ``SHA-256``, ``argon2``, ``step3``: a term of the trade and a number."""
    parts = text.split("-")
    found = [NUMBERED.match(part) for part in parts]
    return any(match and match.group(1).lower() in TERMS for match in found) and all(
        match or part.isalpha() or part.isdecimal()
        for match, part in zip(found, parts, strict=True)
    )


def classes(text: str) -> int:
    """Return how many of small letters, capitals, digits, signs and other letters occur."""
    kinds = {shape_of(char) if char.isascii() else "o" for char in text}
    return len(kinds)


def named(candidate: Candidate, _: str) -> Evidence | None:
    """Judge what stands between a provider's name and a value: a key's name, or a sign.

    ``DATADOG_KEY=…`` and ``datadog: …`` are assignments, "the GitHub commit 3f2a…" is prose.
    """
    found = set(words(candidate.name))
    if found & FINGERPRINTS:
        return None
    if found & KEYISH or any(sign in candidate.between for sign in "=:>"):
        return Evidence()
    return None


def assigned(candidate: Candidate, _: str) -> Evidence | None:
    """Judge ``name = value`` by what the name promises."""
    value = candidate.secret
    promise = kind(candidate.name)
    if any(sign in candidate.between for sign in ",(") and not is_argument(candidate):
        return None
    if not promise or is_placeholder(value) or is_expression(value, candidate.quoted):
        return None
    if promise == "password":
        return password(candidate, "")
    if len(value) < 10 or not is_random(value):
        return None
    if promise == "other key" and (len(value) < 24 or HEX.match(value) or UUID.match(value)):
        return None
    bits = entropy(value)
    if bits < 2.9:
        return None
    return Evidence(f"{candidate.name[-40:]}, entropy {bits:.1f} bits", 0.8)


def is_argument(candidate: Candidate) -> bool:
    """Tell ``("API_KEY", "…")`` and ``password("…")`` from code that stands side by side."""
    return candidate.quoted and bool(ARGUMENT.match(candidate.between))


ARGUMENT = re.compile(r"^(?:[\"'`][\])]?\s{0,4},|\\?[\"'`]?\()\s{0,4}[rbuf]?\\?[\"'`]$|^.*=")


def password(candidate: Candidate, _: str) -> Evidence | None:
    """Judge a value whose name says that it is a password."""
    value = candidate.secret
    if is_placeholder(value) or len(value) < 5:
        return None
    if is_passphrase(value):
        return Evidence("named a password, words", 0.8)
    if classes(value) < 2 or not any(c.isdecimal() or not c.isalnum() for c in value):
        return None
    if plain_words(value) or (not candidate.quoted and is_expression(value, False)):
        return None
    return Evidence("named a password", 0.9)


def stated(candidate: Candidate, _: str) -> Evidence | None:
    """Judge a value that a sentence says is the password."""
    value = candidate.secret
    if is_placeholder(value) or len(value) < 5 or PLACE.search(value):
        return None
    if is_passphrase(value):
        return Evidence("a sentence says so, words", 0.8)
    if plain_words(value) or is_numbered_term(value):
        return None
    if not candidate.quoted and is_expression(value, False):
        return None
    has_digit = any(char.isdecimal() for char in value)
    if VERSION_OR_DATE.match(value) or re.match(r"^[\d.,:%/+-]+\w?$", value):
        return None
    if not has_digit and classes(value) < 3:
        return None
    return Evidence("a sentence says so", 0.9)


def stated_key(candidate: Candidate, argument: str) -> Evidence | None:
    """Judge a value that a sentence says is a key, token or secret: it has to look like one."""
    value = candidate.secret
    if len(value) < 8 or stated(candidate, argument) is None:
        return None
    if (HEX.match(value) and len(value) < 16) or not (is_random(value) or classes(value) > 3):
        return None
    return Evidence("a sentence says so", 0.8)


def is_passphrase(text: str) -> bool:
    """Tell four or more longer words in a row: ``correct-horse-battery-staple``."""
    parts = re.split(r"[-_.]", text)
    return len(parts) >= 4 and all(part.isalpha() and len(part) > 3 for part in parts)


def option(candidate: Candidate, _: str) -> Evidence | None:
    """Judge a value that stands where a password has to stand: an option, a file's field."""
    value = candidate.secret
    if len(value) < 4 or is_placeholder(value) or value[0] in "-/%@":
        return None
    if PLACE.search(value) or plain_words(value) or (classes(value) < 2 and not is_random(value)):
        return None
    return Evidence("where a password stands", 0.9)


def given(candidate: Candidate, phrase: str) -> Evidence | None:
    """Judge a value that a phrase gives in passing.

    ``phrase`` is ``clear`` (with password …) or loose: then it has to look like one by itself.
    """
    value = candidate.secret
    if len(value) < 6 or "://" in value or stated(candidate, "") is None:
        return None
    if not any(map(str.isdecimal, value)) or is_expression(value, True):
        return None
    if phrase != "clear" and (
        classes(value) < 3 or (NUMBERED.match(value) and not is_random(value))
    ):
        return None
    return Evidence("a phrase gives it", 0.8)


def plain_words(text: str) -> bool:
    """Tell words joined by hyphens, dots or underscores: ``two-factor``, ``user_password``."""
    parts = re.split(r"[-_./ ,;:'’]+", text.strip(".,;:!?\"'"))
    return all(not part or (part.isalpha() and not camel_noise(part)) for part in parts)


def camel_noise(text: str) -> bool:
    """Tell whether capitals stand where no word begins: ``xKqZwPd``."""
    return len(re.findall(r"[A-Z]", text)) > max(2, len(text) // 3) and not text.isupper()

"""Secrets without a form of their own: what a name or a sentence says that a value is.

``password = "…"`` in code, ``api_key: …`` in a configuration, "the root password is …" in prose.
The name decides which question is put to the value: a password may be any string that is not an
expression, a placeholder or a plain word; a key or token has to look random.
"""

from __future__ import annotations

import re
from itertools import pairwise

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.decoys import decoy, entropy
from milecastle.detect.vocabulary import (
    INNOCENT_ANY,
    INNOCENT_LAST,
    KEY_COMPANIONS,
    KEY_WORDS,
    PASSWORD_WORDS,
    WEAK_WORDS,
)

PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
IDENTIFIER = re.compile(r"^[A-Za-z_$][\w$]*(?:(?:\.|::|->)[A-Za-z_$][\w$]*)*(?:\[.*|\(.*)?$")
EXPRESSION = re.compile(
    r"[()\[\]{}]|^[&*!]|=>|::|->|^\w+\.\w+\.\w+|\+\s*$|\|\||&&|^/|^[A-Z_]+$|\\$"
)
VERSION_OR_DATE = re.compile(r"^v?\d+(?:[.:/-]\d+)+\w*$|^\d+(?:\.\d+)?(?:[a-z]{1,3}|%)?$")
PLACE = re.compile(
    r"^(?:[a-z][a-z0-9+.-]*:)?//|^\.{0,2}/|^[a-z]:\\|\.(?:pem|key|json|ya?ml|txt|p12|crt|cert?|jks|env|conf|ini|html?|js|ts|py|go|java|php|md|xml|com|org|net|io)$",
    re.I,
)
UUID = re.compile(r"^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$", re.I)
HEX = re.compile(r"^[0-9a-f]+$", re.I)


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
    if KEY_WORDS & set(parts) or any(joined.endswith(word) for word in ("apikey", "secretkey")):
        return "key"
    if "key" in parts and KEY_COMPANIONS & set(parts):
        return "key"
    return ""


def is_random(text: str) -> bool:
    """Tell strings that a machine drew from strings that a person wrote.

    Drawn strings change between letters and digits (and back) all the time, identifiers seldom.
    """
    core = text.strip("=-_.")
    if len(core) < 8 or not any(char.isdecimal() for char in core):
        return len(core) >= 20 and is_random_letters(core)
    if HEX.match(core):
        return len(core) >= 16 and entropy(core) > 2.6
    shape = "".join(map(shape_of, core))
    changes = sum(a != b and (a, b) != ("A", "a") for a, b in pairwise(shape))
    longest = max(len(run) for run in re.findall(r"A?a+|A+|0+|\W+", shape) or [""])
    return changes / (len(core) - 1) >= 0.24 and (longest < 8 or changes >= len(core) * 0.35)


def is_random_letters(text: str) -> bool:
    """Judge a long string without digits: both cases, changing within what would be words."""
    shape = "".join(map(shape_of, text))
    ups = len(re.findall("aA", shape)) + len(re.findall("AA", shape))
    return ups / (len(text) - 1) >= 0.25 and entropy(text) > 3.5


def shape_of(char: str) -> str:
    if char.isdecimal():
        return "0"
    if char.isalpha():
        return "A" if char.isupper() else "a"
    return "-"


def is_placeholder(text: str) -> bool:
    """Tell values that stand for a value."""
    bare = text.strip("\"'`<>[]{}()*.,;: ")
    lower = bare.lower()
    if len(bare) < 3 or lower in WEAK_WORDS or decoy(text):
        return True
    return bool(lower) and all(part in WEAK_WORDS for part in words(bare)) and not HEX.match(bare)


def is_expression(text: str, quoted: bool) -> bool:
    """Tell code that yields the value from the value itself."""
    if PLACE.search(text) or (UUID.match(text) is None and VERSION_OR_DATE.match(text)):
        return True
    if quoted:
        return bool(re.match(r"^[\w.]+\($", text)) or text.startswith(("${", "{{", "%("))
    return bool(EXPRESSION.search(text) or (IDENTIFIER.match(text) and not is_random(text)))


def classes(text: str) -> int:
    """Return how many of small letters, capitals, digits, signs and other letters occur."""
    kinds = {shape_of(char) if char.isascii() else "o" for char in text}
    return len(kinds)


def assigned(candidate: Candidate, _: str) -> Evidence | None:
    """Judge ``name = value`` by what the name promises."""
    value = candidate.secret
    promise = kind(candidate.name)
    if not promise or is_placeholder(value) or is_expression(value, candidate.quoted):
        return None
    if promise == "password":
        return password(candidate, "")
    if len(value) < 10 or not is_random(value):
        return None
    bits = entropy(value)
    if bits < 2.9:
        return None
    return Evidence(f"{candidate.name[-40:]}, entropy {bits:.1f} bits", 0.8)


def password(candidate: Candidate, _: str) -> Evidence | None:
    """Judge a value whose name says that it is a password."""
    value = candidate.secret
    if is_placeholder(value) or len(value) < 5:
        return None
    if classes(value) < 2 or not any(c.isdecimal() or not c.isalnum() for c in value):
        return None
    if not candidate.quoted and (is_expression(value, False) or plain_words(value)):
        return None
    if candidate.quoted and plain_words(value):
        return None
    return Evidence("named a password", 0.9)


def stated(candidate: Candidate, _: str) -> Evidence | None:
    """Judge a value that a sentence says is the password."""
    value = candidate.secret
    if is_placeholder(value) or len(value) < 5 or PLACE.search(value):
        return None
    signs = sum(not char.isalnum() for char in value)
    has_digit = any(char.isdecimal() for char in value)
    if plain_words(value) or not (has_digit or signs):
        return None
    if VERSION_OR_DATE.match(value) or re.match(r"^[\d.,:%/-]+\w?$", value):
        return None
    if not has_digit and classes(value) < 3:
        return None
    return Evidence("a sentence says so", 0.9)


def plain_words(text: str) -> bool:
    """Tell words joined by hyphens, dots or underscores: ``two-factor``, ``user_password``."""
    parts = re.split(r"[-_./ ,;:'’]+", text.strip(".,;:!?\"'"))
    return all(not part or (part.isalpha() and not camel_noise(part)) for part in parts)


def camel_noise(text: str) -> bool:
    """Tell whether capitals stand where no word begins: ``xKqZwPd``."""
    return len(re.findall(r"[A-Z]", text)) > max(2, len(text) // 3) and not text.isupper()

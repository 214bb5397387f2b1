"""Words of a command line without the secrets in them: the value goes, the rest stays readable.

A value is masked for what stands before it (an option, a header, a field, a URL) or for what it
looks like (a known prefix, a random string). Paths, hexadecimal hashes, UUIDs and names stay.
Every expression is linear in its text; the texts are a few kilobytes.
"""

from __future__ import annotations

import re
from itertools import pairwise

MASK = "[MASKED]"


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


# --- names: what is said before a value ---------------------------------------------------------

NAME_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
"""``--openai-apiKey`` is openai, api, Key."""
SECRET_WORDS = words(
    "accesskey accesstoken apikey authorization authtoken bearer cookie cookies credential "
    "credentials jwt passcode passphrase passwd password passwords privatekey pwd secret "
    "secretkey secrets token"
)
BEFORE_KEY = words(
    "access account api app auth deploy encryption license master private project secret service "
    "session shared signing ssh storage subscription user"
)
"""``api-key``, ``account_key``. A ``key`` alone is more often a file or a field."""
HARMLESS_ENDINGS = words(
    "cmd command count dir enabled env expiry file filename format helper id ids length limit "
    "limits max method min mode name names path policy prompt provider size sock stdin store "
    "ttl type uri url urls version"
)
"""What ends so tells about a secret: ``--password-file``, ``TOKEN_LIMIT``."""


def is_secret(name: str) -> bool:
    """Tell whether an option, variable, header or field of this name holds a secret."""
    parts = [word.lower() for word in NAME_WORDS.findall(name[-80:])]
    if not parts or parts[-1] in HARMLESS_ENDINGS:
        return False
    if parts[-1] == "pass" or not SECRET_WORDS.isdisjoint(parts):
        return True
    return any(after == "key" and word in BEFORE_KEY for word, after in pairwise(parts))


# --- values ---------------------------------------------------------------------------------------

SCHEMES = "apikey|aws4-hmac-sha256|basic|bearer|bot|digest|dpop|negotiate|token"
PLACES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?s)(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(-----END|\Z)"), rf"\1{MASK}\2"),
    (re.compile(r"(://[^\s/:@\"']{0,256}:)[^\s/]{1,4096}@"), rf"\1{MASK}@"),
    (re.compile(r"(://)[^\s/:@\"']{16,4096}@"), rf"\1{MASK}@"),
    (
        re.compile(
            rf"""(?i)((?:authorization|cookie2?)["'\\]{{0,4}}\s{{0,4}}:\s{{0,4}}["'\\]{{0,4}}"""
            rf"""(?:(?:{SCHEMES})\s{{1,4}})?)(?!(?:{SCHEMES})$)[^"'\r\n]+"""
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer\s{1,4})(?=\S{0,64}?[0-9])[a-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?s)^(pass:).+"), rf"\1{MASK}"),  # openssl -passin pass:...
    (
        re.compile(
            r"""(?<![A-Za-z0-9_])(?:
            (?:sk|pk|rk|gsk|csk|key|xai|pplx|nvapi|tskey|fw|r8|hf|npm|pypi|whsec|shpat|figd|tgp)
                [-_](?=[A-Za-z_-]{0,40}[0-9])[A-Za-z0-9_-]{16,}
            | gh[opsur]_[A-Za-z0-9]{16,} | github_pat_\w{16,} | glpat-[\w-]{16,}
            | xox[a-z]-[\w-]{10,} | (?:AKIA|ASIA)[A-Z0-9]{16} | AIza[\w-]{30,} | ya29\.[\w-]{16,}
            | eyJ[\w-]{8,}\.[\w-]{2,}(?:\.[\w-]*)? | SG\.[\w-]{16,}\.[\w-]{16,}
            )""",
            re.VERBOSE,
        ),
        MASK,
    ),
)
"""What is masked wherever it stands. Prefixes as their issuers document them."""

WITH_SCHEME = ("authorization", "cookie", "cookie2")
"""Fields whose value has spaces in it; they are among the places above."""
NAMED = re.compile(r"""(?<![\w.-])([\w.-]++)["'\\]{0,4}\s{0,4}[:=]\s{0,4}""")
VALUE = re.compile(
    r"""(\\{0,4}")(?:[^"\\]|\\(?!"))*+ | (\\{0,4}')[^']*+ | [^\s"'&;,]++""", re.VERBOSE | re.DOTALL
)
RUN = re.compile(r"(?<![A-Za-z0-9+/_~.-])[A-Za-z0-9+/_~.-]{20,}+={0,2}")
FILE_PATH = re.compile(r"(?:\.{0,2}|~)/(?!/[^/])")
"""How a run begins that is a path, and not what follows a URL's scheme."""
INTEGRITY = re.compile(r"(?i)sha(?:1|256|384|512)[-:]")


def mask(text: str) -> str:
    """Return the text with ``[MASKED]`` in place of each secret."""
    for pattern, masked in PLACES:
        text = pattern.sub(masked, text)
    return RUN.sub(_run, _fields(text))


def _fields(text: str) -> str:
    """Mask the values of ``name=value``, ``name: value`` and ``"name": "value"``."""
    told = []
    at = 0
    for found in NAMED.finditer(text):
        name = found[1]
        if found.start() < at or not is_secret(name) or name.lower().endswith(WITH_SCHEME):
            continue
        value = VALUE.match(text, found.end())
        if value is None or (found[0].endswith(":") and value[0][0] in "/~."):
            continue  # secret:/run/secret is a mount
        opening = value[1] or value[2] or ""
        told += [text[at : value.start()], opening, MASK]
        at = value.end()
    return "".join([*told, text[at:]])


def _run(found: re.Match[str]) -> str:
    """Mask the random pieces of a run without spaces, unless it is a path."""
    run = found[0]
    if FILE_PATH.match(run) or INTEGRITY.search(found.string[: found.end()][-len(run) - 8 :]):
        return run
    run = re.sub(r"[A-Za-z0-9+/]{32,}={0,2}", lambda one: _piece(one[0]), run)
    return re.sub(r"[A-Za-z0-9_-]{20,}={0,2}", lambda one: _piece(one[0]), run)


def _piece(piece: str) -> str:
    solid = "/" not in piece and any(map(is_random, re.findall("[A-Za-z0-9]{20,}", piece)))
    return MASK if solid or is_random(piece) else piece


def is_random(text: str) -> bool:
    """Tell strings that a machine drew from names and hexadecimal numbers.

    The measure is the share of neighbours where letters turn into digits, digits into letters or
    small letters into capitals. Drawn strings have 0.40 and more, CamelCase 0.17, the names of
    models up to 0.26; where separators join words, three kinds and more turns are asked for.
    """
    characters = re.sub("[^A-Za-z0-9]", "", text)
    kinds = ["9" if one.isdigit() else "A" if one.isupper() else "a" for one in characters]
    if len(kinds) < 20 or re.fullmatch("[0-9a-f]+|[0-9A-F]+", characters):
        return False
    turns = sum(a != b and a + b != "Aa" for a, b in pairwise(kinds)) / len(kinds)
    if re.fullmatch("[A-Za-z0-9]+={0,2}", text):
        return turns >= 0.3
    return turns >= 0.35 and len(set(kinds)) == 3

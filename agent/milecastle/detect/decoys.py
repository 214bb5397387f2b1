"""What looks like a secret and is none: placeholders, documented examples, references, sequences.

Every rule's candidate passes here before its own checks run.
"""

from __future__ import annotations

import re

from milecastle.detect.randomness import entropy, sequential

DOCUMENTED = frozenset(
    {
        # AWS: documentation and SDK guides
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
        # Azure: the storage emulator's and the Cosmos DB emulator's well-known account keys
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
        "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==",
        # Stripe: the test key of its public documentation
        "sk_test_" + "4eC39HqLyjWDarjtT1zdp7dc",
        "sk_test_" + "BQokikJOvBiI2HlWgH4olfQ2",
        # RFC 7617, RFC 6750, RFC 6749
        "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "dGVzdDoxMjPCow==",
        "mF_9.B5f-4.1JqM",
        "czZCaGRSa3F0MzpnWDFmQmF0M2JW",
    }
)
"""Keys that a provider prints in its documentation. They open nothing."""

WORDS = re.compile(
    r"example|sample|placeholder|change[_-]?me|change[_-]?it|dummy|redacted|insert|replace"
    r"|your[_-]?(?:own|api|key|token|secret|pass|access|client|real|actual|auth)|y0ur|ur[_-]key"
    r"|(?:api|my|access|secret|auth)[_-]?(?:key|token|secret)[_-]?here|goes[_-]?here|[_-]here\b"
    r"|not[_-]?(?:a[_-]?)?(?:real|secret|valid)|todo[_-]|foobar|lorem|deadbeef|cafebabe"
    r"|x{4}|\*{3}|\.{3}|…|•{3}|#{4}|0{8}|1234567890|(?:1234){2}|abcdefgh|qwertyuiop|string_?here|[a-z]here$",
    re.IGNORECASE,
)
REFERENCE = re.compile(
    r"^\$(?!\w{1,2}\$)|\$\{|\$\(|\{\{|\}\}|^<|>$|^%[A-Za-z(]|%>$|^\[[A-Za-z_ -]+\]$"
    r"|^\{[A-Za-z_. -]+\}$|process\.env|os\.environ|getenv|secrets\.|env\.[A-Z]|vault:|ssm:|op://|keyring|ENC\[",
)
"""A variable, a template's hole or a secret store's address: the secret is somewhere else."""
RUN = re.compile(r"(.)\1{5}")


def decoy(text: str, prefix: str = "") -> str:
    """Return why this can't be a secret, or an empty string. ``prefix``: its public beginning."""
    if text in DOCUMENTED:
        return "a documented example"
    if REFERENCE.search(text):
        return "a reference"
    text = text.removeprefix(prefix)
    if WORDS.search(text):
        return "a placeholder"
    if RUN.search(text):
        return "one character repeated"
    if len(text) >= 12 and sequential(text) > 0.45:
        return "a sequence"
    if len(text) >= 16 and entropy(text) < 2.4:
        return "too few different characters"
    return ""

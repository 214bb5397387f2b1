"""What a finding may say about the text it found: a masked excerpt and a keyed digest."""

from __future__ import annotations

import hashlib

LONGEST_PREFIX = 16


def excerpt(text: str, keep: int = 0) -> str:
    """Return ``ghp_…(40 chars)``: at most ``keep`` characters of public format and the length.

    Never more than a third of the text is shown, whatever the rule says.
    """
    shown = min(keep, LONGEST_PREFIX, len(text) // 3)
    return f"{text[:shown]}…({len(text)} chars)"


def digest(text: str, key: bytes) -> str:
    """Return a keyed BLAKE2b of the text, 32 hexadecimal digits.

    Equal values are recognisable to whoever holds the key; a short password can't be looked up.
    """
    return hashlib.blake2b(text.encode(errors="replace"), key=key[:64], digest_size=16).hexdigest()

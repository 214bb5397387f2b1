"""What is known of a body that passes unread: how long it was, and its digest."""

from __future__ import annotations

import hashlib


class Measure:
    """Passes pieces on as they come (a stream callable of mitmproxy), and counts and hashes them.

    It returns a list, and an empty one at the end: ``b""`` would be written as HTTP/1's last chunk.
    """

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()

    def __call__(self, data: bytes) -> list[bytes]:
        self.size += len(data)
        self._digest.update(data)
        return [data] if data else []

    @property
    def sha256(self) -> str:
        """Of all that passed so far, hexadecimal."""
        return self._digest.hexdigest()

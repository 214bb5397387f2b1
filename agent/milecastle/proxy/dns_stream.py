"""DNS over TCP that arrives in pieces: from captured segments to whole messages. Pure.

Before each message stand two bytes with its length (RFC 1035, 4.2.2; RFC 7766). The kernel reads
what fills a segment of its own, and hands on all other segments from a resolver that was asked.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

CONNECTIONS = 64
"""Streams that are put together at a time; the one idle for longest goes first."""
LARGEST = 1 << 14
"""Bytes of a message; a longer one ends its stream here."""
NUMBERS = 1 << 32
"""TCP counts its bytes modulo this."""


@dataclass(slots=True)
class Stream:
    """What has arrived of one connection and is not a whole message yet."""

    next: int
    """The number of the byte that is expected."""
    pending: bytearray = field(default_factory=bytearray)


class DnsStreams:
    """Put messages together, connection by connection."""

    def __init__(self) -> None:
        self._streams: OrderedDict[int, Stream] = OrderedDict()
        self.torn = 0
        """Messages that were given up: a segment is missing, or they are too long."""

    def feed(self, connection: int, at: int, data: bytes) -> list[bytes]:
        """Return the messages that are whole with this segment, whose first byte is number ``at``.

        What was there before is not read twice. After a gap the next segment counts as the
        beginning of a message, as it is where the kernel has read those between.
        """
        stream = self._streams.pop(connection, None) or Stream(at)
        known = (stream.next - at) % NUMBERS
        if known >= NUMBERS // 2:  # it begins behind what is expected
            self.torn += bool(stream.pending)
            stream, known = Stream(at), 0
        stream.pending += data[known:]
        stream.next = (at + max(known, len(data))) % NUMBERS
        messages = whole(stream.pending)
        if announced(stream.pending) > LARGEST:
            self.torn += 1
            return messages
        self._streams[connection] = stream
        if len(self._streams) > CONNECTIONS:
            self._streams.popitem(last=False)
        return messages


def whole(pending: bytearray) -> list[bytes]:
    """Take the messages that are whole from the front."""
    messages = []
    while len(pending) >= 2 and announced(pending) <= min(LARGEST, len(pending) - 2):
        end = 2 + announced(pending)
        messages.append(bytes(pending[2:end]))
        del pending[:end]
    return messages


def announced(pending: bytearray) -> int:
    """Return the length of the first message, 0 where that is not known yet."""
    return int.from_bytes(pending[:2], "big") if len(pending) >= 2 else 0

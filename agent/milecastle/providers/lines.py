"""Newline-delimited JSON and JSON arrays as streams of documents."""

from __future__ import annotations

import re

from milecastle.model import ParseError
from milecastle.providers import document
from milecastle.providers.frame import LARGEST, Frame

_SPACE = b" \t\r\n"
_MARK = re.compile(rb'["\\\[\]{},]')


class Lines:
    """Newline-delimited JSON: one frame a line that is not blank."""

    whole = False

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self.offset = 0
        self._searched = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Return the lines that are now whole. ParseError where one is larger than the limit."""
        self._buffer += data
        frames: list[Frame] = []
        begin = 0
        while (end := self._buffer.find(b"\n", max(begin, self._searched))) >= 0:
            self._add(frames, begin, end + 1)
            begin = self._searched = end + 1
        del self._buffer[:begin]
        self.offset += begin
        self._searched = len(self._buffer)
        if len(self._buffer) > self._limit:
            raise ParseError(f"a line of more than {self._limit} bytes")
        return frames

    def close(self) -> list[Frame]:
        """Return the last line where no newline ends it."""
        frames: list[Frame] = []
        self._add(frames, 0, len(self._buffer))
        self.offset += len(self._buffer)
        self._buffer.clear()
        return frames

    def unwrap(self, raw: bytes) -> bytes:
        """Return the document of one line."""
        return raw.strip(_SPACE)

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Return the line with another document in it."""
        stripped = raw.strip(_SPACE)
        return raw.replace(stripped, payload, 1)

    def _add(self, frames: list[Frame], begin: int, end: int) -> None:
        payload = bytes(self._buffer[begin:end]).strip(_SPACE)
        if payload:
            frames.append(Frame(payload, self.offset + begin, self.offset + end))


class Elements:
    """A JSON array that is sent element by element: one frame an element (Gemini without SSE).

    A document that is no array is one frame, at the end.
    """

    whole = False

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self.offset = 0
        self._at = 0
        self._depth = 0
        self._in_string = False
        self._begin = 0
        """Where the current element begins in the buffer."""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the elements that are now whole. ParseError where one is over the limit."""
        self._buffer += data
        frames: list[Frame] = []
        buffer = self._buffer
        while True:
            found = _MARK.search(buffer, self._at)
            if found is None:
                self._at = len(buffer)
                break
            at, mark = found.start(), buffer[found.start()]
            if mark == 0x5C and self._in_string:  # a backslash takes the next byte with it
                if at + 1 >= len(buffer):
                    self._at = at
                    break
                self._at = at + 2
                continue
            self._at = at + 1
            if mark == 0x22:
                self._in_string = not self._in_string
            elif self._in_string:
                continue
            elif mark in b"[{":
                self._depth += 1
                if self._depth == 1 and mark == 0x5B:
                    self._begin = self._at
                elif self._depth == 1:
                    self._depth = 1 << 30  # one object: no element ever ends
            elif mark in b"]}":
                self._depth -= 1
                if self._depth == 0:
                    self._element(frames, at)
            elif self._depth == 1:
                self._element(frames, at)
        cut = self._begin
        del buffer[:cut]
        self.offset += cut
        self._at -= cut
        self._begin = 0
        if len(buffer) > self._limit:
            raise ParseError(f"an element of more than {self._limit} bytes")
        return frames

    def close(self) -> list[Frame]:
        """Return what is left where it was never an array."""
        left = bytes(self._buffer).strip(_SPACE + b",]")
        start, end = self.offset, self.offset + len(self._buffer)
        self.offset = end
        self._buffer.clear()
        return [Frame(left, start, end)] if left else []

    def unwrap(self, raw: bytes) -> bytes:
        """Return the document of one element."""
        begin, end = _braces(raw)
        return raw[begin:end]

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Return the element with another document in it."""
        begin, end = _braces(raw)
        return raw[:begin] + payload + raw[end:]

    def _element(self, frames: list[Frame], end: int) -> None:
        payload = bytes(self._buffer[self._begin : end]).strip(_SPACE)
        if payload:
            frames.append(Frame(payload, self.offset + self._begin, self.offset + end))
        self._begin = end + 1


def _braces(raw: bytes) -> tuple[int, int]:
    begin, end = raw.find(b"{"), raw.rfind(b"}") + 1
    if begin < 0 or end <= begin:
        raise ParseError("an element that is no object")
    return begin, end


class Whole:
    """A body that is one document: one frame, when it is closed."""

    whole = True

    def __init__(self, limit: int = document.LARGEST) -> None:
        self._limit = limit
        self.offset = 0
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Keep the bytes. ParseError beyond the limit."""
        self._size += len(data)
        if self._size > self._limit:
            raise ParseError(f"a body of more than {self._limit} bytes")
        self._chunks.append(bytes(data))
        return []

    def close(self) -> list[Frame]:
        """Return the body."""
        body, self._chunks = b"".join(self._chunks), []
        self.offset = self._size
        return [Frame(body, 0, self._size)] if body.strip() else []

    def unwrap(self, raw: bytes) -> bytes:
        """Return the body."""
        return raw

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Return the other body."""
        return payload

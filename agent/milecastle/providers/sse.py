"""Server-sent events, incremental: the WHATWG rules (HTML standard, section 9.2.6).

Lines end in LF, CRLF or CR, also split between chunks; one byte order mark at the beginning is
dropped; comments and unknown fields are ignored; several ``data`` lines are joined by LF. Of each
event its exact bytes are known, so it can be held back or replaced.

Where the stream ends in the middle of an event the standard discards it. Clients are laxer, so it
is reported when the stream is closed: what a client may read must be inspected.
"""

from __future__ import annotations

import re

from milecastle.model import ParseError
from milecastle.providers.frame import LARGEST, Frame

_END_OF_LINE = re.compile(rb"[\r\n]")
_BOM = b"\xef\xbb\xbf"


class Events:
    """Bytes of any split -> frames, one for each event that has data."""

    whole = False

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self.offset = 0
        """Offset of the buffer's first byte in the stream."""
        self._searched = 0
        """No line ends in the buffer before this index, counted from the last line's end."""
        self._line = 0
        """Where the current line begins in the buffer."""
        self._data: list[bytes] = []
        self._name = b""
        self._begun = False

    def feed(self, data: bytes) -> list[Frame]:
        """Return the events that are now whole. ParseError where one is larger than the limit."""
        self._buffer += data
        frames = self._lines(at_end=False)
        if len(self._buffer) > self._limit:
            raise ParseError(f"an event of more than {self._limit} bytes")
        return frames

    def close(self) -> list[Frame]:
        """Return the event that the end of the stream leaves unfinished, if it has data."""
        frames = self._lines(at_end=True)
        if self._line < len(self._buffer):
            self._field(bytes(self._buffer[self._line :]))
            self._line = len(self._buffer)
        last = self._dispatch(self._line)
        return [*frames, last] if last else frames

    def unwrap(self, raw: bytes) -> bytes:
        """Return the data of one event."""
        one = Events(self._limit)
        frames = one.feed(raw) or one.close()
        if len(frames) != 1:
            raise ParseError("not exactly one event")
        return frames[0].payload

    def rewrap(self, raw: bytes, payload: bytes) -> bytes:
        """Return the event with other data; its other lines stay as they are."""
        lines = re.split(rb"(\r\n|\n|\r)", raw.removeprefix(_BOM))
        out: list[bytes] = []
        put = False
        for index in range(0, len(lines), 2):
            line, ending = lines[index], lines[index + 1] if index + 1 < len(lines) else b""
            if line == b"data" or line.startswith(b"data:"):
                if put:
                    continue
                put = True
                line = (ending or b"\n").join(b"data: " + each for each in payload.split(b"\n"))
            out += (line, ending)
        return b"".join(out)

    def _lines(self, *, at_end: bool) -> list[Frame]:
        frames: list[Frame] = []
        if not self._begun and not self._skip_mark(at_end=at_end):
            return frames
        buffer = self._buffer
        line, searched = self._line, max(self._searched, self._line)
        while True:
            found = _END_OF_LINE.search(buffer, searched)
            if found is None:
                searched = len(buffer)
                break
            end = found.start()
            after = end + 1
            if buffer[end] == 13:  # CR: an LF behind it belongs to the same line end
                if after == len(buffer) and not at_end:
                    searched = end
                    break
                if buffer[after : after + 1] == b"\n":
                    after += 1
            if end == line:
                frame = self._dispatch(after)
                if frame is not None:
                    frames.append(frame)
                del buffer[:after]
                after = 0
            else:
                self._field(bytes(buffer[line:end]))
            line = searched = after
        self._line, self._searched = line, searched
        return frames

    def _skip_mark(self, *, at_end: bool) -> bool:
        """Pass over a byte order mark; False while it can't be told whether there is one."""
        if len(self._buffer) < len(_BOM) and not at_end and _BOM.startswith(self._buffer):
            return False
        self._begun = True
        if self._buffer.startswith(_BOM):
            self._line = len(_BOM)
        return True

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value[1:] if value[:1] == b" " else value)
        elif name == b"event":
            self._name = value[1:] if value[:1] == b" " else value

    def _dispatch(self, end: int) -> Frame | None:
        """Return the event that ends here; None where it has no data (a comment, a mere name)."""
        data, name = self._data, self._name
        self._data, self._name = [], b""
        payload = data[0] if len(data) == 1 else b"\n".join(data)
        start = self.offset
        self.offset += end
        if not payload:
            return None
        return Frame(payload, start, self.offset, name.decode("utf-8", "replace"))

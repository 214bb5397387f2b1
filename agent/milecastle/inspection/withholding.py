"""Text that a WebSocket's server sends piece by piece, each piece a message of its own.

What may be the beginning of a finding, or of a placeholder, is cut off its message and goes with
the next piece of the same part; where the part ends, with a copy of its last piece's message. It
ends where a message repeats it whole, or where the answer is complete. A tool call's arguments go
on when the call has been judged as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from milecastle import providers
from milecastle.detect import StreamScanner
from milecastle.inspection.pseudonyms import Restoring
from milecastle.model import Edit, Finding
from milecastle.providers import Delta

type Judge = Callable[[Finding, str], str | None]
"""From a finding and its text to what stands in its place; None: it stays."""


@dataclass(slots=True)
class Part:
    """One part of an answer while it grows."""

    scanner: StreamScanner
    restoring: Restoring
    called: bool
    """It is a tool call."""
    text: str = ""
    """What has not gone on yet."""
    base: int = 0
    """Where that begins in the part's text."""
    message: bytes = b""
    """The last one of it, and ``place`` where its text stands."""
    place: str = ""
    length: int = 0
    said: list[str] = field(default_factory=list)
    """All of its text as the server sent it."""
    longer: int = 0
    """By how much replacements have made the text longer."""

    def grow(self, data: bytes, delta: Delta, judge: Judge) -> str:
        """Take a piece; return the text that may go on in its place."""
        self.message, self.place, self.length = data, delta.place, len(delta.text)
        self.said.append(delta.text)
        self.text += delta.text
        update = self.scanner.feed(delta.text)
        self._replace(update.findings, judge)
        settled = 0 if self.called else update.safe + self.longer - self.base
        return self.restoring.pour(self._take(settled))

    def rest(self, judge: Judge) -> str:
        """Return all that was withheld, now that nothing follows."""
        self._replace(self.scanner.close().findings, judge)
        return self.restoring.pour(self._take(len(self.text))) + self.restoring.rest()

    def end(self, judge: Judge) -> bytes | None:
        """Return a message with all that was withheld, None where nothing was."""
        rest = self.rest(judge)
        if not rest:
            return None
        return providers.rewrite(self.message, [Edit(self.place, 0, self.length, rest)])

    def _replace(self, findings: tuple[Finding, ...], judge: Judge) -> None:
        for finding in findings:
            start = max(0, finding.start + self.longer - self.base)
            end = finding.end + self.longer - self.base
            new = judge(finding, self.text[start:end])
            if new is not None and end > 0:
                self.text = self.text[:start] + new + self.text[end:]
                self.longer += len(new) - (end - start)

    def _take(self, until: int) -> str:
        until = max(0, min(until, len(self.text)))
        gone, self.text = self.text[:until], self.text[until:]
        self.base += until
        return gone


class Withholding:
    """All parts of the turn that grow. ``open_part`` begins one."""

    def __init__(self, open_part: Callable[[Delta], Part]) -> None:
        self._open = open_part
        self._parts: dict[tuple[int, int], Part] = {}

    def grow(self, data: bytes, delta: Delta, judge: Judge, *, last: bool) -> Edit | None:
        """Take a piece; return the edit that leaves in it what may go on."""
        key = (delta.message, delta.part)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = self._open(delta)
        text = part.grow(data, delta, judge)
        if last:
            text += part.rest(judge)
            del self._parts[key]
        return None if text == delta.text else Edit(delta.place, 0, len(delta.text), text)

    def end(self, deltas: Sequence[Delta], judge: Judge, *, all_: bool) -> Iterator[bytes]:
        """Yield what was withheld of the parts that these deltas repeat whole; or of all."""
        wholes = [each for each in deltas if each.whole]
        if not wholes and not all_:
            return
        keys = {(each.message, each.part) for each in wholes}
        told = {each.text for each in wholes}
        for key, part in list(self._parts.items()):
            if all_ or key in keys or "".join(part.said) in told:
                del self._parts[key]
                if (message := part.end(judge)) is not None:
                    yield message

"""Read text that arrives in pieces: report what is found, and say how much may be let go.

Only the end of the text is kept and read again: what is held back and CONTEXT before it. A match
counts once nothing that may still arrive can change it, and every rule goes on where its last
match ended, so however the text is cut, the findings are those of the whole.

Reversed text and text that was encoded further back than CONTEXT is found without its beginning
having been held back; see docs/THREATS.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from milecastle.detect.candidate import Unfinished
from milecastle.detect.engine import Engine
from milecastle.detect.patterns import Spans, Weighed, to_code_points, without_overlaps
from milecastle.detect.tails import Run
from milecastle.model import Finding, Provenance, Role, Segment

CONTEXT = 512
"""Characters before the held text that stay readable for names, quotes and encodings."""
SLACK = 128
"""Characters that are dropped from the front at a time."""
LONGEST_HELD = 24_000
"""No secret is longer; what is held beyond that is let go and the reading called unfinished."""
DECODED = 400
"""Characters that are looked at again for encodings."""
PARAGRAPH = 512
"""Characters after which the other readers are asked, where no line ends before."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one piece of text brought."""

    findings: tuple[Finding, ...]
    """Newly complete; offsets into the whole stream's text."""
    safe: int
    """Characters from the stream's beginning that no later finding can touch."""
    unfinished: str = ""
    """Why something was not read to its end; never to be taken for clean."""


class StreamScanner:
    """Feed it the pieces, close it once."""

    def __init__(self, engine: Engine, role: Role, provenance: Provenance) -> None:
        self._engine = engine
        self._segment = Segment("", role, provenance)
        self._text = ""
        self._base = 0
        """Where the kept text begins in the stream."""
        self._safe = 0
        self._run = Run()
        self._resume: dict[int, int] = {}
        """Rule number -> where its last match ended."""
        self._waiting: list[Weighed] = []
        """Complete, but something that is not may yet outrank them."""
        self._told: list[Finding] = []
        self._decoded_to = 0
        self._others_to = 0

    def feed(self, delta: str) -> Update:
        """Read on. Linear in the new text."""
        self._run.feed(delta, self._base + len(self._text))
        self._text += delta
        return self._advance(final=False, line_ended="\n" in delta)

    def close(self) -> Update:
        """Read the end as the end."""
        return self._advance(final=True, line_ended=True)

    def _advance(self, *, final: bool, line_ended: bool) -> Update:
        end = self._base + len(self._text)
        found: list[Finding] = []
        why = ""
        held = end
        try:
            spans, held = self._match(final)
            weighed = self._engine.patterns.weigh(self._segment, self._text, 0, spans)
            self._waiting += [(rank, self._moved(finding)) for rank, finding in weighed]
            if end - held > LONGEST_HELD:
                held, why = end, f"more than {LONGEST_HELD} characters of one secret"
            found += self._settle(held)
            found += self._decode(end if final else held, final)
            found += self._ask_others(final, line_ended)
        except Unfinished as error:
            why = error.why
        waiting = min((finding.start for _, finding in self._waiting), default=held)
        self._safe = max(self._safe, min(held, waiting))
        self._forget(min(held, waiting))
        return Update(tuple(found), self._safe, why)

    def _match(self, final: bool) -> tuple[Iterable[Spans], int]:
        """Return the matches that are complete, and where the first one that is not begins."""
        data = self._text.encode(errors="replace")
        patterns, tails = self._engine.patterns, self._engine.tails
        triggered = patterns.triggered(data)
        held = self._base + len(self._text)
        states = {}
        if not final:
            held = self._run.held(held)
            for number in {*tails.open(data), *tails.headless.intersection(triggered)}:
                state = tails.of_rule(number, data, self._start(number, data))
                if state is not None:
                    states[number] = state.start
                    held = min(held, self._base + characters(data, state.secret))
        spans = []
        for number in triggered:
            for match in patterns.matches(number, data, self._start(number, data)):
                begins, ends = match.whole
                if number in states and states[number] <= begins:
                    break
                if not final and ends == len(data) and not tails.knows(number):
                    held = min(held, self._base + characters(data, begins))
                    break
                self._resume[number] = self._base + characters(data, ends)
                spans.append(match)
        return to_code_points(spans, data, self._text), held

    def _start(self, number: int, data: bytes) -> int:
        """Return the byte offset from which a rule reads on."""
        # One character stays unread in front, or a cut would look like the text's beginning.
        first = 1 if self._base else 0
        at = max(first, self._resume.get(number, 0) - self._base)
        return at if len(data) == len(self._text) else len(self._text[:at].encode(errors="replace"))

    def _settle(self, held: int) -> list[Finding]:
        """Report what is complete, unless something incomplete reaches into it."""
        while any(f.start < held < f.end for _, f in self._waiting):
            held = min(f.start for _, f in self._waiting if f.start < held < f.end)
        ready = [(rank, f) for rank, f in self._waiting if f.end <= held]
        self._waiting = [(rank, f) for rank, f in self._waiting if f.end > held]
        return self._tell(without_overlaps(ready))

    def _decode(self, held: int, final: bool) -> list[Finding]:
        """Report what encoded runs say that are complete."""
        start = max(0, min(self._decoded_to - DECODED - self._base, len(self._text)))
        text = self._text[start:]
        found = []
        for view in self._engine.decoder.views(text):
            segment = replace(self._segment, text=view.text)
            found += view.back(self._engine.patterns.scan(segment))
        self._decoded_to = held
        ends = self._base + len(self._text) + final
        moved = [self._moved(f, start) for f in found if f.start or not (start or self._base)]
        return self._tell([f for f in moved if f.end <= held and f.end < ends])

    def _ask_others(self, final: bool, line_ended: bool) -> list[Finding]:
        """Have the other readers look at what is new, a paragraph at a time."""
        end = self._base + len(self._text)
        if not line_ended and end - self._others_to < PARAGRAPH:
            return []
        start = max(0, self._others_to - DECODED - self._base)
        segment = replace(self._segment, text=self._text[start:])
        found = [f for reader in self._engine.readers[1:] for f in reader.scan(segment)]
        self._others_to = end
        return self._tell([self._moved(finding, start) for finding in found])

    def _tell(self, findings: Iterable[Finding]) -> list[Finding]:
        """Leave out what lies on something that was reported before."""
        new = []
        for finding in findings:
            if not any(
                finding.category == old.category
                and finding.start < old.end
                and old.start < finding.end
                for old in self._told
            ):
                new.append(finding)
                self._told.append(finding)
        return new

    def _moved(self, finding: Finding, start: int = 0) -> Finding:
        by = self._base + start
        return replace(finding, start=finding.start + by, end=finding.end + by)

    def _forget(self, held: int) -> None:
        """Drop what nothing will need any more."""
        surplus = held - CONTEXT - self._base
        if surplus >= SLACK:
            self._text = self._text[surplus:]
            self._base += surplus
            self._told = [finding for finding in self._told if finding.end > self._base]


def characters(data: bytes, offset: int) -> int:
    """Return how many characters stand before this byte offset."""
    return offset if data.isascii() else len(data[:offset].decode(errors="replace"))

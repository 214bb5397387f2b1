"""A streamed answer, judged while it passes: only what is still open is held back.

Bytes go on as soon as the event they belong to is whole and none of its text can be part of an
unfinished match. On ordinary prose that is at once. A redaction rewrites the events that carry
the text; a block ends the stream in the provider's own grammar. Where no rule can do more than
alert, nothing is held back at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from milecastle import providers
from milecastle.detect import StreamScanner, Unfinished
from milecastle.inspection.actions import Block, Chunk
from milecastle.inspection.noting import Noting
from milecastle.inspection.pseudonyms import Restoring
from milecastle.inspection.record import MASKED
from milecastle.inspection.replacing import marker, merge, notice, restored
from milecastle.inspection.tracks import Track, replaced
from milecastle.model import (
    Action,
    Edit,
    Exchange,
    Finding,
    ParseError,
    Part,
    Provenance,
    ResponseHead,
    Segment,
    Verdict,
)
from milecastle.providers import Delta
from milecastle.providers.leaves import label

if TYPE_CHECKING:
    from milecastle.inspection.exchange import Inspection

HELD = 8 << 20
"""Most bytes that may be held back; a stream that wants more can't be judged."""


class StreamInspection:
    """The state of one streamed answer."""

    def __init__(self, inspection: Inspection, head: ResponseHead) -> None:
        self._inspection = inspection
        self._stream = providers.open_stream(inspection.exchange, head)
        self._acts = inspection.inspector.acts_on("response")
        self._holds = self._acts or inspection.changes_answers
        self._tracks: dict[tuple[int, int], Track] = {}
        self._held = bytearray()
        self._released = 0
        """Offset in the stream of the first byte that is held."""
        self._edits: dict[tuple[int, int], list[Edit]] = {}
        """By the event's bytes (start, end)."""
        self._findings: list[Finding] = []
        self._cut: Verdict | None = None
        self._uninspected = False
        self._noting = Noting(
            inspection.told,
            inspection.exchange,
            expected=inspection.inspector.coaches("response"),
        )

    @property
    def exchange(self) -> Exchange:
        """The exchange with the answer as far as it came."""
        return self._stream.exchange

    def feed(self, data: bytes) -> Chunk:
        """Take the next bytes, return those that may go on."""
        if self._cut is not None:
            return Chunk(b"", cut=True)
        self._held += data
        if not self._uninspected:
            try:
                self._read(self._stream.feed(data))
                if self._holds and len(self._held) > HELD:
                    raise ParseError(f"more than {HELD} bytes of a stream were unfinished")
            except (ParseError, Unfinished) as error:
                self._fail(error)
        return self._release(at_end=False)

    def finish(self) -> Chunk:
        """Take the end of the answer, return everything that was still held."""
        if self._cut is not None:
            return Chunk(b"", cut=True)
        if not self._uninspected:
            try:
                self._read(self._stream.close())
                for key, track in self._tracks.items():
                    self._take(key, track, track.scanner.close().findings)
                    track.safe = track.settled = track.length
                self._calls_are_complete(None)
                self._read_to_the_end()
            except (ParseError, Unfinished) as error:
                self._fail(error)
        if not self._findings and self._cut is None:
            self._inspection.judge("response", ())
        return self._release(at_end=True)

    # --- reading ---------------------------------------------------------------------------

    def _read(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            if self._cut is not None:
                return
            if delta.whole:
                self._read_whole(delta)
            else:
                self._read_growth(delta)
        if self._stream.answer.ended:
            self._calls_are_complete(None)
        if self._noting.open:
            for (start, end), edit in self._noting.read(deltas, self._stream):
                self._edits.setdefault((start, end), []).append(edit)

    def _read_growth(self, delta: Delta) -> None:
        key = (delta.message, delta.part)
        track = self._tracks.get(key)
        if track is None:
            self._calls_are_complete(key)
            called = delta.kind == "tool_call"
            scanner = StreamScanner(self._inspection.inspector.engine, "assistant", said(delta))
            restoring = Restoring(self._inspection.names, in_json=called)
            track = self._tracks[key] = Track(scanner, restoring, tool_call=called)
        if self._holds:
            track.grow(delta)
        update = track.scanner.feed(delta.text)
        track.awaited = track.tool_call
        if not self._acts:
            track.safe = track.length
        elif not track.tool_call:
            track.safe = update.safe
        self._take(key, track, update.findings)
        found, track.settled = track.restoring.feed(delta.text)
        for start, end, text in found:
            self._replace(track, start, end, text)

    def _read_whole(self, delta: Delta) -> None:
        """Read a text that an event holds complete: all its strings, each in its own place."""
        texts = [(leaf.place, leaf.text) for leaf in delta.leaves] or [(delta.place, delta.text)]
        segments = [
            Segment(text, "assistant", said(delta), place, label(place), delta.name or "")
            for place, text in texts
        ]
        whole = dict(texts)
        for finding in self._found(segments):
            self._note(finding, whole[finding.place][finding.start : finding.end])
            if self._enforced(finding):
                new = self._stand_in(finding)
                self._edit(delta, Edit(finding.place, finding.start, finding.end, new))
        for edit in restored(segments, self._inspection.names):
            self._edit(delta, edit)

    def _calls_are_complete(self, opened: tuple[int, int] | None) -> None:
        """Judge tool calls as wholes, now that another part began or the answer ended."""
        for key, track in self._tracks.items():
            if track.awaited and key != opened:
                self._judge_call(key)
                track.awaited, track.safe = False, track.length

    def _judge_call(self, key: tuple[int, int]) -> None:
        part = self._part(key)
        name = (part and part.name) or ""
        segments = [
            Segment(leaf.text, "assistant", "tool_call", leaf.place, label(leaf.place), name)
            for leaf in (part.leaves if part else ())
        ]
        texts = {segment.place: segment.text for segment in segments}
        for finding in self._found(segments):
            self._note(finding, texts[finding.place][finding.start : finding.end])
            # a place inside the call's own JSON can't be mapped to single events
            if self._enforced(finding) and self._cut is None:
                self._cut = self._inspection.told.verdicts["response"]

    def _found(self, segments: Sequence[Segment]) -> Iterator[Finding]:
        """Yield what is found in texts that are whole, also beside what was said before."""
        for segment in segments:
            yield from self._inspection.inspector.engine.scan([segment])
        yield from self._inspection.inspector.engine.scan_commands(segments)
        if any(segment.provenance == "tool_call" for segment in segments):
            yield from self._inspection.called(self.exchange, segments)

    def _read_to_the_end(self) -> None:
        """Judge what only a whole answer shows; its text has gone on by now, mostly."""
        segments = providers.segments(self.exchange, "response")
        if self.exchange.format != "mcp":  # its calls were judged one by one
            segments = [each for each in segments if each.provenance != "tool_call"]
        texts = {segment.place: segment.text for segment in segments}
        for finding in self._inspection.across(self.exchange, segments):
            self._note(finding, texts.get(finding.place, "")[finding.start : finding.end])

    # --- judging ---------------------------------------------------------------------------

    def _take(self, key: tuple[int, int], track: Track, findings: Sequence[Finding]) -> None:
        for finding in findings:
            part = self._part(key)
            placed = replace(finding, place=part.place if part else "")
            pieces = track.covering(finding.start, finding.end)
            self._note(placed, "".join(text for _piece, text in pieces))
            if self._enforced(placed):
                self._replace(track, finding.start, finding.end, self._stand_in(placed))

    def _replace(self, track: Track, start: int, end: int, new: str) -> None:
        """Put ``new`` in the place of a text that may stand in several events."""
        pieces = track.covering(start, end)
        for (piece, _), edit in zip(pieces, replaced(pieces, start, end, new), strict=True):
            self._edit(piece.delta, edit)

    def _edit(self, delta: Delta, edit: Edit) -> None:
        self._edits.setdefault((delta.start, delta.end), []).append(edit)

    def _stand_in(self, finding: Finding) -> str:
        """Return what the policy puts in the place of a finding."""
        decision = self._inspection.decide("response", [finding])
        return notice(finding) if decision.neutralise else marker(finding)

    def _note(self, finding: Finding, text: str) -> None:
        self._findings.append(finding)
        if finding.category in MASKED and text.strip():
            self._inspection.told.masked.append((text, marker(finding)))
        decision = self._inspection.judge("response", self._findings)
        if decision.verdict.applied.stops:
            self._cut = decision.verdict

    def _enforced(self, finding: Finding) -> bool:
        """Whether this finding must not reach the client."""
        decision = self._inspection.decide("response", [finding])
        return decision.verdict.applied.rank > Action.COACH.rank

    def _part(self, key: tuple[int, int]) -> Part | None:
        messages = self._stream.exchange.output_messages
        try:
            return messages[key[0]].parts[key[1]]
        except IndexError:
            return None

    def _fail(self, error: Exception) -> None:
        """Do with a stream that can't be judged what ``on_failure`` says: pass it on, or cut."""
        self._uninspected = True
        if isinstance(self._inspection.fail("response", error), Block):
            self._cut = self._inspection.told.verdicts["response"]

    # --- releasing -------------------------------------------------------------------------

    def _release(self, *, at_end: bool) -> Chunk:
        if self._cut is not None:
            return self._closing(self._cut)
        if at_end or self._uninspected or not self._holds:
            until = self._released + len(self._held)
        else:
            open_from = [track.first_open() for track in self._tracks.values()]
            until = min([self._stream.offset, self._noting.first_open(), *open_from])
        data = bytearray()
        position = self._released
        for start, end in sorted(span for span in self._edits if span[1] <= until):
            edits = self._edits.pop((start, end))
            data += self._bytes(position, start)
            try:
                data += self._stream.rewrite(self._bytes(start, end), merge(edits))
            except ParseError:  # it can be read, but not rewritten: then it must not go on
                return self._closing(self._inspection.told.verdicts["response"], bytes(data))
            position = end
        data += self._bytes(position, until)
        del self._held[: until - self._released]
        self._released = until
        for track in self._tracks.values():
            track.forget(until)
        return Chunk(bytes(data))

    def _bytes(self, start: int, end: int) -> bytes:
        return bytes(self._held[start - self._released : end - self._released])

    def _closing(self, verdict: Verdict, before: bytes = b"") -> Chunk:
        """End the stream for the client, after what may still go ``before``."""
        self._cut = verdict
        self._held.clear()
        rule = verdict.rule or "on_failure"
        reason = f"Cut by milecastle rule {rule}: {verdict.reason}"
        closing = providers.closing_events(self._inspection.format, self._stream, reason)
        return Chunk(before + closing, cut=True)


def said(delta: Delta) -> Provenance:
    """Return the provenance of a delta's text."""
    match delta.kind:
        case "reasoning":
            return "reasoning"
        case "tool_call":
            return "tool_call"
        case "tool_call_response":
            return "tool_result"
        case _:
            return "assistant"

"""Compose the detectors: every segment is read by each of them, as it stands and decoded.

A conversation is sent again with every turn, so what was read once is answered from a bounded
memory, keyed by the text and by where it stood. A text that is the same object as it was is found
there without being looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from milecastle.detect import rules
from milecastle.detect.candidate import Unfinished
from milecastle.detect.fingerprints import Index, OwnDocuments
from milecastle.detect.injection import Injection
from milecastle.detect.normalise import Decoder
from milecastle.detect.patterns import Patterns
from milecastle.detect.pii_tables import condense
from milecastle.detect.resolve import merge
from milecastle.detect.tails import Tails
from milecastle.detect.tools import ToolCalls, argv
from milecastle.model import Finding, Segment


class Detector(Protocol):
    """Reads one segment. Bounded in time and memory; Unfinished says that it gave up."""

    def scan(self, segment: Segment) -> list[Finding]: ...


DETECTORS: tuple[Callable[[bytes], Detector], ...] = ()
"""Detectors beside the patterns: each is made with the digest key and reads segments as sent."""

READERS: tuple[Callable[[bytes], Detector], ...] = ()
"""Detectors that also read what was encoded in a segment, as the patterns do."""

APART = frozenset({"tool", "injection"})
"""Categories whose rules are read by a detector of their own: what a call would do, and what a
text orders, which has no end that a stream should wait for."""

REMEMBERED = 4_096
"""Segments whose findings are kept."""
HELD = 8 << 20
"""Characters of all of them together."""

type Known = tuple[str, str, str, str, str]
"""Text, role, provenance, label and tool of a segment."""


class Engine:
    """All detectors over one set of rules. One thread at a time."""

    def __init__(self, rules_: Sequence[rules.Rule], *, key: bytes) -> None:
        self.rules = tuple(rules_)
        self.key = key
        self.of_text = tuple(rule for rule in self.rules if rule.category not in APART)
        """The rules that read any text, one by one."""
        self.patterns = Patterns(self.of_text, key)
        orders = [rule for rule in self.rules if rule.category == "injection"]
        self.injection = Injection(orders, key) if orders else None
        """None where no rule of the category is loaded."""
        others = (self.injection,) if self.injection else ()
        self.readers: tuple[Detector, ...] = (
            self.patterns,
            *others,
            *(new(key) for new in READERS),
        )
        self._detectors = (ToolCalls(self.rules, key), *(new(key) for new in DETECTORS))
        self._documents: tuple[Detector, ...] = ()
        self.decoder = Decoder(self.rules)
        self._memory: OrderedDict[Known, tuple[Finding, ...]] = OrderedDict()
        self._held = 0

    @cached_property
    def tails(self) -> Tails:
        """What streams need besides; made when the first one begins."""
        return Tails(self.of_text)

    @classmethod
    def load(cls, rule_files: Sequence[tuple[str, str]], *, key: bytes) -> Engine:
        """Compile these (name, YAML text) files; ParseError lists everything wrong with them.

        ``key`` (16 bytes or more, secret to the host) keys the findings' digests.
        """
        return cls(rules.load(rule_files), key=key)

    def know(self, indexes: Sequence[Index]) -> None:
        """Look for passages of the documents that these hold, in place of others."""
        self._documents = (OwnDocuments(indexes, self.key),) if indexes else ()
        self._memory.clear()

    def warm_up(self) -> None:
        """Compile now what else the first stream would wait for (a quarter of a second)."""
        _ = self.tails

    def scan(self, segments: Sequence[Segment]) -> list[Finding]:
        """Return all findings. Raise Unfinished, with what was found, where a budget ran out."""
        findings: list[Finding] = []
        unfinished = ""
        for segment in segments:
            try:
                findings += self.scan_one(segment)
            except Unfinished as error:
                findings += error.findings
                unfinished = unfinished or error.why
        try:
            findings += self.scan_commands(segments)
        except Unfinished as error:
            findings += error.findings
            unfinished = unfinished or error.why
        if unfinished:
            raise Unfinished(unfinished, findings)
        return findings

    def scan_commands(self, segments: Sequence[Segment]) -> list[Finding]:
        """Return findings in commands whose words are segments, as their words alone have none."""
        found: list[Finding] = []
        for run in argv.commands(segments):
            apart = {each.rule for word in run for each in self.scan_one(word)}
            together = argv.placed(self.scan_one(argv.joined(run)), run)
            found += [each for each in together if each.rule not in apart]
        return found

    def scan_one(self, segment: Segment) -> list[Finding]:
        """Return one segment's findings, from memory where the same text stood there before."""
        key = (segment.text, segment.role, segment.provenance, segment.label, segment.tool)
        known = self._memory.get(key)
        if known is None:
            known = tuple(self._read(segment))
            self._memory[key] = known
            self._held += len(segment.text)
            while len(self._memory) > REMEMBERED or self._held > HELD:
                (oldest, *_), _ = self._memory.popitem(last=False)
                self._held -= len(oldest)
        else:
            self._memory.move_to_end(key)
        return [replace(finding, place=segment.place) for finding in known]

    def injection_score(self, segment: Segment) -> float:
        """Return the probability, 0 to 1, that the text is or holds an attack on the model."""
        if self.injection is None:
            return 0.0
        score = self.injection.score(segment)
        with suppress(Unfinished):  # a scan of the same segment says so
            for view in self.decoder.views(segment.text):
                score = max(score, self.injection.score(replace(segment, text=view.text)))
        return score

    def _read(self, segment: Segment) -> list[Finding]:
        findings: list[Finding] = []
        unfinished = ""
        for detector in (*self.readers, *self._detectors, *self._documents):
            try:
                findings += detector.scan(segment)
            except Unfinished as error:
                findings += error.findings
                unfinished = unfinished or error.why
        try:
            for view in self.decoder.views(segment.text):
                decoded = replace(segment, text=view.text)
                for reader in self.readers:
                    findings += view.back(reader.scan(decoded))
        except Unfinished as error:
            unfinished = unfinished or error.why
        findings = condense(merge(findings), segment.text)
        if unfinished:
            raise Unfinished(unfinished, findings)
        return findings

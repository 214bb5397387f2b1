"""The pattern engine: RE2 Sets over the rules' triggers say which of them can match where, then
only those are matched exactly, there, and their candidates checked.

One Set for the words of a category and one for all shapes, not one for everything: an automaton's
states are products, and the gaps in rules for prose would be multiplied with the prefixes of
tokens.

RE2 is linear in the text whatever the pattern. A Set whose automaton has no memory left answers
"nothing", so one more expression that matches every text stands in it: where that one is missing
from the answer, nothing was read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import re2

from milecastle.detect.candidate import AFTER, NEARBY, Candidate, Unfinished
from milecastle.detect.decoys import decoy
from milecastle.detect.masking import digest, excerpt
from milecastle.detect.resolve import Kept
from milecastle.detect.rules import Rule, compiled
from milecastle.detect.shapes import shape_of
from milecastle.detect.taxonomy import ids
from milecastle.model import Finding, Segment

MEMORY = 32 << 20
"""Bytes that one category's program and automaton may take; it starts anew when they are full."""
BLOCK, OVERLAP = 4_096, 512
"""Bytes of a long text that are asked for triggers at once, and how far the next block is read as
well: a word and the number beside it stand in one of them."""
CANDIDATES = 20_000
"""Matches that are looked at in one text, of all rules together."""
LONGEST = 20_000
"""Characters of the longest secret: a private key of 16,384 bits in PEM."""
LABELLED = 8_192
"""A text up to this long is read together with the key that it stood under."""
LONGEST_LABEL = 64
EVERY_TEXT = r"\A"
WITH = {"marking": "pii"}
"""Categories whose words are looked for together with another's: they are few."""


type Weighed = tuple[tuple[bool, float, int], Finding]
"""((named, not generic; score; length), finding): the greater wins where they overlap."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Where a rule matched, as byte offsets: the secret, the name, the whole."""

    rule: Rule
    secret: tuple[int, int]
    name: tuple[int, int]
    whole: tuple[int, int]


def set_of(expressions: Iterable[str]) -> re2.Set:
    """Compile expressions to be looked for at once; number 0 stands in every text."""
    options = re2.Options()
    options.max_mem = MEMORY
    options.never_capture = True
    options.log_errors = False
    made = re2.Set.SearchSet(options)
    made.Add(EVERY_TEXT)
    for expression in expressions:
        made.Add(expression.encode())
    made.Compile()
    return made


class Any:
    """Some rules' expressions, looked for at once."""

    def __init__(self, expressions: Sequence[tuple[int, str]]) -> None:
        """``expressions``: (number of the rule, expression)."""
        self._numbers = (-1, *(number for number, _ in expressions))
        self._set = set_of(expression for _, expression in expressions)

    def found(self, data: bytes) -> list[int]:
        """Return the numbers of those that stand in the text, in no order."""
        hit = self._set.Match(data)
        if not hit or 0 not in hit:
            raise Unfinished("the automaton ran out of memory")
        return [self._numbers[place] for place in hit if place] if len(hit) > 1 else []


class Exact:
    """One rule's compiled pattern and the numbers of its groups."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._regexp = compiled(rule.pattern)
        index = {
            name.decode() if isinstance(name, bytes) else name: number
            for name, number in self._regexp.groupindex.items()
        }
        self._secrets = sorted(n for name, n in index.items() if name.startswith("secret"))
        self._name = index.get("name", 0)

    def matches(self, data: bytes, start: int = 0, end: int | None = None) -> Iterator[Spans]:
        """Yield the matches between two byte offsets, none on another."""
        for match in self._regexp.finditer(data, start, end):
            taken = (match.span(number) for number in self._secrets)
            secret = next((span for span in taken if span[0] >= 0), match.span())
            name = match.span(self._name) if self._name else NOWHERE
            yield Spans(self._rule, secret, name, match.span())


NOWHERE = (-1, -1)


class Patterns:
    """Scans one text for all rules. Not safe for two threads at once."""

    def __init__(self, rules: Sequence[Rule], key: bytes) -> None:
        self.rules = tuple(rules)
        self._key = key
        self._exact: dict[int, Exact] = {}
        worded: dict[str, list[tuple[int, str]]] = {}
        shaped = []
        for number, rule in enumerate(rules):
            if rule.trigger.words:
                group = WITH.get(rule.category, rule.category)
                worded.setdefault(group, []).append((number, rule.trigger.words))
            if rule.trigger.shape:
                shaped.append((number, rule.trigger.shape))
        self._words = [Any(expressions) for expressions in worded.values()]
        self._shapes = Any(shaped)
        self._wordless = {n for n, rule in enumerate(rules) if not rule.trigger.words}
        self._shapeless = {n for n, rule in enumerate(rules) if not rule.trigger.shape}

    def scan(self, segment: Segment) -> list[Finding]:
        """Return the findings, in order of place; Unfinished where a budget ran out."""
        lead = lead_of(segment)
        text = f'{lead}{segment.text}"' if lead else segment.text
        data = text.encode(errors="replace")
        spans = list(islice(self._spans(data), CANDIDATES + 1))
        cut = len(spans) > CANDIDATES
        if not spans:
            return []
        del spans[CANDIDATES:]
        weighed = self.weigh(segment, text, len(lead), to_code_points(spans, data, text))
        findings = without_overlaps(weighed)
        if cut:
            raise Unfinished(f"more than {CANDIDATES} candidates in one text", findings)
        return findings

    def _spans(self, data: bytes) -> Iterator[Spans]:
        """Yield all rules' matches, rule by rule."""
        for number, stretches in self._places(data).items():
            last = 0
            for start, end in stretches:
                for span in self.matches(number, data, max(start, last), end):
                    yield span
                    last = span.whole[1]

    def _places(self, data: bytes) -> dict[int, list[tuple[int, int]]]:
        """Return which rules may match in which stretches; a long text is asked block by block."""
        if len(data) <= 2 * BLOCK:
            return {number: [(0, len(data))] for number in self.triggered(data)}
        places: dict[int, list[tuple[int, int]]] = {}
        for start in range(0, len(data), BLOCK):
            end = start + BLOCK + OVERLAP
            for number in self.triggered(data[start:end]):
                reach = self.rules[number].reach
                stretch = max(0, start - reach), min(len(data), end + reach)
                known = places.setdefault(number, [stretch])
                if stretch[0] <= known[-1][1]:
                    known[-1] = known[-1][0], stretch[1]
                else:
                    known.append(stretch)
        return dict(sorted(places.items()))

    def triggered(self, data: bytes) -> list[int]:
        """Return the numbers of the rules that may match, in order of the rules."""
        worded = {number for some in self._words for number in some.found(data)}
        shaped = set(self._shapes.found(shape_of(data)))
        return sorted((worded & shaped) | (worded & self._shapeless) | (shaped & self._wordless))

    def matches(
        self, number: int, data: bytes, start: int = 0, end: int = sys.maxsize
    ) -> Iterator[Spans]:
        """Yield where a rule matches between two byte offsets."""
        exact = self._exact.get(number)
        if exact is None:
            # Compiled when first needed: most rules never are, and each takes memory.
            exact = self._exact[number] = Exact(self.rules[number])
        return exact.matches(data, start, min(end, len(data)))

    def weigh(
        self, segment: Segment, text: str, lead: int, spans: Iterable[Spans]
    ) -> list[Weighed]:
        """Return the findings among the matches, each with its rank where several overlap.

        ``lead`` characters of the text stand before the segment's own.
        """
        found: list[Weighed] = []
        last = lead + len(segment.text) if lead else len(text)
        for span in spans:
            start, end = span.secret
            end = min(end, last)
            if start < lead or start >= end or end - start > LONGEST:
                continue
            candidate = Candidate(
                secret=text[start:end],
                name=whole_name(text, span.name),
                between=text[span.name[1] : start] if span.name[0] >= 0 else "",
                before=text[max(0, start - NEARBY) : start],
                after=text[end : end + AFTER],
                context=text[slice(*span.whole)],
            )
            verdict = judge(span.rule, candidate)
            if verdict is None:
                continue
            score, words = verdict
            owasp, atlas = ids(span.rule.category, segment.provenance)
            finding = Finding(
                category=span.rule.category,
                rule=span.rule.id,
                severity=span.rule.severity,
                start=start - lead,
                end=end - lead,
                excerpt=excerpt(candidate.secret, span.rule.keep),
                place=segment.place,
                provenance=segment.provenance,
                score=score,
                evidence=words,
                digest=digest(candidate.secret, self._key),
                owasp=owasp,
                atlas=atlas,
            )
            found.append(((not span.rule.generic, score, end - start), finding))
        return found


def judge(rule: Rule, candidate: Candidate) -> tuple[float, str] | None:
    """Return (score, evidence) of a candidate that passes all the rule's checks."""
    guessed = rule.category == "secret" and not rule.certain
    if guessed and decoy(candidate.secret, rule.prefix):
        return None
    score = 1.0
    words = []
    for check, argument in rule.checks:
        evidence = check(candidate, argument)
        if evidence is None:
            return None
        score = min(score, evidence.score)
        words.append(evidence.words)
    return score, ", ".join(filter(None, words)) or "the format"


def without_overlaps(found: Iterable[Weighed]) -> list[Finding]:
    """Keep the best finding of each place, per category: named over generic, sure over unsure.

    Where a named one loses, the winner grows to cover both, so that redaction misses nothing.
    """
    kept: dict[str, Kept] = {}
    for (named, _, _), finding in sorted(found, key=lambda pair: pair[0], reverse=True):
        kept.setdefault(finding.category, Kept()).add(finding, grow=named)
    told = (finding for group in kept.values() for finding in group.told())
    return sorted(told, key=lambda f: (f.start, f.end))


def lead_of(segment: Segment) -> str:
    """Return what is read before the text: the key that it stood under, as an assignment."""
    if not segment.label or len(segment.text) > LABELLED:
        return ""
    return f'{segment.label[-LONGEST_LABEL:]}: "'


def whole_name(text: str, span: tuple[int, int]) -> str:
    """Return the name, from where its identifier really begins: patterns start at a keyword."""
    start, end = span
    if start < 0:
        return ""
    floor = max(0, start - LONGEST_LABEL)
    while start > floor and (text[start - 1].isalnum() or text[start - 1] in "_-."):
        start -= 1
    return text[start:end]


def to_code_points(spans: Sequence[Spans], data: bytes, text: str) -> Sequence[Spans]:
    """Translate offsets into UTF-8 to offsets into the text; one pass over the text."""
    if len(data) == len(text):
        return spans
    offsets = sorted(
        {offset for s in spans for pair in (s.secret, s.name, s.whole) for offset in pair}
    )
    known = {}
    last = count = 0
    for offset in offsets:
        if offset >= 0:
            count += len(data[last:offset].decode(errors="replace"))
            last = offset
        known[offset] = count if offset >= 0 else -1
    return [
        Spans(s.rule, *((known[a], known[b]) for a, b in (s.secret, s.name, s.whole)))
        for s in spans
    ]

"""Injection and jailbreak: structural rules and a classifier, weighed by where the text stood.

The same words weigh differently by provenance. "From now on, answer in French" is what users say.
In a tool's result, a file or a web page, which nobody in the conversation wrote, it is an order
that does not belong there. And what stands in the system prompt is the operator's own.

Every finding of a segment carries the segment's score: the calibrated probability, 0 to 1, that it
holds an attack. The classifier by itself reports low or medium severity, never more: it is one weak
signal, and no default policy blocks on it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from milecastle.detect.classifier import Judgement, classifier, model
from milecastle.detect.injection_sense import mentioned, spoken_of
from milecastle.detect.injection_words import Window, lexicon
from milecastle.detect.masking import digest, excerpt
from milecastle.detect.patterns import Patterns, to_code_points, without_overlaps
from milecastle.detect.rules import Rule
from milecastle.detect.taxonomy import FROM_OUTSIDE, ids
from milecastle.model import Finding, ParseError, Provenance, Segment, Severity

RULE = "injection-classifier"

EVIDENCE: Mapping[Severity, float] = {
    Severity.INFO: 0.7,
    Severity.LOW: 1.2,
    Severity.MEDIUM: 2.0,
    Severity.HIGH: 2.5,
    Severity.CRITICAL: 3.0,
}
"""What a rule's hit counts, by the severity that it has in a user's turn."""
MORE = 0.3
"""What every further hit adds."""
RAISED: Mapping[Severity, Severity] = {
    Severity.INFO: Severity.MEDIUM,
    Severity.LOW: Severity.MEDIUM,
    Severity.MEDIUM: Severity.HIGH,
}
"""Severities in text from outside; the others stay."""
TEMPLATED = re.compile(
    r"\s{0,64}(?:(?:<s>|<bos>|<\|begin_of_text\|>)\s{0,64})?(?:\[INST\]|<\|(?:im_start|start_header_id|system|user)\|>"
    r"|<start_of_turn>|<\|start\|>|### Instruction:|Below is an instruction)"
)
"""A prompt that begins in a chat template's own form: the application wrote it that way."""
MATCHES = 20
"""Matches of one rule in one text that are reported: nothing is redacted, more say nothing new."""
FAKE_TURN = "fake-turn-"
ONLY_OUTSIDE = frozenset({"order-about-answer", "order-about-code"})
"""Rules for what every user says, and data should not."""
OUTSIDE: frozenset[Provenance] = FROM_OUTSIDE | {"tool_definition"}
OWN: frozenset[Provenance] = frozenset({"system", "reasoning"})
"""The operator's words, and the model's to itself: told, but no more than that."""
SHIFT: Mapping[Provenance, float] = {
    **dict.fromkeys(FROM_OUTSIDE, 0.2),
    "system": -4.0,
    "reasoning": -4.0,
    "assistant": -1.0,
    "tool_call": -0.5,
}
"""Added to the log-odds, by provenance."""


class Structure:
    """The rules of the category over one text and its windows."""

    def __init__(self, rules: Sequence[Rule], key: bytes) -> None:
        worded = [rule for rule in rules if rule.needs]
        self._patterns = Patterns([rule for rule in rules if not rule.needs], key)
        self._worded = Patterns(worded, key)
        self._lexicon = lexicon()
        self._needs = [self._bits(rule) for rule in worded]

    def _bits(self, rule: Rule) -> tuple[int, ...]:
        """Return the meanings that the rule needs: one of each of these has to occur."""
        try:
            return tuple(self._lexicon.bits(tuple(need.split())) for need in rule.needs)
        except KeyError as error:
            raise ParseError(
                f"{rule.file}:{rule.line}: no meaning {error} in the lexicon"
            ) from None

    def scan(self, segment: Segment, windows: Sequence[Window]) -> list[Finding]:
        """Return the findings, with the severity of a user's turn."""
        findings = self._patterns.scan(segment)
        outside = segment.provenance in OUTSIDE
        own = segment.provenance == "assistant"  # a model's stop token that leaked
        if own or (not outside and TEMPLATED.match(segment.text)):
            findings = [each for each in findings if not each.rule.startswith(FAKE_TURN)]
        data = segment.text.encode(errors="replace")
        meant = self._lexicon.meant(chain.from_iterable(window.words for window in windows))
        numbers = [
            number
            for number in self._worded.triggered(data)
            if all(meant & bits for bits in self._needs[number])
            and (outside or self._worded.rules[number].id not in ONLY_OUTSIDE)
        ]
        if numbers:
            spans = [
                span
                for number in numbers
                for span in islice(self._worded.matches(number, data), MATCHES)
            ]
            placed = to_code_points(spans, data, segment.text)
            findings += without_overlaps(self._worded.weigh(segment, segment.text, 0, placed))
        findings = fewest(each for each in findings if not spoken_of(segment.text, each))
        if outside:
            return findings
        return [
            replace(each, severity=Severity.INFO) if mentioned(segment.text, each) else each
            for each in findings
        ]


class Injection:
    """Reads a segment for the rules of the category and with the classifier."""

    def __init__(self, rules: Sequence[Rule], key: bytes) -> None:
        self._key = key
        self._structure = Structure(rules, key)
        self._classifier = classifier()

    def scan(self, segment: Segment) -> list[Finding]:
        """Return what the rules found, and what the classifier finds where no rule did."""
        found, judgement = self._read(segment)
        score = probability(judgement.logit, found, segment.provenance)
        findings = [
            replace(each, severity=severity(each.severity, segment.provenance), score=score)
            for each in found
        ]
        alone = probability(judgement.logit, (), segment.provenance)
        if alone >= threshold() and not touched(judgement, found):
            findings.append(self._judged(segment, judgement, score))
        return findings

    def score(self, segment: Segment) -> float:
        """Return the probability, 0 to 1, that the text is an attack or holds one."""
        found, judgement = self._read(segment)
        return probability(judgement.logit, found, segment.provenance)

    def _read(self, segment: Segment) -> tuple[list[Finding], Judgement]:
        windows = self._classifier.lexicon.windows(segment.text)
        return self._structure.scan(segment, windows), self._classifier.judge(windows)

    def _judged(self, segment: Segment, judgement: Judgement, score: float) -> Finding:
        text = segment.text[judgement.start : judgement.end]
        owasp, atlas = ids("injection", segment.provenance)
        outside = segment.provenance in OUTSIDE
        return Finding(
            category="injection",
            rule=RULE,
            severity=Severity.MEDIUM if outside else Severity.LOW,
            start=judgement.start,
            end=judgement.end,
            excerpt=excerpt(text),
            place=segment.place,
            provenance=segment.provenance,
            score=score,
            evidence=f"classifier, log-odds {judgement.logit:.1f}",
            digest=digest(text, self._key),
            owasp=owasp,
            atlas=atlas,
        )


def fewest(findings: Iterable[Finding]) -> list[Finding]:
    """Keep the first MATCHES of each rule."""
    seen: Counter[str] = Counter()
    kept = []
    for finding in findings:
        seen[finding.rule] += 1
        if seen[finding.rule] <= MATCHES:
            kept.append(finding)
    return kept


def touched(judgement: Judgement, findings: Iterable[Finding]) -> bool:
    """Tell whether a rule already reports what the classifier saw."""
    return any(each.start < judgement.end and judgement.start < each.end for each in findings)


def severity(given: Severity, provenance: Provenance) -> Severity:
    """Return what a rule's severity in a user's turn is at this provenance."""
    if provenance in OUTSIDE:
        return RAISED.get(given, given)
    return Severity.INFO if provenance in OWN else given


def evidence(findings: Sequence[Finding], provenance: Provenance = "user") -> float:
    """Return how much the rules' hits say together; grows with each of them."""
    if not findings:
        return 0.0
    outside = provenance in OUTSIDE
    weights = [
        EVIDENCE[RAISED.get(f.severity, f.severity) if outside else f.severity] for f in findings
    ]
    distinct = len({finding.rule for finding in findings})
    return max(weights) + MORE * min(distinct - 1, 4)


def probability(logit: float, findings: Sequence[Finding], provenance: Provenance) -> float:
    """Combine classifier and rules; monotone in both. Fitted on sources that training left out."""
    fitted = model()["calibration"]
    assert isinstance(fitted, dict)
    odds = (
        float(str(fitted["intercept"]))
        + float(str(fitted["slope"])) * logit
        + float(str(fitted["evidence"])) * evidence(findings, provenance)
        + SHIFT.get(provenance, 0.0)
    )
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))


def threshold() -> float:
    """Return the score from which on the classifier reports by itself."""
    fitted = model()["calibration"]
    assert isinstance(fitted, dict)
    return float(str(fitted["threshold"]))

"""What the words of a match mean in their sentence: an order, or talk about one.

"Ignore the previous instructions" is an order. "How do I override the default settings?", "he told
us to ignore the previous assignment" and "the hidden rules of etiquette" hold the same words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from milecastle.model import Finding

CLOSING: Mapping[str, str] = dict(zip("\"'“‘«„`「『", "\"'”’»“`」』", strict=True))
BESIDE = 40
"""Characters after a match in which its quotation has to end."""
BEFORE = 80
"""Characters before a match that are looked at."""

SOMEBODY = r"(?:i|we|they|he|she|one|people|users|developers|(?:a|an|the|my|our) \w+)"
ASKED = re.compile(
    r"(?:^|[^\w])(?:"
    r"how (?:do|does|did|can|could|should|would|might|to)\b|why\b|whether\b|ways? (?:of|to)\b"
    rf"|(?:can|could|may|might|should|shall|do|did|does|must|would) {SOMEBODY}\b"
    rf"|{SOMEBODY} (?:\w+ )?(?:can|could|may|should|needs? to|wants? to|had to|have to)\b"
    r"|(?:told|asked|instructed|advised|allowed|forced) "
    rf"(?:(?:me|us|him|her|them|{SOMEBODY}) )?(?:not )?to\b"
    r"|is it (?:\w+ )?(?:ok|okay|safe|fine|possible|legal|wrong|ethical|bad|wise) to\b"
    r"|what (?:does|do|did) it mean to\b|difference between\b"
    r")[^.!?\n:;]{0,30}$",
    re.IGNORECASE,
)
"""A question about doing it, or a report that somebody did: before the match, in its sentence."""
OF_OTHERS = re.compile(
    r"\s+(?:(?:is |are |was |were )?used (?:for|in|by|when|to)\b"
    r"|(?:for|of|in) (?:(?:an?|my|our|his|her|their) |\w+ing\b)"
    r"|(?:of|in|for) \w+ (?:in|and|or|of|for)\b"
    r"|(?:that )?(?:the|my|our|his|her) \w+ (?:gave|sent|wrote|left|told)\b)",
    re.IGNORECASE,
)
"""What stands after rules or instructions that are somebody else's."""
OF_A_WORLD = re.compile(
    r"\s+(?:for|in|of|about) (?!this|these|that|you|any|all|what|how|place|mind|effect"
    r"|the (?:answer|response|chat|conversation|output|next|following))\w",
    re.IGNORECASE,
)
"""What stands after rules that a story's world lacks, and not the assistant."""
TECHNICAL = re.compile(r"(?:settings|configuration|filters|assignments?)$", re.IGNORECASE)
THE_MODELS = re.compile(
    r"\b(?:you|your|yours|safety|ethic\w*|moral\w*|content|openai\W?s?|developer\W?s?|assistant\W?s?)\b",
    re.IGNORECASE,
)


def spoken_of(text: str, finding: Finding) -> bool:
    """Tell whether a match is no order to the model: asked about, reported, or another's rules."""
    said = text[finding.start : finding.end]
    if finding.rule.startswith("override-"):
        if TECHNICAL.search(said) and not THE_MODELS.search(said):
            return True
        return bool(ASKED.search(text[max(0, finding.start - BEFORE) : finding.start]))
    if finding.rule.startswith("prompt-extraction"):
        return bool(OF_OTHERS.match(text, finding.end)) and not THE_MODELS.search(said)
    return finding.rule == "jailbreak-hypothetical" and bool(OF_A_WORLD.match(text, finding.end))


def mentioned(text: str, finding: Finding) -> bool:
    """Tell whether the words are quoted within a longer sentence: spoken of, not said."""
    ending = CLOSING.get(text[: finding.start].rstrip()[-1:])
    if ending is None or len(text) - (finding.end - finding.start) < BESIDE // 2:
        return False
    rest = text[finding.end - 1 : finding.end + BESIDE]
    at = rest.find(ending)
    return at >= 0 and not rest[at + 1 : at + 2].isalpha()

"""Put rules to the proof: each must find its ``matches`` and leave its ``ignores`` alone."""

from __future__ import annotations

from collections.abc import Iterable

from milecastle.detect.engine import Engine
from milecastle.detect.injection import RULE as CLASSIFIER
from milecastle.detect.masking import excerpt
from milecastle.detect.rules import Rule
from milecastle.model import Problem, Segment


def tried(rule: Rule, text: str) -> Segment:
    """Return the text where the rule looks for it: in a tool's call or result, or a user's turn."""
    if rule.category == "tool":
        return Segment(text, "assistant", "tool_call", label="command", tool="bash")
    if rule.category == "injection":
        return Segment(text, "tool", "tool_result")
    return Segment(text, "user", "user")


def try_rules(rules: Iterable[Rule]) -> list[Problem]:
    """Return what the rules got wrong, each tried by itself; examples are shown masked."""
    problems = []
    for rule in rules:
        engine = Engine([rule], key=b"trial")
        for wanted, texts in ((True, rule.matches), (False, rule.ignores)):
            for text in texts:
                found = engine.scan([tried(rule, text)])
                if any(each.rule != CLASSIFIER for each in found) != wanted:
                    what = "does not find" if wanted else "finds"
                    said = f"rule {rule.id!r} {what} {excerpt(text, 12)!r}"
                    hint = f"a text under {'matches' if wanted else 'ignores'}"
                    problems.append(Problem(rule.file, rule.line, said, hint))
    return problems

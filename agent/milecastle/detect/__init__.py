"""Text segments in, Findings out. Pure: no I/O, no clock, no randomness.

``Engine.load(rule_files, key=...)`` compiles the rules, ``engine.scan(segments)`` reads text, and
``StreamScanner(engine, ...)`` reads text that arrives in pieces. ``Unfinished`` means that a budget
ran out: what was read so far is in it, and nobody may call the rest clean.
"""

from milecastle.detect.candidate import Unfinished
from milecastle.detect.engine import Detector, Engine
from milecastle.detect.rules import Rule, check
from milecastle.detect.stream import StreamScanner, Update
from milecastle.detect.trial import try_rules

__all__ = [
    "Detector",
    "Engine",
    "Rule",
    "StreamScanner",
    "Unfinished",
    "Update",
    "check",
    "try_rules",
]

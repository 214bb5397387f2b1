"""Calls in a row: what each of them may do, but not one after the other.

A call that reads keys, and a later one that sends something away, are harmless apart. ``after``
holds the calls of a conversation so far against the new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from milecastle.detect.candidate import Unfinished
from milecastle.detect.masking import digest
from milecastle.detect.taxonomy import ids
from milecastle.detect.tools.calls import ToolCalls, tell
from milecastle.detect.tools.telling import Line, Teller
from milecastle.model import Finding, Segment, Severity

OPENED = frozenset(
    {
        "credential-file",
        "system-credential-file",
        "browser-profile",
        "password-store",
        "environment-file",
        "secret-manager",
        "cloud-metadata",
    }
)
"""Rules whose findings mean that the conversation holds secrets from there on."""
LEAVES = re.compile(
    r"^(?:sends|posts|connects): |^runs: (?:git push|gh (?:gist|issue|pr) |scp |ftp )"
)
SENDER = re.compile(
    r"send|post|publish|tweet|e?mail|message|comment|upload|share|webhook|create_(?:issue|gist|pull)"
    r"|navigate|goto|browse",
    re.IGNORECASE,
)
"""Names of tools that carry their arguments to somebody."""
LONGEST_HISTORY = 2_000
"""Calls of a conversation that are looked back at."""


def after(
    history: Iterable[Segment], new: Sequence[Segment], detector: ToolCalls, key: bytes
) -> list[Finding]:
    """Return findings in new calls that send, where an earlier call has read secrets.

    The segments are in the conversation's order; those that are no tool calls are passed over.
    """
    opened = ""
    calls = [each for each in history if each.provenance == "tool_call"][-LONGEST_HISTORY:]
    for segment in calls:
        opened = opened or opening(segment, detector)
    found = []
    for segment in new:
        if segment.provenance != "tool_call":
            continue
        if opened:
            found += leaving(segment, opened, key)
        opened = opened or opening(segment, detector)
    return found


def opening(segment: Segment, detector: ToolCalls) -> str:
    """Return the rule by which a call reads secrets; empty where it reads none."""
    try:
        findings: Sequence[Finding] = detector.scan(segment)
    except Unfinished as error:
        findings = error.findings
    return next((finding.rule for finding in findings if finding.rule in OPENED), "")


def leaving(segment: Segment, opened: str, key: bytes) -> list[Finding]:
    """Return a finding for each line of a call by which something leaves the machine."""
    teller = Teller()
    with suppress(Unfinished):  # the detector itself says so
        tell(teller, segment.tool, segment.label, segment.text)
    lines = [line for line in teller.lines if LEAVES.match(line.text)]
    if not lines and SENDER.search(segment.tool) and len(segment.text) > 20:
        lines = [Line("sends: its arguments", 0, len(segment.text))]
    places = {(line.start, line.end): line for line in lines}
    return [finding(segment, line, opened, key) for line in places.values()]


def finding(segment: Segment, line: Line, opened: str, key: bytes) -> Finding:
    owasp, atlas = ids("tool", segment.provenance)
    return Finding(
        category="tool",
        rule="reads-then-sends",
        severity=Severity.MEDIUM,
        start=line.start,
        end=line.end,
        excerpt=f"…({line.end - line.start} chars)",
        place=segment.place,
        provenance=segment.provenance,
        score=0.6,
        evidence=f"sends something after a call that was {opened}",
        digest=digest(segment.text[line.start : line.end], key),
        owasp=owasp,
        atlas=(*atlas, "AML.T0086"),
    )

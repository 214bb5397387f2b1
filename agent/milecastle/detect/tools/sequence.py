"""Calls in a row: what each of them may do, but not one after the other.

A call that reads keys, and a later one that sends something away, are harmless apart. ``after``
holds the calls of a conversation so far against the new ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from milecastle.detect.candidate import Unfinished
from milecastle.detect.masking import digest
from milecastle.detect.taxonomy import ids
from milecastle.detect.tools.calls import tell
from milecastle.detect.tools.telling import Line, Teller
from milecastle.model import Finding, Segment, Severity

type Read = Callable[[Segment], Sequence[Finding]]
"""Returns the findings in a call, or raises Unfinished with those it has."""

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
    history: Iterable[Segment],
    new: Sequence[Segment],
    read: Read,
    key: bytes,
    opened: str = "",
) -> tuple[list[Finding], str]:
    """Return findings in new calls that send after one that read secrets, and what read them.

    The segments are in the conversation's order; those that are no tool calls are passed over.
    ``opened`` is what an earlier exchange returned of the same conversation.
    """
    found: list[Finding] = []
    here = ""
    for segment in new:
        if segment.provenance != "tool_call":
            continue
        if lines := leaving(segment):
            opened = opened or before(history, read)
            if opened or here:
                found += [finding(segment, line, opened or here, key) for line in lines]
        here = here or opening(segment, read)
    return found, opened or here


def before(history: Iterable[Segment], read: Read) -> str:
    """Return the rule by which a call of the history reads secrets; empty where none does."""
    calls = [each for each in history if each.provenance == "tool_call"][-LONGEST_HISTORY:]
    return next(filter(None, (opening(each, read) for each in calls)), "")


def opening(segment: Segment, read: Read) -> str:
    """Return the rule by which a call reads secrets; empty where it reads none."""
    try:
        findings = read(segment)
    except Unfinished as error:
        findings = error.findings
    return next((each.rule for each in findings if each.rule in OPENED), "")


def leaving(segment: Segment) -> list[Line]:
    """Return the lines of a call by which something leaves the machine, each place once."""
    teller = Teller()
    with suppress(Unfinished):  # the detector itself says so
        tell(teller, segment.tool, segment.label, segment.text)
    lines = [line for line in teller.lines if LEAVES.match(line.text)]
    if not lines and SENDER.search(segment.tool) and len(segment.text) > 20:
        lines = [Line("sends: its arguments", 0, len(segment.text))]
    return list({(line.start, line.end): line for line in lines}.values())


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

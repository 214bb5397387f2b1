"""A command that a call gives word by word: ``["rm", "-rf", "/"]`` (Codex, some MCP servers).

Each word is a segment of its own, for it has a place of its own; alone it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from milecastle.model import Finding, Segment

WORD = re.compile(r"(.*/)([0-9]{1,4})")
"""A place in an array: where that is, and the number."""
SHELL_KEYS = frozenset({"command", "cmd", "argv", "args", "commands", "commandline"})
MOST = 500


def commands(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Yield the runs of segments that are words of one command, in their order."""
    run: list[Segment] = []
    folder = ""
    for segment in segments:
        found = WORD.fullmatch(segment.place) if segment.provenance == "tool_call" else None
        if found and run and found[1] == folder and len(run) < MOST:
            run.append(segment)
            continue
        if len(run) > 1:
            yield run
        begins = found and found[2] == "0" and key(found[1]) in SHELL_KEYS
        run, folder = ([segment], found[1]) if begins and found else ([], "")
    if len(run) > 1:
        yield run


def whole(segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments, and after them each command that is given word by word, as one."""
    return [*segments, *map(joined, commands(segments))]


def key(folder: str) -> str:
    """Return the name of the array that a folder of places is."""
    return re.sub(r"[^a-z]", "", folder.rstrip("/").rpartition("/")[2].lower())


def joined(run: Sequence[Segment]) -> Segment:
    """Return the command as one text of shell source, at the place of its first word."""
    return replace(run[0], text=" ".join(quoted(each.text) for each in run), label="command")


def placed(findings: Iterable[Finding], run: Sequence[Segment]) -> list[Finding]:
    """Return findings in a joined command as findings in its first word."""
    end = len(run[0].text)
    return [replace(f, start=0, end=end) for f in findings if f.category == "tool"]


def quoted(word: str) -> str:
    """Return a word as shell source."""
    return "'" + word.replace("'", "'\\''") + "'"

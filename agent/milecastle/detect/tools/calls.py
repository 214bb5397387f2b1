"""Tool calls held against the rules: each string of a call is told in plain lines, and those read.

The key that a string stands under and the tool's name say what it is: a command, code, a path, a
URL, SQL. Commands that an assistant writes into its text (fenced, or a call spelt out as JSON) are
read as well, one degree less gravely: nothing says that they will be run.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from milecastle.detect.candidate import Candidate, Unfinished
from milecastle.detect.masking import digest
from milecastle.detect.patterns import Patterns
from milecastle.detect.rules import Rule
from milecastle.detect.taxonomy import ids
from milecastle.detect.tools import sql
from milecastle.detect.tools.argv import quoted
from milecastle.detect.tools.paths import host, path
from milecastle.detect.tools.telling import Line, Span, Teller, looks_like_shell
from milecastle.detect.vocabulary import vocabulary
from milecastle.model import Finding, Segment, Severity

LONGEST = 200_000
"""Characters of one argument; the rest is not read, and that is said."""
LABELS: dict[str, str] = {
    **dict.fromkeys(
        vocabulary(
            "command cmd commands script bash shell shellcommand bashcommand commandline terminal "
            "run exec execute keystrokes keys chars stdin shellscript cmdline argv args"
        ),
        "shell",
    ),
    **dict.fromkeys(
        vocabulary("code python source snippet pythoncode cell program codeblock"), "code"
    ),
    **dict.fromkeys(
        vocabulary(
            "path file filepath filename targetfile notebookpath absolutepath destination "
            "sourcepath oldpath newpath relativepath directory dir target dest src files paths"
        ),
        "path",
    ),
    **dict.fromkeys(vocabulary("url uri link href endpoint webhook webhookurl baseurl"), "url"),
    **dict.fromkeys(vocabulary("sql query statement statements sqlquery"), "sql"),
    **dict.fromkeys(vocabulary("patch diff patchtext input"), "patch"),
}
"""What the string under a key is."""
SHELL_TOOL = re.compile(
    r"bash|shell|terminal|exec|command|powershell|cmd|console|ssh|process|run|computer", re.I
)
CODE_TOOL = re.compile(r"python|jupyter|ipython|interpreter|notebook|execute_code|run_code", re.I)
POWERSHELL_TOOL = re.compile(r"powershell|pwsh|cmd\b", re.IGNORECASE)
CMDLET = re.compile(
    r"(?:^|[\s;|(])(?:[A-Z][a-z]+-[A-Z][A-Za-z]+|iex|iwr|IEX|IWR|\$env:|reg (?:add|save|delete) "
    r"|schtasks|vssadmin|certutil|bitsadmin|wevtutil|mshta|regsvr32|rundll32|bcdedit|wbadmin|netsh"
    r"|net user|del /|rd /s|format [a-zA-Z]:|cipher /w|powershell|cmd /)"
)
"""Words by which PowerShell and cmd are known."""
WRITER = re.compile(
    r"write|edit|create|replace|patch|save|append|insert|update|put|move|copy", re.I
)
DELETER = re.compile(r"delete|remove|unlink|trash", re.IGNORECASE)
READER = re.compile(r"read|view|open|cat|get|load|show|list|search|grep|glob|fetch|download", re.I)
SENDER = re.compile(r"fetch|http|request|browse|navigate|goto|open|curl|web|post|url", re.I)
EDITOR = re.compile(r"str_replace|text_editor|textEditor|edit_based", re.IGNORECASE)
CELL = re.compile(r"\s*%%(?:bash|sh|script\s+\w+)\b[^\n]*\n")
BANG = re.compile(r"^[ \t]*(?:\w+\s*=\s*)?!([^\n]+)$", re.MULTILINE)
FENCE = re.compile(
    r"^[ \t]*```[ \t]*(bash|sh|shell|zsh|console|powershell|ps1)\b[^\n]*\n(.*?)^[ \t]*```",
    re.M | re.S,
)
ACTION = re.compile(r"^Action Input:[ \t]*([^\n]+)", re.MULTILINE)
PATCHED = re.compile(r"^(?:\*\*\* (Add|Update|Delete) File: |\+\+\+ (?:b/)?)(\S+)", re.MULTILINE)
CALL = re.compile(r'"(?:arguments|parameters|input|tool_input|command|cmd|args)"\s*:')
LESSER = {
    Severity.CRITICAL: Severity.HIGH,
    Severity.HIGH: Severity.MEDIUM,
    Severity.MEDIUM: Severity.LOW,
}


class ToolCalls:
    """A detector over segments that are part of a tool call, or that spell one out."""

    def __init__(self, rules: Sequence[Rule], key: bytes) -> None:
        self._rules = [rule for rule in rules if rule.category == "tool"]
        self._patterns = Patterns(self._rules, key) if self._rules else None
        self._key = key

    def scan(self, segment: Segment) -> list[Finding]:
        """Return the findings; Unfinished where the call is longer or stranger than the bounds."""
        if self._patterns is None or segment.provenance not in {"tool_call", "assistant"}:
            return []
        teller = Teller()
        why = "an argument that is too long" if len(segment.text) > LONGEST else ""
        called = segment.provenance == "tool_call"
        try:
            text = segment.text[:LONGEST]
            if called:
                tell(teller, segment.tool, segment.label, text)
            else:
                tell_text(teller, text)
        except Unfinished as error:
            why = error.why
        findings = self._judged(segment, teller.lines)
        if not called:
            findings = [replace(f, severity=LESSER.get(f.severity, f.severity)) for f in findings]
        if why and called:
            raise Unfinished(why, findings)
        return findings

    def _judged(self, segment: Segment, lines: Sequence[Line]) -> list[Finding]:
        if not lines:
            return []
        assert self._patterns is not None
        text = "\n".join(line.text for line in lines)
        data = text.encode(errors="replace")
        found: dict[tuple[str, int, int], Finding] = {}
        starts = []
        at = 0
        for line in lines:
            starts.append(at)
            at += len(line.text.encode(errors="replace")) + 1
        for number in self._patterns.triggered(data):
            rule = self._rules[number]
            for match in self._patterns.matches(number, data):
                line = lines[place_of(match.secret[0], starts)]
                matched = data[slice(*match.secret)].decode(errors="replace")
                verdict = judged(rule, matched, line)
                if verdict is None:
                    continue
                finding = self._finding(segment, rule, line, *verdict)
                found.setdefault((rule.id, finding.start, finding.end), finding)
        return gravest(found.values())

    def _finding(
        self, segment: Segment, rule: Rule, line: Line, score: float, words: str
    ) -> Finding:
        owasp, atlas = ids("tool", segment.provenance)
        verb, _, rest = line.text.partition(": ")
        name = rest.split(" ", 1)[0] if verb == "runs" else verb
        through = f" through {', '.join(line.through)}" if line.through else ""
        return Finding(
            category="tool",
            rule=rule.id,
            severity=rule.severity,
            start=line.start,
            end=line.end,
            excerpt=f"{name[:24]}…({line.end - line.start} chars)",
            place=segment.place,
            provenance=segment.provenance,
            score=score,
            evidence=(words or rule.title.lower()) + through,
            digest=digest(segment.text[line.start : line.end], self._key),
            owasp=owasp,
            atlas=atlas,
        )


def judged(rule: Rule, matched: str, line: Line) -> tuple[float, str] | None:
    """Return (score, words) of a match that passes the rule's checks."""
    score = 1.0
    said = []
    for check, argument in rule.checks:
        evidence = check(Candidate(matched, context=line.text), argument)
        if evidence is None:
            return None
        score = min(score, evidence.score)
        said.append(evidence.words)
    return score, ", ".join(filter(None, said))


def place_of(offset: int, starts: Sequence[int]) -> int:
    return bisect_right(starts, offset) - 1


def gravest(findings: Iterable[Finding]) -> list[Finding]:
    """Keep one finding for each command: the gravest, the others named in its evidence."""
    kept: dict[tuple[int, int], Finding] = {}
    for finding in sorted(findings, key=lambda f: -f.severity.rank):
        first = kept.setdefault((finding.start, finding.end), finding)
        if first is not finding:
            also = f"{first.evidence}; {finding.rule}"
            kept[finding.start, finding.end] = replace(first, evidence=also[:200])
    return sorted(kept.values(), key=lambda f: (f.start, f.end))


def tell(teller: Teller, tool: str, label: str, text: str) -> None:
    """Tell one argument of a call by the key that it stands under and the tool's name."""
    span = (0, len(text))
    kind = LABELS.get(re.sub(r"[^a-z]", "", label.lower()), "")
    if kind == "patch" or not label or (not kind and SHELL_TOOL.search(tool)):
        kind = unlabelled(tool, text, kind)
    if kind == "shell" and (POWERSHELL_TOOL.search(tool) or CMDLET.search(text)):
        teller.code("powershell", text, span)
    if kind == "shell":
        teller.script(text)
    elif kind == "code":
        text = tell_magic(teller, text, span)
        teller.code("python", text, span)
        if looks_like_shell(text):
            teller.script(text)
    elif kind == "sql" and sql.is_sql(text):
        teller.sql(text, span)
    elif kind == "path" and len(text) < 1_000:
        teller.tell(path_verb(tool, label), path(text), span)
        if EDITOR.search(tool):  # its command stands in another argument; it may be ``view``
            teller.tell("reads", path(text), span)
    elif kind == "url":
        tell_url(teller, tool, text, span)
    elif kind == "patch":
        for found in PATCHED.finditer(text):
            verb = "deletes" if found.group(1) == "Delete" else "writes"
            teller.tell(verb, path(found.group(2)), found.span())
    elif kind == "json":
        tell_json(teller, text, span)


def tell_magic(teller: Teller, text: str, span: Span) -> str:
    """Tell the shell commands of a notebook's cell (IPython); return the cell without them."""
    cell = CELL.match(text)
    if cell:
        teller.script(text[cell.end() :], span)
        return ""
    for found in BANG.finditer(text):
        teller.script(found.group(1), span)
    return BANG.sub("pass", text)


def unlabelled(tool: str, text: str, kind: str) -> str:
    """Return what a string is whose key says nothing."""
    if kind == "patch" and PATCHED.search(text):
        return "patch"
    if text[:1] in "{[" and CALL.search(text):
        return "json"
    if CODE_TOOL.search(tool):
        return "code"
    if sql.is_sql(text):
        return "sql"
    if looks_like_shell(text) or (SHELL_TOOL.search(tool) and "\n" not in text[:200] and kind):
        return "shell"
    return kind


def path_verb(tool: str, label: str) -> str:
    """Return what a tool of this name does to a path under this key."""
    if re.search(r"dest|target|new", label, re.I) and not READER.search(tool):
        return "writes"
    for verb, names in (("deletes", DELETER), ("writes", WRITER), ("reads", READER)):
        if names.search(tool):
            return verb
    return "touches"


def tell_url(teller: Teller, tool: str, text: str, span: Span) -> None:
    if text.startswith("file://"):
        teller.tell("reads", path(text), span)
        return
    if len(text) < 4_000 and host(text):
        teller.tell("visits" if SENDER.search(tool) or not tool else "names", text, span)


def tell_text(teller: Teller, text: str) -> None:
    """Tell the commands that an assistant's own text spells out."""
    stripped = text.strip()
    if stripped[:1] == "{" and CALL.search(stripped):
        tell_json(teller, stripped, (0, len(text)))
        return
    for found in FENCE.finditer(text):
        span = found.span(2)
        source = re.sub(r"(?m)^\$ ", "", found.group(2))
        if found.group(1) in {"powershell", "ps1"}:
            teller.code("powershell", source, span)
        else:
            teller.script(source, span)
    for found in ACTION.finditer(text):
        source = found.group(1).strip()
        if source.startswith("{"):
            tell_json(teller, source, found.span(1))
        elif looks_like_shell(source):
            teller.script(source, found.span(1))
    if len(stripped) < 2_000 and CMDLET.match(stripped):
        teller.code("powershell", stripped, (0, len(text)))
    lines = stripped.splitlines()
    if 0 < len(lines) <= 12 and "```" not in stripped and all(map(like_command, lines)):
        teller.script(stripped, (0, len(text)))


def like_command(line: str) -> bool:
    """Tell a line that can be a part of shell source, and is none of prose."""
    return (
        not line.strip()
        or looks_like_shell(line)
        or bool(
            re.match(
                r"^\s*(?:[|&)}]|done|fi|esac|then|else|do\b|for |if |while |#|&&|\|\||--?\w)", line
            )
        )
    )


def tell_json(teller: Teller, text: str, span: Span) -> None:
    """Tell a call that is spelt out as JSON: every string in it under its key."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for tool, label, leaf in leaves(value, "", "", 0):
        inner = Teller()
        tell(inner, tool, label, leaf)
        for line in inner.lines:
            verb, _, what = line.text.partition(": ")
            teller.tell(verb, what, span, line.through)


def leaves(value: object, tool: str, label: str, depth: int) -> Iterator[tuple[str, str, str]]:
    if depth > 12:
        return
    if isinstance(value, dict):
        named = value.get("name") or value.get("tool") or value.get("tool_name") or tool
        tool = named if isinstance(named, str) else tool
        for key, inner in value.items():
            yield from leaves(inner, tool, str(key), depth + 1)
    elif isinstance(value, list):
        if label in {"command", "cmd", "argv", "args"} and all(isinstance(v, str) for v in value):
            yield tool, "command", " ".join(map(quoted, value))
            return
        for inner in value:
            yield from leaves(inner, tool, label, depth + 1)
    elif isinstance(value, str):
        if value[:1] == "{" and depth < 4:
            try:
                yield from leaves(json.loads(value), tool, label, depth + 1)
                return
            except (ValueError, RecursionError):
                pass
        yield tool, label, value

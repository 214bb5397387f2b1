"""Tools that a server offers, held against what it offered before.

A definition that changes after somebody agreed to it (a rug pull), and a name that another tool
bears already, or bears but for letters that look alike, are how a server takes a call over.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping

from milecastle.detect.confusables import FOLD
from milecastle.model import Finding, Severity, ToolDefinition

MOST = 2_000
"""Definitions of one request that are looked at."""


def seal(tool: ToolDefinition, key: bytes) -> str:
    """Return a keyed digest of all that a model reads of a definition."""
    text = "\0".join((tool.name, tool.type, tool.description, tool.parameters))
    data = hashlib.blake2b(text.encode(errors="replace"), key=key[:64], digest_size=16)
    return data.hexdigest()


def seal_all(tools: Iterable[ToolDefinition], key: bytes) -> str:
    """Return one digest of many definitions, in their order."""
    data = hashlib.blake2b(key=key[:64], digest_size=16)
    for tool in tools:
        for text in (tool.name, tool.type, tool.description, tool.parameters):
            data.update(text.encode(errors="replace") + b"\0")
    return data.hexdigest()


ALIKE = str.maketrans({**FOLD, "1": "l", "0": "o", "|": "l", "I": "l"})


def look(name: str) -> str:
    """Return a name as it looks: compatible forms, letters that look alike, no joints."""
    return bare(unicodedata.normalize("NFKC", name).translate(ALIKE))


def bare(name: str) -> str:
    """Return a name without case and joints: ``readFile`` and ``read_file`` are no disguise."""
    return "".join(char for char in name.casefold() if char.isalnum())


def compare(
    tools: Iterable[ToolDefinition], known: Mapping[str, str], key: bytes
) -> tuple[list[Finding], dict[str, str]]:
    """Return the findings, and the seals (name -> digest) to be known from now on.

    ``known`` holds what the same server offered to the same client before; a changed definition
    stays unknown until somebody agrees to it again, so that it is told each time.
    """
    found: list[Finding] = []
    seals = dict(known)
    looks: dict[str, str] = {look(name): name for name in known}
    offered: dict[str, str] = {}
    for number, tool in enumerate(tools):
        if number >= MOST:
            break
        sealed = seal(tool, key)
        if known.get(tool.name, sealed) != sealed:
            found.append(finding(tool, "tool-definition-changed", Severity.MEDIUM, sealed))
        if offered.get(tool.name, sealed) != sealed:
            found.append(finding(tool, "tool-name-twice", Severity.MEDIUM, sealed))
        alike = looks.setdefault(look(tool.name), tool.name)
        if bare(alike) != bare(tool.name):
            found.append(finding(tool, "tool-name-alike", Severity.HIGH, sealed))
        offered.setdefault(tool.name, sealed)
        seals.setdefault(tool.name, sealed)
    return found, seals


SAID = {
    "tool-definition-changed": "not the definition that this tool had before",
    "tool-name-twice": "two tools of this name, with different definitions",
    "tool-name-alike": "a name that looks like another tool's",
}


def finding(tool: ToolDefinition, rule: str, severity: Severity, sealed: str) -> Finding:
    return Finding(
        category="tool",
        rule=rule,
        severity=severity,
        start=0,
        end=len(tool.description),
        excerpt=f"…({len(tool.description)} chars)",
        place=tool.place,
        provenance="tool_definition",
        evidence=SAID[rule],
        digest=sealed,
        owasp=("LLM03", "ASI04"),
        atlas=("AML.T0110", "AML.T0109"),
    )

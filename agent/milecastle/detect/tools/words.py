"""What a word of shell source becomes: quotes, escapes, variables and substitutions resolved.

Only what the text itself says is resolved; nothing is run. What is not known stays as written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tree_sitter import Node

from milecastle.detect.candidate import Unfinished

DEPTH = 80
"""How deep substitutions, strings and blocks may be nested."""
SPLIT = "\x1f"
"""Stands where unquoted white space ends one word and begins the next."""
OPEN, CLOSE = "⟦", "⟧"
"""Stand around the text of a substitution whose result is not known."""
LONGEST = 8_192
VARIABLES = 200
KNOWN = {"HOME": "~", "PWD": ".", "IFS": SPLIT, "TMPDIR": "/tmp", "OLDPWD": "."}  # noqa: S108
ESCAPED = re.compile(r"\\(\n|.)", re.DOTALL)
ESCAPED_IN_STRING = re.compile(r'\\(["\\$`\n])')
ANSI = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|[0-7]{1,3}|.)", re.DOTALL)
LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b"}
BLANK = re.compile(r"[ \t\n]+")
BRACES = re.compile(r"^\{([^{}]{1,400},[^{}]{0,400})\}$")
OPERATOR = re.compile(r":?[-+=?]|[#%/^,]|\Z")


@dataclass(slots=True)
class Scope:
    """The source, the variables that it has set so far, and who reads substitutions."""

    text: str
    """What the nodes stand in; the parser saw one ASCII character for each of its characters."""
    substitute: Callable[[Node, int], str | None]
    """Takes a substitution; returns the text that it surely yields, or None."""
    variables: dict[str, str] = field(default_factory=dict)

    def source(self, node: Node) -> str:
        """Return a node's text as it was written."""
        return self.text[node.start_byte : node.end_byte]

    def set(self, name: str, value: str) -> None:
        if len(self.variables) < VARIABLES:
            self.variables[name] = value[:LONGEST]

    def get(self, name: str) -> str:
        known = self.variables.get(name)
        return known if known is not None else KNOWN.get(name, f"${name}")


def words(node: Node, scope: Scope, depth: int = 0) -> list[str]:
    """Return the words that this word of the source becomes; most often one."""
    text = value(node, scope, depth)
    quoted = node.type in {"string", "raw_string", "ansi_c_string"}
    if not quoted and (braces := BRACES.match(text)):
        return [part for part in braces.group(1).split(",") if part]
    parts = text.split(SPLIT)
    return [part for part in parts if part] if len(parts) > 1 else parts


def value(node: Node, scope: Scope, depth: int = 0, *, quoted: bool = False) -> str:
    """Return the text of one node."""
    if depth > DEPTH:
        raise Unfinished(f"shell source nested more than {DEPTH} levels deep")
    read = READERS.get(node.type)
    found = read(node, scope, depth + 1, quoted) if read else scope.source(node)
    return found[:LONGEST]


def plain(node: Node, scope: Scope, depth: int, quoted: bool) -> str:
    return ESCAPED.sub(lambda found: found.group(1).strip("\n"), scope.source(node))


def string(node: Node, scope: Scope, depth: int, quoted: bool) -> str:
    """Read what stands between double quotes; white space between expansions is no node."""
    parts = []
    at = node.start_byte + 1
    for child in node.named_children:
        parts.append(in_string(scope.text[at : child.start_byte]))
        if child.type == "string_content":
            parts.append(in_string(scope.source(child)))
        else:
            parts.append(value(child, scope, depth, quoted=True))
        at = child.end_byte
    parts.append(in_string(scope.text[at : node.end_byte - 1]))
    return "".join(parts)


def in_string(text: str) -> str:
    return ESCAPED_IN_STRING.sub(lambda found: found.group(1).strip("\n"), text)


def raw(node: Node, scope: Scope, depth: int, quoted: bool) -> str:
    return scope.source(node)[1:-1]


def ansi(node: Node, scope: Scope, depth: int, quoted: bool) -> str:
    """Read $'...': escapes as in C."""

    def decoded(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "xu" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code[0] in "01234567":
            return chr(int(code, 8))
        return LETTERS.get(code, code)

    return ANSI.sub(decoded, scope.source(node)[2:-1])


def joined(node: Node, scope: Scope, depth: int, quoted: bool) -> str:
    return "".join(value(child, scope, depth, quoted=quoted) for child in node.children)


def variable(node: Node, scope: Scope, depth: int, quoted: bool) -> str:
    """Read $name and ${name}, with the default that stands in it where nothing is known."""
    names = [child for child in node.named_children if child.type.endswith("variable_name")]
    if not names:
        return scope.source(node)
    name = scope.source(names[0])
    found = scope.get(name)
    if node.type == "expansion" and found == f"${name}":
        rest = scope.source(node)[2 + len(name) : -1]
        operator = OPERATOR.match(rest)
        if operator and operator.group() in {":-", "-", ":=", "="}:
            return rest[operator.end() :]
    return found if quoted else BLANK.sub(SPLIT, found)


def substitution(node: Node, scope: Scope, depth: int, quoted: bool) -> str:
    known = scope.substitute(node, depth)
    if known is not None:
        return known if quoted else BLANK.sub(SPLIT, known.strip())
    return OPEN + scope.source(node).strip("$()<>` \n") + CLOSE


READERS: dict[str, Callable[[Node, Scope, int, bool], str]] = {
    "word": plain,
    "string": string,
    "raw_string": raw,
    "ansi_c_string": ansi,
    "translated_string": joined,
    "concatenation": joined,
    "command_name": joined,
    "simple_expansion": variable,
    "expansion": variable,
    "command_substitution": substitution,
    "process_substitution": substitution,
}

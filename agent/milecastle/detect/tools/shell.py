"""Shell source as pipelines of commands, whatever it is wrapped in.

tree-sitter-bash parses; this module flattens the tree. Blocks, loops and functions are read in the
order in which they stand; which branch would be taken does not matter here.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from milecastle.detect.candidate import Unfinished

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

CHUNK = 6_000
"""Characters that are parsed at once: the parser takes quadratic time for some hostile input."""
CHUNKS = 16
BROKEN = 3
"""Chunks of a script that the parser may fail to make sense of; more is no shell source."""
PIPELINES = 3_000
FOREIGN = re.compile(r"[^\x01-\x7f]")
"""The parser's scanner looks code points up in tables of the C library and reads beyond their end:
it sees ASCII alone, a letter for whatever else there is. NUL would end its input."""
FIELD_SEPARATOR = re.compile(r"\$\{IFS[^}\n]{0,8}\}|\$IFS(?:\$[0-9@*])?")
BRACES = re.compile(r"(?:^|(?<=[;&|(\n]))[ \t]*\{[^{}\s]+,[^{}\s]*\}", re.MULTILINE)
BLANKS = str.maketrans("{,}", "   ")


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command, its words resolved."""

    words: tuple[str, ...]
    reads: tuple[str, ...] = ()
    """Files that ``<`` gives it."""
    writes: tuple[str, ...] = ()
    """Files that ``>`` and ``>>`` give it; /dev/null is left out."""
    given: str | None = None
    """A here-document's or here-string's text."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands joined by pipes, and where they stand in the source."""

    commands: tuple[Command, ...]
    start: int
    end: int
    inside: str = ""
    """The kind of substitution that it stands in: ``$(`` or ``<(``; empty at the top."""


@lru_cache(maxsize=1)
def parser() -> Parser:
    """Return the parser; imported here because most segments hold no shell source."""
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def parse(text: str) -> Iterator[Pipeline]:
    """Yield the pipelines of a script, inner ones before those that they stand in.

    Raise Unfinished where the script is longer or stranger than the bounds allow.
    """
    variables: dict[str, str] = {}
    broken = found = 0
    for count, (offset, chunk) in enumerate(chunks(opened(text))):
        if count >= CHUNKS or broken >= BROKEN or found > PIPELINES:
            raise Unfinished("a script that is too long or hardly one")
        tree = parser().parse(FOREIGN.sub("x", chunk).encode("ascii"))
        broken += tree.root_node.has_error and len(chunk) > CHUNK // 2
        reader = Reader(chunk, variables)
        reader.statements(tree.root_node, 0)
        found += len(reader.found)
        for each in reader.found:
            yield replace(each, start=each.start + offset, end=each.end + offset)


def opened(text: str) -> str:
    """Write ``$IFS`` and ``{curl,-s}`` with the blanks that they mean, no character moved."""
    text = FIELD_SEPARATOR.sub(lambda found: " " * len(found.group()), text)
    return BRACES.sub(lambda found: found.group().translate(BLANKS), text)


def chunks(text: str) -> Iterator[tuple[int, str]]:
    """Cut at line ends, so that no piece is longer than CHUNK."""
    start = 0
    while start < len(text):
        end = start + CHUNK
        if end < len(text):
            cut = text.rfind("\n", start, end)
            end = cut + 1 if cut > start else end
        yield start, text[start:end]
        start = end


class Reader:
    """Reads one tree; ``found`` grows in the order of execution."""

    def __init__(self, text: str, variables: dict[str, str]) -> None:
        from milecastle.detect.tools import words

        self._words = words
        self._scope = words.Scope(text, self._substitute, variables)
        self.found: list[Pipeline] = []

    def statements(self, node: Node, depth: int) -> list[Pipeline]:
        """Read a node and all below it; return the pipelines that it consists of."""
        if depth > self._words.DEPTH:
            raise Unfinished("shell source nested too deeply")
        read = {
            "command": self._command,
            "pipeline": self._pipeline,
            "redirected_statement": self._redirected,
            "variable_assignment": self._assignment,
            "for_statement": self._loop,
            "declaration_command": self._declaration,
            "unset_command": self._declaration,
            "comment": nothing,
        }.get(node.type)
        if read:
            return read(node, depth + 1)
        found: list[Pipeline] = []
        for child in node.named_children:
            if child.type in self._words.READERS:
                self._words.value(child, self._scope, depth + 1)
            else:
                found += self.statements(child, depth + 1)
        return found

    def _command(self, node: Node, depth: int) -> list[Pipeline]:
        taken: list[str] = []
        extra = Command(())
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._assignment(child, depth)
            elif child.type.endswith("_redirect"):
                extra = self._redirect(child, extra, depth)[0]
            else:
                taken += self._words.words(child, self._scope, depth)
        return self._add(replace(extra, words=tuple(taken)), node)

    def _add(self, command: Command, node: Node) -> list[Pipeline]:
        pipeline = Pipeline((command,), node.start_byte, node.end_byte)
        self.found.append(pipeline)
        return [pipeline]

    def _pipeline(self, node: Node, depth: int) -> list[Pipeline]:
        before = len(self.found)
        stages: list[Command] = []
        for child in node.named_children:
            for part in self.statements(child, depth):
                stages += part.commands
                if part in self.found[before:]:
                    self.found.remove(part)
        pipeline = Pipeline(tuple(stages), node.start_byte, node.end_byte)
        self.found.append(pipeline)
        return [pipeline]

    def _redirected(self, node: Node, depth: int) -> list[Pipeline]:
        """Give the redirections to the last command of what they stand behind."""
        body = [c for c in node.named_children if not c.type.endswith("_redirect")]
        parts = [pipeline for child in body for pipeline in self.statements(child, depth)]
        last = parts[-1].commands[-1] if parts and parts[-1].commands else Command(())
        more: list[Command] = []
        for child in node.named_children:
            if child.type.endswith("_redirect"):
                last, piped = self._redirect(child, last, depth)
                more += piped
        earlier = parts[-1].commands[:-1] if parts else ()
        start = parts[-1].start if parts else node.start_byte
        pipeline = Pipeline((*earlier, last, *more), start, node.end_byte)
        if parts and parts[-1] in self.found:
            self.found.remove(parts[-1])
        self.found.append(pipeline)
        return [*parts[:-1], pipeline]

    def _redirect(self, node: Node, command: Command, depth: int) -> tuple[Command, list[Command]]:
        """Return the command with this redirection, and what a here-document is piped into."""
        if node.type == "herestring_redirect":
            texts = [self._words.value(c, self._scope, depth) for c in node.named_children]
            return replace(command, given="".join(texts)), []
        if node.type == "heredoc_redirect":
            piped: list[Command] = []
            for child in node.named_children:
                if child.type == "heredoc_body":
                    command = replace(command, given=self._scope.source(child))
                elif child.type.endswith("_redirect"):
                    command = self._redirect(child, command, depth)[0]
                elif child.type not in {"heredoc_start", "heredoc_end", "file_descriptor"}:
                    for part in self.statements(child, depth):
                        piped += part.commands
                        self.found.remove(part)
            return command, piped
        named = [c for c in node.named_children if c.type not in {"file_descriptor", "ERROR"}]
        targets = [w for child in named[:1] for w in self._words.words(child, self._scope, depth)]
        sign = self._scope.source(node).lstrip("0123456789&")
        if sign.startswith("<") and not sign.startswith("<>"):
            return replace(command, reads=(*command.reads, *targets)), []
        # `>&` and `<>` to a path write as well; to a number they join two descriptors
        written = [t for t in targets if not t.isdecimal() and t not in {"/dev/null", "-"}]
        return replace(command, writes=(*command.writes, *written)), []

    def _assignment(self, node: Node, depth: int) -> list[Pipeline]:
        children = node.named_children
        if len(children) > 1:
            name = self._scope.source(children[0])
            self._scope.set(name, self._words.value(children[1], self._scope, depth, quoted=True))
        return []

    def _declaration(self, node: Node, depth: int) -> list[Pipeline]:
        """Read ``export A=b`` and ``unset A``: assignments that are commands as well."""
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._assignment(child, depth)
        return self._add(Command(tuple(self._scope.source(node).split()[:20])), node)

    def _loop(self, node: Node, depth: int) -> list[Pipeline]:
        """Let the variable be all of its values at once."""
        name = ""
        values: list[str] = []
        found: list[Pipeline] = []
        for child in node.named_children:
            if child.type == "variable_name" and not name:
                name = self._scope.source(child)
            elif child.type == "do_group":
                self._scope.set(name, " ".join(values))
                found += self.statements(child, depth)
            else:
                values += self._words.words(child, self._scope, depth)
        return found

    def _substitute(self, node: Node, depth: int) -> str | None:
        before = len(self.found)
        parts = []
        for child in node.named_children:
            if not child.type.endswith("_redirect"):
                parts += self.statements(child, depth)
            else:
                parts += self._add(self._redirect(child, Command(("cat",)), depth)[0], node)
        kind = "<(" if node.type == "process_substitution" else "$("
        self.found[before:] = [
            p if p.inside else replace(p, inside=kind) for p in self.found[before:]
        ]
        return evaluate(parts[0].commands) if len(parts) == 1 and kind == "$(" else None


def nothing(node: Node, depth: int) -> list[Pipeline]:
    return []


ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|0?[0-7]{1,3}|[ntr\\])")
LETTERS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def unescaped(text: str) -> str:
    """Return what printf and ``echo -e`` make of backslashes."""

    def decoded(found: re.Match[str]) -> str:
        code = found.group(1)
        if code in LETTERS:
            return LETTERS[code]
        return chr(int(code[1:], 16) if code[0] == "x" else int(code, 8))

    return ESCAPE.sub(decoded, text)


LOOKUPS = frozenset(
    {("which", "sh"), ("which", "bash"), ("which", "python3"), ("command", "-v"), ("type", "-p")}
)


def evaluate(commands: Sequence[Command]) -> str | None:
    """Return what a pipeline prints where its text alone says so: ``echo … | base64 -d``."""
    text: str | None = None
    for place, command in enumerate(commands):
        if not command.words:
            return None
        name, arguments = command.words[0].rpartition("/")[2], command.words[1:]
        if place == 0 and name in {"echo", "printf"}:
            shown = [word for word in arguments if word not in {"-n", "-e", "-en", "-ne", "%s"}]
            text = " ".join(shown)
            if name == "printf" or any(word in {"-e", "-ne", "-en"} for word in arguments):
                text = unescaped(text)
        elif place == 0 and (name, *arguments[:1]) in LOOKUPS and arguments:
            text = arguments[-1]
        elif place == 0 and name == "cat" and command.given is not None:
            text = command.given
        else:
            given = text if place else command.given
            text = filtered(name, arguments, given) if given is not None else None
        if text is None or "⟦" in text:
            return None
    return text


def filtered(name: str, arguments: Sequence[str], text: str) -> str | None:
    """Return what a decoding filter makes of a text."""
    flags = set(arguments)
    try:
        if name in {"base64", "gbase64"} and flags & {"-d", "-D", "--decode", "-di", "-id"}:
            padded = "".join(text.split())
            return base64.b64decode(padded + "=" * (-len(padded) % 4)).decode(errors="replace")
        if name == "openssl" and {"base64", "-d"} <= flags:
            return base64.b64decode(text).decode(errors="replace")
        if name == "base32" and flags & {"-d", "--decode"}:
            return base64.b32decode(text.strip()).decode(errors="replace")
        if name == "xxd" and flags & {"-r", "-rp"}:
            return bytes.fromhex(text).decode(errors="replace")
    except (binascii.Error, ValueError):
        return None
    if name == "rev":
        return "\n".join(line[::-1] for line in text.split("\n"))
    if name == "tr" and len(arguments) == 2 and arguments[1].lower().startswith("n-z"):
        return codecs.decode(text, "rot13")
    return text if name in {"cat", "tee"} else None

"""YAML text -> a tree that remembers lines and columns. Decides nothing about what it means.

Only the plain part of YAML is read: mappings with text keys, sequences and scalars. Anchors and
aliases are refused (with them a kilobyte can stand for a gigabyte), and so are tags, several
documents in one file, and keys written twice, of which other loaders keep one and say nothing.
Scalars follow the core schema of YAML 1.2, so ``no``, ``on`` and ``12:30`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import yaml

from milecastle.model import Json, Problem

LARGEST = 1 << 20
"""Bytes of UTF-8 in one document."""
DEEPEST = 24
"""Collections inside each other. The limit also keeps libyaml out of its quadratic case."""
MOST_NODES = 200_000
MOST_PROBLEMS = 100
"""Problems of one document that are worth a reader's time."""


@dataclass(frozen=True, slots=True)
class Scalar:
    value: str | int | float | bool | None
    text: str
    """As it was written, without quotes."""
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: dict[str, Node]
    keys: dict[str, Scalar]
    """The keys themselves, for their places."""
    line: int
    column: int


type Node = Scalar | Sequence | Mapping


def plain(node: Node) -> Json:
    """Return the node as ordinary Python values."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(value) for key, value in node.entries.items()}


def compose(document: str, file: str) -> tuple[Node | None, list[Problem]]:
    """Return the document's tree and what is wrong with it; None where there is no tree.

    An empty document is a tree: a Scalar of None. Never raises, whatever the text.
    """
    composer = _Composer(file)
    try:
        size = len(document.encode())
    except UnicodeEncodeError:
        return None, [Problem(file, 0, "not text: a lone surrogate cannot be written as UTF-8")]
    if size > LARGEST:
        return None, [Problem(file, 0, f"{size} bytes, the limit is {LARGEST}")]
    try:
        return composer.document(yaml.parse(document, Loader=yaml.CSafeLoader)), composer.problems
    except _Stop:
        return None, composer.problems
    except yaml.YAMLError as error:
        return None, [*composer.problems, _syntax(error, file)]


def _syntax(error: yaml.YAMLError, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    hint = getattr(error, "context", None) or ""
    if "block scalar" in hint:
        hint = 'a text that begins with > or | needs quotes: ">= high"'
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return Problem(file, line, f"not YAML: {what}", hint, column)


class _Stop(Exception):  # noqa: N818 - it ends the walk, the problem is already noted
    """Nothing after this place is worth reading."""


class _Composer:
    """Builds the tree from libyaml's events, one document, bounded in depth and nodes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.nodes = 0

    def document(self, events: Iterator[yaml.Event]) -> Node:
        root: Node | None = None
        for event in events:
            match event:
                case yaml.DocumentStartEvent() if root is not None:
                    self.stop(event, "a second document", "one file holds one document")
                case yaml.StreamStartEvent() | yaml.StreamEndEvent():
                    pass
                case yaml.DocumentStartEvent() | yaml.DocumentEndEvent():
                    pass
                case _:
                    root = self.node(event, events, 0)
        return root if root is not None else Scalar(None, "", 1, 1)

    def node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        line, column = _place(event)
        self.nodes += 1
        if self.nodes > MOST_NODES or depth > DEEPEST:
            self.stop(event, f"over {MOST_NODES} values or {DEEPEST} levels deep")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self.stop(event, "anchors (&) and aliases (*) are not read", "write the value out")
        if tag := getattr(event, "tag", None):
            self.stop(event, f"tags are not read: {tag[:60]}", "leave the tag out")
        match event:
            case yaml.ScalarEvent():
                quoted = event.style in ("'", '"', "|", ">")
                value = event.value if quoted else resolve(event.value)
                return Scalar(value, event.value, line, column)
            case yaml.SequenceStartEvent():
                items = []
                while not isinstance(inner := next(events), yaml.SequenceEndEvent):
                    items.append(self.node(inner, events, depth + 1))
                return Sequence(tuple(items), line, column)
            case _:
                return self.mapping(line, column, events, depth)

    def mapping(self, line: int, column: int, events: Iterator[yaml.Event], depth: int) -> Mapping:
        entries: dict[str, Node] = {}
        keys: dict[str, Scalar] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if not isinstance(key, Scalar):
                self.note(event, "a key must be text")
            elif key.text in entries:
                first = keys[key.text].line
                self.note(event, f"{key.text[:60]!r} stands here twice", f"first on line {first}")
            else:
                entries[key.text] = value
                keys[key.text] = key
        return Mapping(entries, keys, line, column)

    def note(self, event: yaml.Event, what: str, hint: str = "") -> None:
        line, column = _place(event)
        self.problems.append(Problem(self.file, line, what, hint, column))
        if len(self.problems) >= MOST_PROBLEMS:
            raise _Stop

    def stop(self, event: yaml.Event, what: str, hint: str = "") -> None:
        self.note(event, what, hint)
        raise _Stop


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


_NUMBER = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?"
_CORE: tuple[tuple[re.Pattern[str], Callable[[str], int | float | bool | None]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?[0-9]{1,18}"), int),
    (re.compile(r"0o[0-7]{1,20}"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]{1,15}"), lambda text: int(text, 16)),
    (re.compile(_NUMBER), float),
)
"""YAML 1.2.2, 10.3.2 'Tag Resolution', without infinity and not-a-number; first match counts."""


def resolve(written: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar stands for."""
    if len(written) > 64:
        return written
    for pattern, value in _CORE:
        if pattern.fullmatch(written):
            return value(written)
    return written

"""What a document may hold, as tables. One table reads the tree and describes it to editors.

A Shape turns a Node into a value and notes every problem that it meets, so that one run lists
them all; the same Shape carries the JSON Schema fragment that says the same thing to an editor.
A reader returns None where it noted a problem; nothing here raises on what an operator wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from milecastle.model import Json, Problem
from milecastle.yamldoc.tree import MOST_PROBLEMS, Mapping, Node, Scalar, Sequence

LONGEST_TEXT = 4096


@dataclass(slots=True)
class Report:
    """The problems of one file, in the order in which they were met."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def at(self, node: Node, what: str, hint: str = "") -> None:
        """Note a problem at the place of ``node``."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(self.file, node.line, what, hint, node.column))


@dataclass(frozen=True, slots=True)
class Shape[T]:
    """How one value is read, and what JSON Schema says about it."""

    read: Callable[[Node, Report], T | None]
    schema: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a record."""

    shape: Shape[Any]
    doc: str
    """One sentence for the person who writes the file."""
    required: bool = False


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean ...`` where a known word is close, else what is known."""
    words = sorted(known)
    close = get_close_matches(word[:80], words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"one of {', '.join(words)}" if 0 < len(words) <= 24 else ""


def kind(node: Node) -> str:
    """Say what a node is, in the words of a problem."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool(value)):
            return f"the truth value {str(value).lower()}"
        case Scalar(value=int(value) | float(value)):
            return f"the number {value}"
        case Scalar():
            return f"the text {node.text[:40]!r}"


def text(
    what: str = "text",
    pattern: str = "",
    *,
    hint: str = "",
    limit: int = LONGEST_TEXT,
) -> Shape[str]:
    """A non-empty string; ``pattern`` must match all of it and be valid in ECMAScript too."""
    compiled = re.compile(pattern) if pattern else None
    schema: dict[str, Json] = {"type": "string", "minLength": 1, "maxLength": limit}
    if pattern:
        schema["pattern"] = f"^(?:{pattern})$"

    def read(node: Node, report: Report) -> str | None:
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            quote = "put it in quotes" if isinstance(node, Scalar) and node.text else hint
            report.at(node, f"{what} is wanted here, this is {kind(node)}", quote)
            return None
        if not 0 < len(node.value) <= limit:
            report.at(node, f"{what} of {len(node.value)} characters, 1 to {limit} may be")
            return None
        if compiled and not compiled.fullmatch(node.value):
            report.at(node, f"{node.value[:80]!r} is not {what}", hint)
            return None
        return node.value

    return Shape(read, schema)


def choice(*words: str) -> Shape[str]:
    """One of a closed set of words."""

    def read(node: Node, report: Report) -> str | None:
        if isinstance(node, Scalar) and node.text in words:
            return node.text
        written = node.text if isinstance(node, Scalar) else ""
        wanted = words[0] if len(words) == 1 else f"one of {', '.join(words)}"
        close = get_close_matches(written[:80], words, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}?" if close else ""
        report.at(node, f"{wanted} is wanted here, this is {kind(node)}", hint)
        return None

    return Shape(read, {"enum": list(words)})


def flag() -> Shape[bool]:
    """True or false."""

    def read(node: Node, report: Report) -> bool | None:
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        report.at(node, f"true or false is wanted here, this is {kind(node)}")
        return None

    return Shape(read, {"type": "boolean"})


def number(low: int, high: int) -> Shape[int]:
    """A whole number, bounds included."""

    def read(node: Node, report: Report) -> int | None:
        value = node.value if isinstance(node, Scalar) else None
        if not isinstance(value, int) or isinstance(value, bool):
            report.at(node, f"a whole number is wanted here, this is {kind(node)}")
            return None
        if not low <= value <= high:
            report.at(node, f"{value} is not between {low} and {high}")
            return None
        return value

    return Shape(read, {"type": "integer", "minimum": low, "maximum": high})


def sequence[T](item: Shape[T], *, limit: int = 10_000) -> Shape[tuple[T, ...]]:
    """A list of alike values. Items with a problem are left out."""

    def read(node: Node, report: Report) -> tuple[T, ...] | None:
        if not isinstance(node, Sequence):
            hint = "begin each line of it with '- '" if isinstance(node, Scalar) else ""
            report.at(node, f"a list is wanted here, this is {kind(node)}", hint)
            return None
        if len(node.items) > limit:
            report.at(node, f"a list of {len(node.items)}, the limit is {limit}")
            return None
        values = [item.read(each, report) for each in node.items]
        return tuple(value for value in values if value is not None)

    return Shape(read, {"type": "array", "items": item.schema, "maxItems": limit})


def one_or_many[T](item: Shape[T], *, limit: int = 10_000) -> Shape[tuple[T, ...]]:
    """One value, or a list of at least one."""
    many = sequence(item, limit=limit)

    def read(node: Node, report: Report) -> tuple[T, ...] | None:
        if isinstance(node, Sequence):
            if not node.items:
                report.at(node, "an empty list matches nothing", "leave the key out")
                return None
            return many.read(node, report)
        value = item.read(node, report)
        return None if value is None else (value,)

    return Shape(read, {"anyOf": [item.schema, {**many.schema, "minItems": 1}]})


def mapping[T](key: Shape[str], value: Shape[T], *, limit: int = 10_000) -> Shape[dict[str, T]]:
    """Keys that the operator chooses, each with one value."""

    def read(node: Node, report: Report) -> dict[str, T] | None:
        if not isinstance(node, Mapping):
            report.at(node, f"a mapping is wanted here, this is {kind(node)}")
            return None
        if len(node.entries) > limit:
            report.at(node, f"a mapping of {len(node.entries)}, the limit is {limit}")
            return None
        found = {}
        for name, each in node.entries.items():
            word = node.keys[name]
            good = key.read(Scalar(name, name, word.line, word.column), report)
            made = value.read(each, report)
            if good is not None and made is not None:
                found[good] = made
        return found

    schema: dict[str, Json] = {
        "type": "object",
        "propertyNames": key.schema,
        "additionalProperties": value.schema,
        "maxProperties": limit,
    }
    return Shape(read, schema)


def record[T](make: Callable[..., T], fields: MappingType[str, Field]) -> Shape[T]:
    """A mapping with known keys, made by ``make(**values)`` where every value could be read.

    Keys that are absent are not passed, so ``make``'s own defaults count. A dash in a key
    becomes an underscore, and a key that is a Python keyword gets one at its end.
    """

    def read(node: Node, report: Report) -> T | None:
        if not isinstance(node, Mapping):
            hint = f"its keys are {', '.join(fields)}"
            report.at(node, f"a mapping is wanted here, this is {kind(node)}", hint)
            return None
        whole = True
        values: dict[str, Any] = {}
        for name, each in node.entries.items():
            if name not in fields:
                report.at(node.keys[name], f"unknown key {name[:60]!r}", nearest(name, fields))
                continue
            value = fields[name].shape.read(each, report)
            whole = whole and value is not None
            values[_argument(name)] = value
        for name, known in fields.items():
            if known.required and name not in node.entries:
                report.at(node, f"{name!r} is missing here", known.doc)
                whole = False
        return make(**values) if whole else None

    return Shape(read, _record_schema(fields))


def _record_schema(fields: MappingType[str, Field]) -> dict[str, Json]:
    properties: dict[str, Json] = {
        name: {"description": each.doc, **each.shape.schema} for name, each in fields.items()
    }
    schema: dict[str, Json] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    required: list[Json] = [name for name, each in fields.items() if each.required]
    return {**schema, "required": required} if required else schema


def _argument(name: str) -> str:
    argument = name.replace("-", "_")
    return f"{argument}_" if argument in {"except", "not", "in", "from", "class"} else argument

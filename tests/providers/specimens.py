"""Values of the types that the providers' own SDKs declare, so that every alternative occurs once.

A string that may be anything becomes a sentence of its own, ``Words of <path> number <n> here``,
so that a test can ask what became of each. Lists hold one item of each alternative.
"""

from __future__ import annotations

import base64
import collections.abc
import datetime
import enum
import inspect
import itertools
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import pydantic
import typing_extensions

MOST = 400
"""Most alternatives of one value."""
DEEPEST = 2
"""Times that a type may stand inside of itself."""
SENTENCE = re.compile(r"Words of [^ \"\\]+ number \d+ here")
UNIONS = (typing.Union, types.UnionType)
SEQUENCES = (list, tuple, set, frozenset, collections.abc.Iterable, collections.abc.Sequence)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Specimens:
    """Makes values; numbers their sentences."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def sentence(self, path: str) -> str:
        return f"Words of {path or 'it'} number {next(self._numbers)} here"

    def all(self, kind: Any, path: str = "", within: tuple[Any, ...] = ()) -> list[Any]:
        """Return values of a type: between them, every alternative that it has."""
        kind = plain(kind)
        if isinstance(kind, (str, typing.ForwardRef)):
            return []
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind in (Any, object, str) or isinstance(kind, typing.TypeVar):
            return [self.sentence(path)]
        if kind in SIMPLE:
            return [SIMPLE[kind]]
        if origin is typing.Literal:
            return list(arguments[:2])
        if origin in UNIONS:
            every = [value for each in arguments for value in self.all(each, path, within)]
            return every[:MOST]
        if origin is not None and inspect.isclass(origin):
            if issubclass(origin, MAPPINGS):
                inner = self.all(arguments[1], path + ".*", within) if len(arguments) > 1 else []
                return [{f"key_{number}": value for number, value in enumerate(inner)}]
            if issubclass(origin, SEQUENCES):
                inner = self.all(arguments[0], path + "[]", within) if arguments else []
                return [inner] if inner else []
            if issubclass(origin, pydantic.BaseModel) or typing_extensions.is_typeddict(origin):
                return self.objects(kind, path, within)
        if inspect.isclass(kind):
            if issubclass(kind, enum.Enum):
                return [each.value for each in kind][:2]
            if typing_extensions.is_typeddict(kind) or issubclass(kind, pydantic.BaseModel):
                return self.objects(kind, path, within)
            if issubclass(kind, str):
                return [self.sentence(path)]
            if issubclass(kind, MAPPINGS):
                return [{"key": self.sentence(path + ".*")}]
            if issubclass(kind, SEQUENCES):
                return [[self.sentence(path + "[]")]]
        return []

    def objects(self, kind: Any, path: str, within: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Return objects of a class: each alternative of each field in one of them."""
        if kind is pydantic.BaseModel or within.count(kind) >= DEEPEST:
            return []
        columns: dict[str, list[Any]] = {}
        for name, of in fields(kind):
            values = self.all(of, f"{path}.{name}" if path else name, (*within, kind))
            if values:
                columns[name] = values
        rows = max(map(len, columns.values()), default=1)
        # a row beyond a column's end repeats its values: their sentences are not new
        return [
            {name: values[row % len(values)] for name, values in columns.items()}
            for row in range(min(rows, MOST))
        ]


SIMPLE: dict[Any, Any] = {
    int: 7,
    float: 0.5,
    bool: True,
    bytes: base64.b64encode(bytes(range(256))).decode(),
    datetime.datetime: "2026-01-01T00:00:00Z",
    datetime.date: "2026-01-01",
}


def plain(kind: Any) -> Any:
    """Return a type without what only qualifies it."""
    while True:
        origin = typing.get_origin(kind)
        if origin in QUALIFIERS:
            kind = typing.get_args(kind)[0]
        elif hasattr(kind, "__value__"):  # a named alias
            kind = kind.__value__
        else:
            return kind


QUALIFIERS = (
    typing.Annotated,
    typing_extensions.Annotated,
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)


def fields(kind: Any) -> Iterator[tuple[str, Any]]:
    """Yield name on the wire and type of each field."""
    origin = typing.get_origin(kind) or kind
    if typing_extensions.is_typeddict(origin):
        yield from typing_extensions.get_type_hints(origin, include_extras=False).items()
        return
    kind.model_rebuild()
    for name, field in kind.model_fields.items():
        told = [getattr(each, "alias", None) for each in field.metadata]
        alias = field.serialization_alias or field.alias or next(filter(None, told), None)
        yield alias or name, field.annotation


def sentences(value: Any) -> set[str]:
    """Return the sentences in a value, or in its text."""
    if isinstance(value, str):
        return set(SENTENCE.findall(value))
    if isinstance(value, dict):
        return set().union(*(sentences(each) for each in value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*(sentences(each) for each in value))
    return set()

"""Pick values out of a JSON document by a path like ``choices/*/text``."""

from __future__ import annotations

from dataclasses import dataclass

from milecastle.model import Json
from milecastle.providers.places import token


@dataclass(frozen=True, slots=True)
class Picked:
    """One value that a path leads to."""

    value: Json
    place: str
    index: int = 0
    """Of the element that the first ``*`` stands for: its own ``index``, else its position."""


def pick(value: Json, path: str) -> list[Picked]:
    """Return the values at a path; an empty path is the document itself."""
    found = [Picked(value, "")]
    for key in path.split("/") if path else ():
        found = _items(found) if key == "*" else _members(found, key)
    return found


def _members(found: list[Picked], key: str) -> list[Picked]:
    if key.isdecimal():
        number = int(key)
        return [
            Picked(each.value[number], f"{each.place}/{key}", each.index)
            for each in found
            if isinstance(each.value, list) and number < len(each.value)
        ]
    return [
        Picked(each.value[key], f"{each.place}/{token(key)}", each.index)
        for each in found
        if isinstance(each.value, dict) and each.value.get(key) is not None
    ]


def _items(found: list[Picked]) -> list[Picked]:
    chosen: list[Picked] = []
    for each in found:
        if isinstance(each.value, list):
            for position, item in enumerate(each.value):
                index = item.get("index") if isinstance(item, dict) else None
                number = index if type(index) is int else position
                outer = each.index if "/" in each.place[1:] else number
                chosen.append(Picked(item, f"{each.place}/{position}", outer))
    return chosen

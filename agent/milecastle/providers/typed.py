"""Take a JSON value as what it should be, or as nothing of that kind.

Providers add fields, gateways send null for what they don't know, attackers send whatever: a
value of another type is treated like a missing one, and what stands there is still found by the
walk over everything that nobody claimed.
"""

from __future__ import annotations

from milecastle.model import Json

_EMPTY: dict[str, Json] = {}


def mapping(value: Json) -> dict[str, Json]:
    """Return the object, or an empty one."""
    return value if isinstance(value, dict) else _EMPTY


def items(value: Json) -> list[Json]:
    """Return the array, or an empty one."""
    return value if isinstance(value, list) else []


def string(value: Json) -> str:
    """Return the string, or an empty one."""
    return value if isinstance(value, str) else ""


def word(value: Json) -> str | None:
    """Return the string, or None where it is none or empty."""
    return value if isinstance(value, str) and value else None


def count(value: Json) -> int | None:
    """Return a whole number that is not negative, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def first(source: dict[str, Json], *keys: str) -> Json:
    """Return the value of the first key that has one."""
    for key in keys:
        value = source.get(key)
        if value is not None:
            return value
    return None

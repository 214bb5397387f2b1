"""What an inspection is told about the connection that the exchange runs over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from milecastle.model import Ancestor, Process


@dataclass(frozen=True, slots=True)
class Context:
    """One exchange's surroundings; time and identity are given, never looked up."""

    exchange: str
    """Its id, unique on the host."""
    started: float
    """Unix time in seconds."""
    cookie: int | None = None
    """The connection's; None in a replay."""
    process: Process | None = None


def process(attribution: Mapping[str, Any]) -> Process | None:
    """Return the process of an attribution as the daemon tells it; None where it knows none."""
    told = attribution.get("process")
    if not isinstance(told, Mapping):
        return None
    values = dict(told)
    values["argv"] = tuple(values.get("argv", ()))
    values["marks"] = tuple(values.get("marks", ()))
    values["ancestry"] = tuple(Ancestor(**one) for one in values.get("ancestry", ()))
    return Process(**values)

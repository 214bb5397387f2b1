"""What operators add for the detectors, as the daemon tells it: rules, indexes, known tools.

An index is a file that only root may open; it comes as a descriptor and is mapped, so that all
workers share one copy of it in memory, and none keeps any of it.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from milecastle import wire
from milecastle.detect.fingerprints import Index
from milecastle.model import ParseError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Texts of rule files, mapped indexes, and the tools that servers were known by."""

    rules: tuple[tuple[str, str], ...] = ()
    documents: tuple[tuple[str, mmap.mmap | None], ...] = ()
    """Name and bytes of each index; None where it can't be mapped."""
    tools: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def indexes(self, key: bytes) -> list[Index]:
        """Return the indexes that can be read; the others are logged."""
        found = []
        for name, data in self.documents:
            try:
                if data is not None:
                    found.append(Index(memoryview(data), key))
            except ParseError as error:
                log.error("the index %s is not used: %s; add it again", name, error)
        return found

    def close(self) -> None:
        """Give the memory back."""
        for _, data in self.documents:
            if data is not None:
                data.close()


def promised(result: wire.Body) -> int:
    """Return how many descriptors of indexes come with a welcome."""
    told = result.get("knowledge")
    documents = told.get("documents") if isinstance(told, dict) else None
    return len(documents) if isinstance(documents, list) else 0


def read(told: Mapping[str, Any], descriptors: Sequence[int]) -> Knowledge:
    """Return what the daemon told; the descriptors are taken over. WireError where it is wrong."""
    try:
        rules = tuple((str(name), str(text)) for name, text in told.get("rules") or ())
        names = [str(name) for name in told.get("documents") or ()]
        tools = dict(told.get("tools") or {})
        if len(names) != len(descriptors):
            raise ValueError("as many indexes as descriptors are wanted")
        mapped = tuple(zip(names, map(opened, descriptors), strict=True))
    except (TypeError, ValueError) as error:
        raise wire.WireError(f"knowledge that can't be read: {error}") from None
    finally:
        close(descriptors)
    return Knowledge(rules, mapped, tools)


def opened(descriptor: int) -> mmap.mmap | None:
    """Return the bytes of a file, mapped for reading; None where that is not possible."""
    try:
        return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty
        log.error("an index can't be mapped: %s", error)
        return None


def close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)

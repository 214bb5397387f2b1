"""Which OWASP and MITRE ATLAS entries a finding belongs to, by what it is and where it stood.

OWASP LLM Top 10 (2025) and Agentic Top 10 (2026); ATLAS 5.6.
"""

from __future__ import annotations

from collections.abc import Mapping

from milecastle.model import Provenance

type Ids = tuple[tuple[str, ...], tuple[str, ...]]

FROM_OUTSIDE: frozenset[Provenance] = frozenset({"tool_result", "file", "web"})
"""Text that nobody in the conversation wrote."""

BY_CATEGORY: Mapping[str, Ids] = {
    "secret": (("LLM02",), ("AML.T0057", "AML.T0055")),
    "pii": (("LLM02",), ("AML.T0057", "AML.T0024")),
    "injection": (("LLM01", "ASI01"), ("AML.T0051.000",)),
    "tool": (("LLM06", "ASI02"), ("AML.T0053",)),
    "document": (("LLM02",), ("AML.T0057", "AML.T0025")),
    "marking": (("LLM02",), ("AML.T0057",)),
    "usage": (("LLM10", "ASI08"), ("AML.T0034",)),
}

BY_PLACE: Mapping[tuple[str, str], Ids] = {
    ("secret", "outside"): (("LLM02", "ASI03"), ("AML.T0057", "AML.T0098")),
    ("secret", "tool_definition"): (("LLM02", "ASI03"), ("AML.T0083",)),
    ("injection", "outside"): (("LLM01", "ASI01"), ("AML.T0051.001",)),
    ("injection", "tool_definition"): (("LLM03", "ASI04"), ("AML.T0110", "AML.T0051.001")),
}


def ids(category: str, provenance: Provenance) -> Ids:
    """Return (OWASP ids, ATLAS ids); empty for a category that has none."""
    place = "outside" if provenance in FROM_OUTSIDE else provenance
    return BY_PLACE.get((category, place)) or BY_CATEGORY.get(category) or ((), ())

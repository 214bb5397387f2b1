"""AI services and the names by which a connection to one is recognised."""

from milecastle.catalogue.catalogue import (
    SELFTEST,
    SELFTEST_NAME,
    Call,
    Catalogue,
    Entry,
    Name,
)
from milecastle.catalogue.hosts import LOCAL, LOCAL_AI, UNKNOWN, UNKNOWN_AI
from milecastle.catalogue.reading import load, shipped

__all__ = [
    "LOCAL",
    "LOCAL_AI",
    "SELFTEST",
    "SELFTEST_NAME",
    "UNKNOWN",
    "UNKNOWN_AI",
    "Call",
    "Catalogue",
    "Entry",
    "Name",
    "load",
    "shipped",
]

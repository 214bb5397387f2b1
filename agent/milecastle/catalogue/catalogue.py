"""The catalogue: which service does a host name belong to? A table; decides, touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from milecastle.catalogue.hosts import UNKNOWN_AI
from milecastle.catalogue.names import normal, parents, subtrees
from milecastle.model import Service

type Verified = Literal["documented", "suffix", "unverified"]

SELFTEST_NAME = "selftest.milecastle.invalid"
"""RFC 6761: .invalid never resolves, so no host of anybody's is taken."""
SELFTEST = Service("milecastle-selftest", "Milecastle self-test", "milecastle", "selftest")


@dataclass(frozen=True, slots=True)
class Call:
    """What is spoken to a service."""

    format: tuple[str, ...]
    """Wire formats, the usual one first: ``openai-chat``."""
    paths: tuple[str, ...] = ()
    """As their documentation writes them; ``{m}`` and ``*`` are theirs too."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Everything that the catalogue knows about one service."""

    service: Service
    verified: Verified
    domains: tuple[str, ...] = ()
    """Patterns, as in `names`, with every gap filled."""
    ports: tuple[int, ...] = ()
    """Where a local server listens unless told otherwise."""
    calls: tuple[Call, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Name:
    """One row for the kernel's trie."""

    name: str
    """Lower case, no dot at either end."""
    suffix: bool
    """True: every name below ``name``, and not ``name`` itself."""
    service: str
    """The service's id."""


class Catalogue:
    """Services by id, by name and by number. Immutable; a reload makes a new one."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Take the entries; where two claim one name, or share an id, the later one has it."""
        known: dict[str, Entry] = {}
        for entry in (*entries, Entry(SELFTEST, "documented", (SELFTEST_NAME,))):
            known.pop(entry.service.id, None)  # the later one comes last, also for its names
            known[entry.service.id] = entry
        self.entries: Mapping[str, Entry] = MappingProxyType(known)
        self.services: Mapping[str, Service] = MappingProxyType(
            {id_: entry.service for id_, entry in known.items()}
        )
        self._order = sorted(known)
        self._numbers = {id_: number for number, id_ in enumerate(self._order, 1)}
        self._exact: dict[str, Service] = {}
        self._suffix: dict[str, Service] = {}
        self._ports: dict[int, tuple[Service, ...]] = {}
        for entry in known.values():
            for pattern in entry.domains:
                table = self._suffix if pattern.startswith(".") else self._exact
                owner = table.get(pattern.removeprefix("."))
                if entry.service.id == UNKNOWN_AI and owner is not None and owner.decrypt:
                    continue  # it is no unknown one
                table[pattern.removeprefix(".")] = entry.service
            for port in entry.ports:
                self._ports[port] = (*self._ports.get(port, ()), entry.service)

    def match(self, host: str) -> Service | None:
        """Return the service that a host name belongs to; the longest pattern counts.

        ``host`` is a bare name from a packet or a header, without port; any text is safe.
        """
        name = normal(host)
        if name is None:
            return None
        if name in self._exact:
            return self._exact[name]
        for parent in parents(name):
            if parent in self._suffix:
                return self._suffix[parent]
        return None

    def on_port(self, port: int) -> tuple[Service, ...]:
        """Return the local servers whose usual port this is."""
        return self._ports.get(port, ())

    def number(self, service: str) -> int:
        """Return the service's number for the kernel, 1 to n. Stable for one catalogue only."""
        return self._numbers[service]

    def by_number(self, number: int) -> Service | None:
        """Return the service with that number; None where the kernel knows one that we don't."""
        return self.services[self._order[number - 1]] if 0 < number <= len(self._order) else None

    def names(self) -> Iterator[Name]:
        """Yield every name and suffix once, with its service."""
        for name, service in self._exact.items():
            yield Name(name, suffix=False, service=service.id)
        for name, service in self._suffix.items():
            yield Name(name, suffix=True, service=service.id)

    def exact_names(self) -> tuple[str, ...]:
        """Return the names that can be resolved ahead of the first connection."""
        return tuple(name for name in self._exact if name != SELFTEST_NAME)

    def domains(self) -> tuple[str, ...]:
        """Return the DNS subtrees within which traffic may be decrypted: all that a CA needs."""
        return subtrees(name.name for name in self.names() if self.services[name.service].decrypt)

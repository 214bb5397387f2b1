"""Which addresses belong to AI services: from /etc/hosts, and from what the worker read in DNS.

The worker is not trusted: a name counts only if the catalogue has it and the CA may sign for it,
an address only if it can be somebody else's. The worst that a lying worker reaches is that
connections to an address of its choice come to it, without a certificate that any client accepts.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from milecastle.catalogue import Catalogue
from milecastle.kernel import Kernel

log = logging.getLogger(__name__)

HOSTS_FILE = Path("/etc/hosts")
HOSTS_BYTES = 4 << 20
FOREVER = 86400.0
"""Seconds that an address from /etc/hosts is believed; it is read again long before."""
ADDRESSES_PER_ANSWER = 64

type Answer = tuple[str, Sequence[str], float]
"""A name, its addresses, and for how many seconds they are believed."""


class Names:
    """Teach the kernel the addresses of catalogue names."""

    def __init__(
        self, kernel: Kernel, catalogue: Catalogue, covered: Callable[[str], bool]
    ) -> None:
        self._kernel = kernel
        self._catalogue = catalogue
        self._covered = covered
        self.learned = 0
        self.refused = 0

    def learn(self, answer: Answer) -> int:
        """Teach the kernel one answer; return how many addresses it took."""
        name, addresses, ttl = answer
        service = self._catalogue.match(name)
        if service is None or not self._covered(name):
            self.refused += 1
            return 0
        number = self._catalogue.number(service.id)
        taken = 0
        for address in addresses[:ADDRESSES_PER_ANSWER]:
            if foreign(address):
                self._kernel.learn(address, number, ttl)
                taken += 1
            else:
                self.refused += 1
        self.learned += taken
        return taken

    def hand_over(self) -> None:
        """Let the kernel read DNS answers about these names itself, before any application does."""
        self._kernel.set_names(
            (name.name, name.suffix, self._catalogue.number(name.service))
            for name in self._catalogue.names()
            if self._covered(name.name)
        )

    def learn_hosts_file(self, path: Path = HOSTS_FILE) -> int:
        """Teach the kernel what the host's own table says."""
        try:
            with path.open(errors="replace") as file:
                text = file.read(HOSTS_BYTES)
        except OSError as error:
            log.warning("cannot read %s: %s", path, error.strerror)
            return 0
        return sum(self.learn((name, [address], FOREVER)) for address, name in entries(text))


def entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield (address, name) of hosts(5) text."""
    for line in text.splitlines():
        address, *names = line.split("#", 1)[0].split() or [""]
        for name in names:
            yield address, name


def foreign(address: str) -> bool:
    """Whether a connection to this address can leave the host, so that it may be redirected."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return not (mapped.is_loopback or mapped.is_multicast or mapped.is_unspecified)

"""Who may not use a service though others may, as the kernel's table has it. Values only; pure.

A restriction names a user, a program (a file, by inode and device), a cgroup, or several of them;
then all have to fit. See bpf/restrictions.c.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from milecastle.kernel.layout import BELOW, Asks, Flag, RestrictionKey

MINOR_BITS = 20  # MINORBITS, include/linux/kdev_t.h


@dataclass(frozen=True, slots=True)
class Restriction:
    """Flags that a service has for some of those who connect, beside its own."""

    service: int
    """Its number."""
    refuse: bool = False
    """Refused in any case."""
    closed: bool = False
    """Refused where it cannot be redirected."""
    uid: int | None = None
    program: tuple[int, int] | None = None
    """(device, inode) of the executable's file, as os.stat() has them."""
    cgroup: int | None = None
    """The id: the inode of the directory."""
    below: bool = False
    """With ``cgroup``: whether the cgroups below it are meant as well."""

    @property
    def asks(self) -> Asks:
        """What it asks of a caller."""
        return Asks(
            Asks.USER * (self.uid is not None)
            | Asks.PROGRAM * (self.program is not None)
            | Asks.CGROUP * (self.cgroup is not None)
        )

    @property
    def key(self) -> bytes:
        """Its struct restriction."""
        device, inode = self.program or (0, 0)
        number = os.major(device) << MINOR_BITS | os.minor(device)
        asked = (self.cgroup or 0, inode, number, self.uid or 0, self.service, self.asks)
        return bytes(RestrictionKey(*asked))

    @property
    def value(self) -> int:
        """What the table has for it."""
        return Flag.REFUSE * self.refuse | Flag.CLOSED * self.closed | BELOW * self.below


def table(restrictions: Iterable[Restriction]) -> dict[bytes, int]:
    """Return the table's entries. ValueError: one that asks for nothing is about everybody."""
    entries: dict[bytes, int] = {}
    for one in restrictions:
        if not one.asks:
            raise ValueError("a restriction has to name a user, a program or a cgroup")
        entries[one.key] = entries.get(one.key, 0) | one.value
    return entries

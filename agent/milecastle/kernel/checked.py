"""What goes into the kernel's tables, checked and packed. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from milecastle.kernel.layout import INTERCEPTED, LOCALS, SERVICES, Address, Local, packed

MINIMUM_TTL_S = 60
MAXIMUM_TTL_S = 86_400

type Door = tuple[str | None, int]
"""An address, None for loopback, and a port."""


def local_servers(servers: Mapping[Door, tuple[int, bool]]) -> dict[bytes, int]:
    """Return the rows of ``locals``."""
    if len(servers) > LOCALS:
        raise ValueError(f"{len(servers)} servers, the kernel's table has room for {LOCALS}")
    rows = {}
    for (address, port), (number, intercepted) in servers.items():
        if port in (80, 443):
            raise ValueError(f"port {port} is no local server's")
        place = Address.from_buffer_copy(packed(address) if address else bytes(16))
        value = checked_service(number) | INTERCEPTED * intercepted
        rows[bytes(Local(place, checked_port(port), 0))] = value
    return rows


def ports_in_words(ports: Iterable[int]) -> dict[int, int]:
    """Return the words of ``local_ports`` that are not zero: a bit for each port."""
    words: dict[int, int] = {}
    for port in ports:
        words[port >> 6] = words.get(port >> 6, 0) | 1 << (port & 63)
    return words


def reachable(address: str) -> bytes:
    """Return an address's 16 bytes; ValueError where no service can be there."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    if parsed.is_loopback or parsed.is_multicast or parsed.is_unspecified:
        raise ValueError(f"{address} cannot be the address of a service")
    return packed(str(parsed))


def clamped(ttl_s: float) -> float:
    return min(max(ttl_s, MINIMUM_TTL_S), MAXIMUM_TTL_S)


def checked_service(number: int) -> int:
    if not 0 < number < SERVICES:
        raise ValueError(f"service numbers are 1 to {SERVICES - 1}, not {number}")
    return number


def checked_port(port: int) -> int:
    if not 0 <= port < 1 << 16:
        raise ValueError(f"{port} is not a port")
    return port

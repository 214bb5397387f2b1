"""Whether the host can reach anybody over IPv6."""

from __future__ import annotations

from pathlib import Path

RTF_UP, RTF_REJECT = 0x0001, 0x0200  # linux/route.h


def has_ipv6(table: Path = Path("/proc/net/ipv6_route")) -> bool:
    """Whether a route leads to IPv6 addresses beyond the link.

    Where none does, an IPv6 connect() must fail at once, as clients expect that then try IPv4; a
    redirected one would succeed and find out too late.
    """
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return False
    return any(_leads_out(line.split()) for line in lines)


def _leads_out(fields: list[str]) -> bool:
    """``fields`` is a line of the table: destination, its prefix's length, ..., flags, device."""
    if len(fields) < 10 or fields[9] == "lo":
        return False
    destination, flags = fields[0], int(fields[8], 16)
    local = destination.startswith("ff") or destination[:3] in ("fe8", "fe9", "fea", "feb")
    return bool(flags & RTF_UP) and not flags & RTF_REJECT and not local

"""Addresses of machines that lead to one person's line: public IP and MAC addresses.

Private, documentation and well-known service addresses say nothing about anybody.
"""

from __future__ import annotations

import ipaddress
import re

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.pii_numbers import monotonous, tail
from milecastle.detect.vocabulary import vocabulary

RESOLVERS = frozenset(
    ipaddress.ip_address(text)
    for text in vocabulary(
        "1.1.1.1 1.0.0.1 8.8.8.8 8.8.4.4 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 "
        "94.140.14.14 94.140.15.15 2606:4700:4700::1111 2606:4700:4700::1001 "
        "2001:4860:4860::8888 2001:4860:4860::8844 2620:fe::fe 4.2.2.2 4.2.2.1 114.114.114.114"
    )
)
"""Public resolvers: everybody's."""
VERSION = re.compile(
    r"(?:[A-Za-z]/|\bv|version|\bver\.?|release|build|==|>=|~=|section|§|chapter|oid|\d\.|\d,|\d:)\s*\Z",
    re.IGNORECASE,
)
SMALL = 32
"""Four numbers all below this are a version or a section."""
MADE_UP_MACS = re.compile(
    r"00:?00:?00|ff:?ff:?ff:?ff|01:?00:?5e|33:?33|01:?80:?c2|00:?00:?5e:?00:?53|00:?11:?22:?33"
    r"|01:?23:?45|12:?34:?56|aa:?bb:?cc|de:?ad:?be|(?:([0-9a-f]{2}):?)\1:?\1",
    re.IGNORECASE,
)


def public_address(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for an IP address that is routed and nobody's in particular but its user's."""
    text = candidate.secret
    if VERSION.search(candidate.before[-12:]) or tail(candidate):
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if not address.is_global or address.is_multicast or address in RESOLVERS:
        return None
    if address.version == 6 and "::" not in text and max(map(len, text.split(":"))) < 3:
        return None  # a fingerprint
    if address.version == 4:
        octets = address.packed
        if max(octets) < SMALL or octets[3] == 0 or monotonous(text) or candidate.after[:1] == "/":
            return None  # a version, a network
    return Evidence("a public address")


def mac(candidate: Candidate, _: str) -> Evidence | None:
    """Ask for a MAC address that a device may have: neither reserved nor made up."""
    if MADE_UP_MACS.match(candidate.secret.replace("-", ":")):
        return None
    if re.search(r"[0-9A-Fa-f][:-]\Z", candidate.before) or tail(candidate):
        return None  # a fingerprint
    return Evidence("a device's address")

"""Names as the kernel's trie keeps them: reversed, so that a suffix is a prefix. Pure.

``api.openai.com`` is ``moc 3 ianepo 6 ipa 3``: each label from its last byte to the first, then
its length, the last label first. An exact name ends in a zero byte, the root; a suffix does not,
and is so a prefix of every name below it. See bpf/names.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from milecastle.kernel.layout import U8, Name

BYTES = 256
LONGEST = 254
"""Octets of a reversed name without the root's zero byte (RFC 1035, 2.3.4)."""
NOBODY = 0
"""The service number of a name that stands below no suffix itself."""

type Named = tuple[str, bool, int]
"""A name, whether it is a suffix (all names below it, not itself), the service's number."""


def trie(names: Iterable[Named]) -> dict[bytes, int]:
    """Return the trie's entries, key to service number.

    A suffix would match its own name too, so that name gets an entry that says whose it is: by an
    exact rule, by a shorter suffix, or nobody's. ValueError for what is no host name.
    """
    exact: dict[str, int] = {}
    suffixes: dict[str, int] = {}
    for name, suffix, number in names:
        (suffixes if suffix else exact)[name.lower().strip(".")] = number
    entries = {key(name, exact=False): number for name, number in suffixes.items()}
    for name in suffixes:
        entries[key(name, exact=True)] = inherited(name, suffixes)
    for name, number in exact.items():
        entries[key(name, exact=True)] = number
    return entries


def inherited(name: str, suffixes: Mapping[str, int]) -> int:
    """Return the number that the longest suffix above a name gives it."""
    return next((suffixes[parent] for parent in parents(name) if parent in suffixes), NOBODY)


def parents(name: str) -> Iterator[str]:
    """Yield what stands behind each dot, longest first."""
    while "." in name:
        name = name.split(".", 1)[1]
        yield name


def key(name: str, *, exact: bool) -> bytes:
    """Return struct name of bpf/names.c: the length of the prefix in bits, the reversed name."""
    reversed_name = bytearray()
    for label in reversed(name.encode("ascii").split(b".")):
        if not 0 < len(label) <= 63:
            raise ValueError(f"{name!r} is no host name: a label of {len(label)} bytes")
        reversed_name += label[::-1] + bytes([len(label)])
    if len(reversed_name) > LONGEST:
        raise ValueError(f"{name!r} is no host name: {len(reversed_name)} bytes")
    bits = (len(reversed_name) + exact) * 8
    return bytes(Name(bits, (U8 * BYTES)(*reversed_name)))

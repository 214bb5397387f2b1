"""Names in the form of the kernel's trie. No root needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.kernel.trie import NOBODY, key, trie

LABEL = st.from_regex(r"[a-c]{1,2}", fullmatch=True)
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)


def longest(entries: dict[bytes, int], name: str) -> int:
    """What the kernel's longest-prefix look-up of an exact key finds."""
    sought = key(name, exact=True)[4:]
    found = [
        (int.from_bytes(raw[:4], "little"), number)
        for raw, number in entries.items()
        if sought.startswith(raw[4 : 4 + int.from_bytes(raw[:4], "little") // 8])
    ]
    return max(found, default=(0, NOBODY))[1]


def test_a_name_is_reversed_with_its_lengths():
    raw = key("api.openai.com", exact=True)
    assert raw[4:].rstrip(b"\0") == b"moc\x03ianepo\x06ipa\x03"
    assert int.from_bytes(raw[:4], "little") == 8 * 16
    assert len(raw) == 260


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["a" * 62] * 5)])
def test_what_is_no_host_name_is_refused(name):
    with pytest.raises(ValueError, match="no host name"):
        key(name, exact=True)
    with pytest.raises(ValueError):
        key("é.example", exact=True)


@given(st.lists(st.tuples(HOST, st.booleans(), st.integers(1, 9)), max_size=8), HOST)
def test_it_matches_as_the_catalogue_does(names, host):
    exact = {name: number for name, suffix, number in names if not suffix}
    suffixes = {name: number for name, suffix, number in names if suffix}

    def expected() -> int:
        if host in exact:
            return exact[host]
        above = host
        while "." in above:
            above = above.split(".", 1)[1]
            if above in suffixes:
                return suffixes[above]
        return NOBODY

    assert longest(trie(names), host) == expected()

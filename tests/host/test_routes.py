import pytest

from milecastle.host import has_ipv6

NONE = "0" * 32
TAIL = f"{NONE} 00 {NONE} 00000100 00000001 00000000"


def line(destination, length, device="eth0", flags="00000001"):
    return f"{destination} {length} {TAIL} {flags} {device:>8}\n"


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("", False),
        (line("fe80" + "0" * 28, "40"), False),
        (line("ff00" + "0" * 28, "08"), False),
        (line(NONE, "00", "lo", "00200200"), False),
        (line(NONE, "00", "eth0", "00200200"), False),
        (line("0" * 31 + "1", "80", "lo"), False),
        (line(NONE, "00"), True),
        (line("20010db800510000" + "0" * 16, "40"), True),
        ("garbage\n" + line(NONE, "00"), True),
    ],
)
def test_only_a_route_that_leads_beyond_the_link_counts(tmp_path, table, found):
    file = tmp_path / "ipv6_route"
    file.write_text(table)
    assert has_ipv6(file) is found


def test_a_kernel_without_ipv6_has_none(tmp_path):
    assert has_ipv6(tmp_path / "missing") is False

"""The header and its Python mirror say the same, as the C compiler sees it. No root needed."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess

import pytest

from milecastle import shipped
from milecastle.kernel import flows, layout

HEADER = shipped.path("bpf", "milecastle.h")

STRUCTS = {
    "address": layout.Address,
    "place": layout.Place,
    "restriction": layout.RestrictionKey,
    "checkpoint": layout.Checkpoint,
    "local": layout.Local,
    "source": layout.Source,
    "name": layout.Name,
    "flow": layout.FlowRecord,
    "packet": layout.PacketRecord,
    "life": layout.LifeRecord,
    "execution": layout.ExecutionRecord,
}
ENUMS = {
    "FLAG": layout.Flag,
    "ASKS": layout.Asks,
    "OUTCOME": layout.Outcome,
    "REASON": layout.Reason,
    "EVIDENCE": layout.Evidence,
    "COUNT": layout.Counter,
    "PACKET": layout.PacketKind,
    "LIFE": layout.LifeKind,
}
CONSTANTS = (
    "HEARTBEAT_NS",
    "SERVICES",
    "NAMES",
    "ADDRESSES",
    "FLOWS",
    "EXEMPTIONS",
    "EXCLUSIONS",
    "LOCALS",
    "INTERCEPTED",
    "PACKET_BYTES",
    "RESTRICTIONS",
    "BELOW",
)
RENAMED = {("address", "bytes"): "word"}
KERNEL_ONLY = {"question", "caller"}


def said_by_c(expressions: list[str], tmp_path) -> list[int]:
    compiler = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install gcc")
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({e}));\n' for e in expressions)
    source = tmp_path / "layout.c"
    source.write_text(
        f"#include <stdio.h>\n#include <stddef.h>\n#include <linux/types.h>\n"
        f'#include "{HEADER}"\nint main(void) {{\n{lines}return 0;\n}}\n'
    )
    program = tmp_path / "layout"
    subprocess.run([compiler, "-Wall", "-Werror", "-o", program, source], check=True)
    return [int(line) for line in subprocess.check_output([program], text=True).split()]


def names_in_header(prefix: str) -> set[str]:
    return set(re.findall(rf"^\t{prefix}_(\w+)\s*(?:,|=)", HEADER.read_text(), re.MULTILINE))


def test_structs_have_the_same_sizes_and_offsets(tmp_path):
    expected = {}
    for name, structure in STRUCTS.items():
        expected[f"sizeof(struct {name})"] = ctypes.sizeof(structure)
        for member, *_ in structure._fields_:
            there = RENAMED.get((name, member), member)
            place = getattr(structure, member)
            expected[f"offsetof(struct {name}, {there})"] = place.offset
            expected[f"sizeof(((struct {name} *)0)->{there})"] = place.size
    assert dict(zip(expected, said_by_c(list(expected), tmp_path), strict=True)) == expected


def test_structs_have_no_hidden_padding():
    for structure in STRUCTS.values():
        assert sum(getattr(structure, m).size for m, *_ in structure._fields_) == ctypes.sizeof(
            structure
        )


def test_numbers_have_the_same_values(tmp_path):
    expected = {name: getattr(layout, name) for name in CONSTANTS}
    for prefix, enum in ENUMS.items():
        expected |= {f"{prefix}_{m.name}": m.value for m in enum if m.name != "NONE"}
    expected["COUNTERS"] = len(layout.Counter)
    assert dict(zip(expected, said_by_c(list(expected), tmp_path), strict=True)) == expected


@pytest.mark.parametrize("prefix", ENUMS)
def test_no_name_of_the_header_is_missing(prefix):
    assert names_in_header(prefix) == {m.name for m in ENUMS[prefix]} - {"NONE"}


def test_no_struct_of_the_header_is_missing():
    found = set(re.findall(r"^struct (\w+) \{", HEADER.read_text(), re.MULTILINE))
    assert found == set(STRUCTS) | KERNEL_ONLY


def test_addresses_are_sixteen_bytes_and_text_again():
    assert layout.packed("198.51.100.5").hex() == "00000000000000000000ffffc6336405"
    for text in ("198.51.100.5", "2001:db8:51::5", "::1"):
        assert layout.unpacked(layout.packed(text)) == text
    assert layout.unpacked(layout.packed("::ffff:198.51.100.5")) == "198.51.100.5"


def test_a_record_with_unknown_numbers_is_no_flow():
    with pytest.raises(ValueError, match="is not a valid Outcome"):
        flows.Flow.from_record(layout.FlowRecord(outcome=99))
    with pytest.raises(ValueError, match="is not a valid PacketKind"):
        flows.Packet.from_record(layout.PacketRecord(kind=99))

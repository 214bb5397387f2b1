"""Where the members of kernel structs are, by the running kernel's own description (BTF).

For the loader child, so it runs on the system's Python and imports nothing of milecastle. libbpf
reads /sys/kernel/btf/vmlinux; the records are struct btf_type and btf_member of
include/uapi/linux/btf.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

WANTED: dict[str, tuple[str, str]] = {
    "TASK_MM": ("task_struct", "mm"),
    "TASK_PID": ("task_struct", "pid"),
    "TASK_TGID": ("task_struct", "tgid"),
    "TASK_REAL_PARENT": ("task_struct", "real_parent"),
    "TASK_START_BOOTTIME": ("task_struct", "start_boottime"),
    "TASK_LOGINUID": ("task_struct", "loginuid"),
    "TASK_COMM": ("task_struct", "comm"),
    "MM_ARG_START": ("mm_struct", "arg_start"),
    "MM_ARG_END": ("mm_struct", "arg_end"),
    "MM_EXE_FILE": ("mm_struct", "exe_file"),
    "BINPRM_FILENAME": ("linux_binprm", "filename"),
    "BINPRM_INTERP": ("linux_binprm", "interp"),
    "FILE_INODE": ("file", "f_inode"),
    "INODE_INO": ("inode", "i_ino"),
    "INODE_NLINK": ("inode", "i_nlink"),
    "INODE_SB": ("inode", "i_sb"),
    "SB_DEV": ("super_block", "s_dev"),
}
"""What bpf/process.c calls a place: the struct and the member."""
OPTIONAL = {"TASK_LOGINUID"}
"""Absent from a kernel without CONFIG_AUDIT."""

STRUCT, UNION = 4, 5
SIGNATURES = {
    "btf__load_vmlinux_btf": (ctypes.c_void_p, []),
    "btf__find_by_name_kind": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]),
    "btf__type_by_id": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_uint32]),
    "btf__name_by_offset": (ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_uint32]),
    "btf__free": (None, [ctypes.c_void_p]),
}


class KernelTypes:
    """The running kernel's types. OSError where it does not describe them."""

    def __init__(self, libbpf: ctypes.CDLL) -> None:
        self._lib = libbpf
        for name, (result, arguments) in SIGNATURES.items():
            entry = getattr(libbpf, name)
            entry.restype, entry.argtypes = result, arguments
        self._btf = libbpf.btf__load_vmlinux_btf()
        if not self._btf or self._btf > 2**64 - 4096:  # libbpf 0.x may return an error as pointer
            raise OSError("this kernel has no BTF (/sys/kernel/btf/vmlinux)")

    def close(self) -> None:
        self._lib.btf__free(self._btf)

    def offset(self, struct: str, member: str) -> int | None:
        """Return a member's place in bytes, also inside unnamed structs; None where it is not."""
        number = self._lib.btf__find_by_name_kind(self._btf, struct.encode(), STRUCT)
        bits = self._bits(number, member) if number > 0 else None
        return None if bits is None else bits // 8

    def _bits(self, number: int, wanted: str) -> int | None:
        for name, kind, bits in self._members(number):
            if name == wanted:
                return bits
            inner = None if name else self._bits(kind, wanted)
            if inner is not None:
                return bits + inner
        return None

    def _members(self, number: int) -> Iterator[tuple[str, int, int]]:
        """Yield (name, type, offset in bits) of a struct's or union's members."""
        place = self._lib.btf__type_by_id(self._btf, number)
        if not place:
            return
        _, info, _ = (ctypes.c_uint32 * 3).from_address(place)
        if info >> 24 & 31 not in (STRUCT, UNION):
            return
        for index in range(info & 0xFFFF):
            at = place + 12 + 12 * index
            name, kind, bits = (ctypes.c_uint32 * 3).from_address(at)
            text = self._lib.btf__name_by_offset(self._btf, name) or b""
            yield text.decode("ascii", "replace"), kind, bits & 0xFFFFFF if info >> 31 else bits


def library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libbpf.so.1")
    except OSError:
        return ctypes.CDLL("libbpf.so.0")


def defines() -> list[str]:
    """Return the compiler's options that tell bpf/process.c every place, or raise OSError."""
    types = KernelTypes(library())
    try:
        places = {name: types.offset(*where) for name, where in WANTED.items()}
    finally:
        types.close()
    missing = [name for name, place in places.items() if place is None and name not in OPTIONAL]
    if missing:
        raise OSError(f"this kernel's BTF does not tell {', '.join(missing)}")
    return [f"-D{name}={place}" for name, place in places.items() if place is not None]

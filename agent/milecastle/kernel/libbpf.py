"""The few functions of libbpf that the daemon needs, through ctypes.

Map operations on descriptors and ring buffers; no loading, no attaching. Works with libbpf 0.5
(Ubuntu 22.04) and 1.x: errors are read from errno, which both set.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable

NAMES = ("libbpf.so.1", "libbpf.so.0")

SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

VOID = ctypes.c_void_p
INT = ctypes.c_int
SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "bpf_map_update_elem": (INT, [INT, VOID, VOID, ctypes.c_uint64]),
    "bpf_map_lookup_elem": (INT, [INT, VOID, VOID]),
    "bpf_map_delete_elem": (INT, [INT, VOID]),
    "bpf_map_get_next_key": (INT, [INT, VOID, VOID]),
    "bpf_obj_get_info_by_fd": (INT, [INT, VOID, VOID]),
    "libbpf_num_possible_cpus": (INT, []),
    "ring_buffer__new": (VOID, [INT, SAMPLE, VOID, VOID]),
    "ring_buffer__add": (INT, [VOID, INT, SAMPLE, VOID]),
    "ring_buffer__consume": (INT, [VOID]),
    "ring_buffer__epoll_fd": (INT, [VOID]),
    "ring_buffer__free": (None, [VOID]),
}


class MapInfo(ctypes.Structure):
    """The beginning of struct bpf_map_info, include/uapi/linux/bpf.h."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """Return libbpf with its signatures. OSError where it is not installed."""
    for name in NAMES:
        try:
            found = ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
        for function, (result, arguments) in SIGNATURES.items():
            entry = getattr(found, function)
            entry.restype, entry.argtypes = result, arguments
        return found
    raise OSError(errno.ENOENT, "libbpf is not installed (apt-get install libbpf1)")


def fault(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def map_info(fd: int) -> MapInfo:
    info = MapInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    if library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)) < 0:
        raise fault("bpf_obj_get_info_by_fd")
    return info


def update(fd: int, key: bytes, value: bytes) -> None:
    if library().bpf_map_update_elem(fd, key, value, 0) < 0:
        raise fault("bpf_map_update_elem")


def lookup(fd: int, key: bytes, size: int) -> bytes | None:
    """Return the value's ``size`` bytes, or None where there is no such key."""
    value = ctypes.create_string_buffer(size)
    if library().bpf_map_lookup_elem(fd, key, value) < 0:
        if ctypes.get_errno() == errno.ENOENT:
            return None
        raise fault("bpf_map_lookup_elem")
    return value.raw


def delete(fd: int, key: bytes) -> bool:
    """Delete a key; False where there was none."""
    if library().bpf_map_delete_elem(fd, key) < 0:
        if ctypes.get_errno() == errno.ENOENT:
            return False
        raise fault("bpf_map_delete_elem")
    return True


def keys(fd: int, size: int, limit: int) -> list[bytes]:
    """Return at most ``limit`` keys; the kernel may change the map meanwhile."""
    found: list[bytes] = []
    previous: bytes | None = None
    buffer = ctypes.create_string_buffer(size)
    while len(found) < limit and library().bpf_map_get_next_key(fd, previous, buffer) >= 0:
        previous = buffer.raw
        found.append(previous)
    return found


def per_cpu_size(size: int) -> int:
    """Return the bytes of a per-CPU value: one value for each possible CPU, rounded up to 8."""
    return (size + 7) // 8 * 8 * max(1, int(library().libbpf_num_possible_cpus()))


class Rings:
    """Ring buffers behind one epoll descriptor; records go to ``take(ring, bytes)``."""

    def __init__(self, fds: dict[str, int], take: Callable[[str, bytes], bool]) -> None:
        """``take`` returns whether more records are wanted in this call of consume()."""
        self._callbacks = {name: SAMPLE(functools.partial(self._sample, name)) for name in fds}
        self._take = take
        self._error: BaseException | None = None
        self._ring: int | None = None
        for name, fd in fds.items():
            if self._ring is None:
                self._ring = library().ring_buffer__new(fd, self._callbacks[name], None, None)
                if not self._ring:
                    raise fault("ring_buffer__new")
            elif library().ring_buffer__add(self._ring, fd, self._callbacks[name], None) < 0:
                raise fault("ring_buffer__add")

    def fileno(self) -> int:
        return int(library().ring_buffer__epoll_fd(self._ring))

    def consume(self) -> None:
        """Take the records that are there, until ``take`` has enough."""
        library().ring_buffer__consume(self._ring)
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        if self._ring:
            library().ring_buffer__free(self._ring)
            self._ring = None

    def _sample(self, name: str, _context: int, data: int, size: int) -> int:
        try:
            return 0 if self._take(name, ctypes.string_at(data, size)) else -1
        except BaseException as error:  # noqa: BLE001 - C code cannot pass an exception on
            self._error = error
            return -1

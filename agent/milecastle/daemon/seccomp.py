"""The system calls that a confined child can't make, by libseccomp.

The units have SystemCallFilter and RestrictAddressFamilies; children that the daemon starts itself
get the same from here. What is refused returns EPERM; nothing is killed, so that a library that
merely tries goes on. The kernel keeps a bitmap of calls that are always allowed (Linux 5.11), so an
allowed call costs no more than before.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterator

_REFUSED = """
    acct add_key bpf chroot clock_adjtime clock_settime delete_module fanotify_init
    finit_module fsconfig fsmount fsopen fspick init_module io_uring_enter io_uring_register
    io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl landlock_create_ruleset
    lookup_dcookie mbind migrate_pages mknod mknodat mount mount_setattr move_mount move_pages
    name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open personality
    pivot_root process_madvise process_vm_readv process_vm_writev ptrace quotactl quotactl_fd
    reboot request_key set_mempolicy sethostname setdomainname setns settimeofday stime
    swapoff swapon syslog umount umount2 unshare uselib userfaultfd vhangup vmsplice
"""
REFUSED = tuple(_REFUSED.split())
"""By name: libseccomp knows their numbers on each architecture. A name that it does not know
belongs to another architecture or a newer kernel."""

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
"""The only kinds of socket that may be made."""

NAMESPACES = (
    0x00000080, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
"""CLONE_NEWTIME and the other flags of clone(2) that make a namespace (linux/sched.h)."""

ALLOW = 0x7FFF0000
EQUAL, GREATER, MASKED_EQUAL = 4, 6, 7
UNKNOWN_NAME = -1
"""seccomp.h of libseccomp 2.5."""


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def restrict() -> None:
    """Install the filter on this process and all that it executes. OSError where that fails.

    No privilege is needed once no-new-privs is set, which libseccomp does by itself.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise OSError(errno.ENOENT, "libseccomp.so.2 is missing: install libseccomp2") from error
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    if not context:
        raise OSError(errno.ENOMEM, "seccomp_init")
    try:
        for name, number, comparisons in rules():
            call = library.seccomp_syscall_resolve_name(name.encode())
            if call == UNKNOWN_NAME:
                continue
            array = (Comparison * len(comparisons))(*comparisons)
            action = ctypes.c_uint32(0x00050000 | number)  # SCMP_ACT_ERRNO
            check(library.seccomp_rule_add_array(context, action, call, len(array), array), name)
        check(library.seccomp_load(context), "load")
    finally:
        library.seccomp_release(context)


def rules() -> Iterator[tuple[str, int, tuple[Comparison, ...]]]:
    """Yield what is refused: the call's name, its errno, and what its arguments must be."""
    for name in REFUSED:
        yield name, errno.EPERM, ()
    # its flags are behind a pointer; libraries fall back to clone(), whose flags can be seen
    yield "clone3", errno.ENOSYS, ()
    for flag in NAMESPACES:
        yield "clone", errno.EPERM, (Comparison(0, MASKED_EQUAL, flag, flag),)
    for family in range(max(FAMILIES) + 1):
        if family not in FAMILIES:
            yield "socket", errno.EPERM, (Comparison(0, EQUAL, family),)
    yield "socket", errno.EPERM, (Comparison(0, GREATER, max(FAMILIES)),)


def check(result: int, what: str) -> None:
    """Raise the OSError that a call to libseccomp returned."""
    if result < 0:
        raise OSError(-result, f"seccomp {what}: {os.strerror(-result)}")

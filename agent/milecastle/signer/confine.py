"""Give away for good what the signer never needs: core dumps, being traced, children, new rights.

Becoming the signer's user and leaving the network come before this, from outside: the daemon's
launcher does it, or the systemd unit. Each step here is one system call; a refusal is an OSError.
"""

from __future__ import annotations

import ctypes
import os
import resource

PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
"""linux/prctl.h"""

MOST_FILES = 64


def keep_secrets() -> None:
    """Make the process's memory unreadable to others of its user, and keep it from growing arms.

    After the last change of user: the kernel resets the dumpable flag then.
    """
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process (prctl(2)); OSError where it is refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")

"""Become an unprivileged, confined process, then the program that was asked for.

The daemon never forks code of its own with preexec hooks (it has threads); it starts this file as
a fresh interpreter, which takes away every privilege step by step and calls execve(). It refuses
to go on where a step fails: a worker that runs with more rights than it should is worse than none.

The file runs before any privilege is gone, so it imports nothing but the standard library and
the filter beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import grp
import os
import pwd
import resource
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from milecastle.daemon import seccomp

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
LAST_CAPABILITY = 63

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 1 << 12, 1 << 14, 1 << 18
SYS_MOUNT_SETATTR = 442  # the same number on every architecture; Linux 5.12
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 1, 2

KEPT_ENVIRONMENT = ("LANG", "LC_ALL", "TZ")
"""Everything else stays behind: SSLKEYLOGFILE, LD_PRELOAD, PYTHONPATH, proxies, tokens."""

TMP = Path("/tmp")  # noqa: S108 - it is covered by a private one

libc = ctypes.CDLL(None, use_errno=True)


class MountAttr(ctypes.Structure):
    """`struct mount_attr` of linux/mount.h."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Confine this process as told and replace it. Exits 2 with one line where a step fails."""
    options = parser().parse_args(arguments)
    try:
        confine(options)
    except (OSError, KeyError) as error:
        sys.exit(f"milecastle: cannot confine {options.command[0]}: {error}")
    os.execve(options.command[0], options.command, environment())  # noqa: S606 - that is the point


def parser() -> argparse.ArgumentParser:
    """Return the command line, which is written by the daemon alone."""
    parser = argparse.ArgumentParser(prog="launch", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="end when this pid ends")
    parser.add_argument("--cgroup", type=Path, help="enter this cgroup first")
    parser.add_argument("--user", help="become this user; without it only the cgroup is entered")
    parser.add_argument(
        "--no-network", action="store_true", help="enter an empty network namespace"
    )
    parser.add_argument("--need", type=Path, action="append", default=[], help="must stay readable")
    parser.add_argument("--write", type=Path, action="append", default=[], help="stays writable")
    parser.add_argument("--files", type=int, default=65536, help="RLIMIT_NOFILE")
    parser.add_argument("command", nargs="+")
    return parser


def confine(options: argparse.Namespace) -> None:
    """Enter the cgroup, hide files, drop groups, user, capabilities, calls; in this order."""
    if options.cgroup is not None:
        (options.cgroup / "cgroup.procs").write_text("0")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = min(options.files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if options.user is not None:
        account = pwd.getpwnam(options.user)
        os.unshare(os.CLONE_NEWNS | os.CLONE_NEWIPC | (os.CLONE_NEWNET * options.no_network))
        hide_files(options.need, options.write)
        groups = [group.gr_gid for group in grp.getgrall() if options.user in group.gr_mem]
        drop_capability_bounds()
        os.setgroups([account.pw_gid, *groups])
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        seccomp.restrict()
    # last, because changing the user clears it
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != options.parent:
        raise ProcessLookupError(0, "the daemon that wanted it is gone")


def hide_files(needed: Sequence[Path], writable: Sequence[Path]) -> None:
    """Make the file system private, read-only and without set-uid; cover closed folders.

    An interpreter or a checkout under a folder that only root may enter (/root, mode 0700) would
    be out of reach for the new user. Such a folder is covered by an empty one that holds nothing
    but what is needed: the user can read that, and nothing else that was there. /tmp is covered
    in the same way, so that the user has one of its own.
    """
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    for folder, inside in covered_folders([*needed, *writable]).items():
        sources = [(path, os.open(path, os.O_PATH)) for path in inside]
        options = "mode=1777,size=64m" if folder == TMP else "mode=0755,size=64k"
        mount("tmpfs", str(folder), "tmpfs", MS_NOSUID | MS_NODEV, options)
        for path, source in sources:
            path.mkdir(parents=True)
            mount(f"/proc/self/fd/{source}", str(path), None, MS_BIND | MS_REC)
            os.close(source)
    for path in writable:
        mount(str(path), str(path), None, MS_BIND)
    change_mount(Path("/"), MountAttr(attr_set=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID), deep=True)
    for path in (TMP, *writable):
        change_mount(path, MountAttr(attr_clr=MOUNT_ATTR_RDONLY))


def covered_folders(needed: Iterable[Path]) -> dict[Path, list[Path]]:
    """Return the folders to cover, /tmp among them, each with the needed folders inside.

    A folder is covered where others may not enter it; of several on the way, the outermost.
    """
    found: dict[Path, list[Path]] = {TMP: []}
    wanted = {path.resolve() for path in needed}
    for path in sorted(wanted):
        if any(other in path.parents for other in wanted):
            continue  # it comes with the other
        for folder in reversed([path, *path.parents]):
            if folder == TMP or not folder.stat().st_mode & 0o001:
                found.setdefault(folder, []).append(path)
                break
    return found


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Attach a file system; OSError says where it failed."""
    encoded = kind.encode() if kind else None
    arguments = (source.encode(), os.fsencode(target), encoded, ctypes.c_ulong(flags))
    if libc.mount(*arguments, data.encode() or None):
        raise_errno(f"mount on {target}")


def change_mount(path: Path, attributes: MountAttr, *, deep: bool = False) -> None:
    """Change the attributes of a mount, with all below it where ``deep`` (mount_setattr(2))."""
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    reference = ctypes.byref(attributes)
    if libc.syscall(
        SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(path), AT_RECURSIVE * deep, reference, size
    ):
        raise_errno(f"change the mount of {path}")


def drop_capability_bounds() -> None:
    """Nothing executed from here on can gain a capability, not even a set-uid file."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0):
            break  # EINVAL: this kernel has no more


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process (prctl(2)); OSError where it is refused."""
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise_errno(f"prctl {option}")


def raise_errno(what: str) -> NoReturn:
    """Raise the OSError of the last libc call."""
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


def environment() -> dict[str, str]:
    """Return the few variables that the program may see."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **kept}


if __name__ == "__main__":
    main()

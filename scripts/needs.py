"""What milecastle needs of a host: a table of commands and files, and the package of each.

``missing`` and ``kernel_lacks`` only look. Runs on the system's Python, 3.9 and newer.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

SBIN = ("/usr/sbin", "/sbin")
"""Where Debian keeps daemons; an ordinary PATH may lack it."""

USERS = ("milecastle-proxy", "milecastle-signer", "milecastle-pods")
GROUPS = ("milecastle",)


@dataclass(frozen=True)
class Need:
    package: str
    """Debian's and Ubuntu's name."""
    command: str = ""
    files: str = ""
    """A glob pattern; one match is enough."""

    def met(self) -> bool:
        if self.command:
            return shutil.which(self.command, path=search_path()) is not None
        return any(Path("/").glob(self.files))


AGENT = (
    # PyPI's "bcc" is another project: the real one is Debian's, for the system's Python only
    Need("python3-bpfcc", files="usr/lib/python3/dist-packages/bcc/__init__.py"),
    Need("libbpf1", files="usr/lib/*/libbpf.so.[01]"),
    Need("libseccomp2", files="usr/lib/*/libseccomp.so.2"),
    Need("iproute2", command="ip"),
)
LAB = (
    Need("ca-certificates", files="etc/ssl/certs/ca-certificates.crt"),
    Need("curl", command="curl"),
    Need("dnsmasq-base", command="dnsmasq"),
    Need("iperf3", command="iperf3"),
    Need("nginx-light", command="nginx"),
    Need("openssl", command="openssl"),
    Need("util-linux", command="nsenter"),
)
FORMER_NAMES = {"libbpf1": "libbpf0"}
"""For where apt does not know the new name: Ubuntu 22.04."""


def search_path() -> str:
    parts = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    return ":".join(parts + [folder for folder in SBIN if folder not in parts])


def missing(needs: Iterable[Need]) -> list[str]:
    """Return the packages to install."""
    return [need.package for need in needs if not need.met()]


# --- the kernel ------------------------------------------------------------------------------

OLDEST_KERNEL = (5, 15)
"""bpf_get_netns_cookie in sock_ops came with 5.15; Ubuntu 22.04 has that, Debian 12 has 6.1."""
BPF_MAP_CREATE = 0
BPF_MAP_TYPE_ARRAY = 2
BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}


def kernel_lacks(release: str, mounts: str, btf: bool, bpf: Callable[[], int]) -> str:
    """Say in one sentence what the kernel lacks and how to get it; empty where it has it all.

    ``bpf`` tries to make a map and returns the errno, 0 for success.
    """
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None or tuple(map(int, found.groups())) < OLDEST_KERNEL:
        wanted = ".".join(map(str, OLDEST_KERNEL))
        return f"Linux {release} is too old: boot {wanted} or newer (Debian 12, Ubuntu 22.04)"
    if not re.search(r"^\S+ \S+ cgroup2 ", mounts, re.M):
        return LACKING["cgroup2"]
    if not btf:
        return LACKING["btf"]
    error = bpf()
    if error in (0, errno.ENOSYS):
        return LACKING["bpf"] if error else ""
    return LACKING["rights"].format(os.strerror(error))


LACKING = {
    "cgroup2": "no cgroup2 file system is mounted: boot with "
    "systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 none /sys/fs/cgroup/unified",
    "btf": "the kernel has no type information (/sys/kernel/btf/vmlinux): boot a kernel with "
    "CONFIG_DEBUG_INFO_BTF=y, as distributions ship it",
    "bpf": "the kernel has no bpf() system call: boot a kernel with CONFIG_BPF_SYSCALL=y, as "
    "distributions ship it",
    "rights": "bpf() is not allowed here ({}): run as root on the host itself, or give this "
    "container CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
}


def this_kernel_lacks() -> str:
    """Ask this host (as root; without root bpf() says no)."""
    mounts = Path("/proc/mounts").read_text()
    btf = Path("/sys/kernel/btf/vmlinux").exists()
    return kernel_lacks(platform.release(), mounts, btf, try_bpf)


def try_bpf() -> int:
    """Make an array map of one int and close it; return the errno, 0 for success."""
    number = BPF_SYSCALL.get(platform.machine())
    if number is None:
        return 0  # an architecture that nobody tried: let the loader tell
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = (ctypes.c_uint32 * 32)(BPF_MAP_TYPE_ARRAY, 4, 4, 1)
    made = libc.syscall(number, BPF_MAP_CREATE, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if made < 0:
        return ctypes.get_errno()
    os.close(made)
    return 0

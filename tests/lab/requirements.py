"""What the lab needs of a host, and where to get it."""

from __future__ import annotations

import os
import shutil

COMMANDS = {
    "curl": "curl",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "nginx": "nginx-light",
    "node": "nodejs (20.15 or newer, for aimock)",
    "npm": "npm",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
"""Command -> Debian package."""

SBIN = ("/usr/sbin", "/sbin")
"""Where Debian keeps daemons; an ordinary PATH may lack it."""


def search_path() -> str:
    """Return PATH with the folders of system daemons at its end."""
    parts = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    return ":".join(parts + [folder for folder in SBIN if folder not in parts])


def missing() -> str:
    """Say in one sentence what keeps the lab from running here; empty where nothing does."""
    if os.geteuid() != 0:
        return "the lab makes namespaces and cgroups, which needs root: run it with sudo"
    absent = [name for name in COMMANDS if shutil.which(name, path=search_path()) is None]
    if absent:
        packages = sorted({COMMANDS[name] for name in absent})
        return f"the lab needs {', '.join(absent)}: apt-get install {' '.join(packages)}"
    return ""

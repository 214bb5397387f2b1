"""What the lab needs of a host, and where to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

COMMANDS = {
    "curl": "curl",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "nginx": "nginx-light",
    "node": "nodejs",
    "npm": "npm",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
"""Command -> Debian package."""

OLDEST_NODE = (20, 15)
"""aimock asks for it (``engines`` of its package.json)."""
SBIN = ("/usr/sbin", "/sbin")
"""Where Debian keeps daemons; an ordinary PATH may lack it."""


def search_path() -> str:
    """Return PATH with the interpreter's folder first (it may hold a newer Node), daemons last."""
    parts = [str(Path(sys.executable).parent), *os.environ.get("PATH", "/usr/bin:/bin").split(":")]
    return ":".join(parts + [folder for folder in SBIN if folder not in parts])


@cache
def missing() -> str:
    """Say in one sentence what keeps the lab from running here; empty where nothing does."""
    if os.geteuid() != 0:
        return "the lab makes namespaces and cgroups, which needs root: run it with sudo"
    absent = [name for name in COMMANDS if shutil.which(name, path=search_path()) is None]
    if absent:
        packages = sorted({COMMANDS[name] for name in absent})
        return f"the lab needs {', '.join(absent)}: apt-get install {' '.join(packages)}"
    if (version := node_version()) < OLDEST_NODE:
        wanted, found = (".".join(map(str, each)) for each in (OLDEST_NODE, version))
        return f"the lab needs Node {wanted} or newer and {found} is here: run `make setup`"
    return ""


def node_version() -> tuple[int, ...]:
    node = shutil.which("node", path=search_path()) or "node"
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    try:
        return tuple(int(part) for part in done.stdout.strip().lstrip("v").split(".")[:2])
    except ValueError:
        return (0,)

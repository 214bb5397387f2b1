"""The lab's servers: dnsmasq, nginx and aimock in the namespace, and the clients' view of names.

The configuration is text (`sites`); here it is written, started, awaited and ended.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab import cgroups
from tests.lab.certificates import Authority
from tests.lab.network import RESOLVER, address4, address6
from tests.lab.patience import until
from tests.lab.requirements import search_path
from tests.lab.sites import CONTROL_PORT, SITES, STAND_IN_PORT, dnsmasq_conf, nginx_conf
from tests.lab.spawn import within

FIXTURES = Path(__file__).with_name("fixtures.json")
READY_SECONDS = 15.0
JOURNAL_LENGTH = 20_000
"""Entries that aimock keeps."""

STAND_IN = Path(__file__).with_name("stand_in.mjs")
AIMOCK = ("node", str(STAND_IN), str(FIXTURES), str(JOURNAL_LENGTH))

type Knock = Callable[[str, int], bool]

PRIVATE = """
set -e
mount --bind "$1/resolv.conf" "$(realpath /etc/resolv.conf)"
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
mount --bind "$1/hosts" /etc/hosts
echo ready
exec sleep infinity
"""
"""Holds the mount namespace in which names are resolved by the lab."""

FILES = {
    "resolv.conf": f"nameserver {address4(RESOLVER)}\noptions timeout:2 attempts:2\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


@contextmanager
def running(folder: Path, tree: Path, netns: Path, stand_in: Sequence[str] | None) -> Iterator[str]:
    """Run the servers; yield the file of the mount namespace in which names come from the lab."""
    cgroup = tree / "servers"
    cgroup.mkdir()
    children: list[subprocess.Popen[Any]] = []
    try:
        write_files(folder)
        children += start_servers(folder, cgroup, netns, stand_in)
        children.append(holder := private_names(folder, cgroup))
        await_servers(folder)
        yield f"/proc/{holder.pid}/ns/mnt"
    finally:
        cgroups.remove(cgroup)
        reap(children)


def write_files(folder: Path) -> None:
    authority = Authority.create()
    (folder / "ca.pem").write_bytes(authority.pem())
    for site in SITES:
        authority.issue(site.host, folder)
    (folder / "dnsmasq.conf").write_text(dnsmasq_conf(folder))
    (folder / "nginx.conf").write_text(nginx_conf(folder))
    (folder / "requests.log").touch()
    for name, text in FILES.items():
        (folder / name).write_text(text)


def start_servers(
    folder: Path, cgroup: Path, netns: Path, stand_in: Sequence[str] | None
) -> list[subprocess.Popen[Any]]:
    commands = {
        "dnsmasq": ["dnsmasq", f"--conf-file={folder}/dnsmasq.conf", "--user=root"],
        "nginx": ["nginx", "-c", f"{folder}/nginx.conf", "-g", "daemon off;"],
        "stand-in": [*(stand_in or AIMOCK), str(STAND_IN_PORT)],
    }
    children = []
    for name, argv in commands.items():
        with (folder / f"{name}.out").open("w") as output:
            child = subprocess.Popen(
                within(cgroup, argv, namespaces={"net": str(netns)}),
                env={**os.environ, "PATH": search_path()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the lab, which takes them down in order
            )
        children.append(child)
    return children


def reap(children: list[subprocess.Popen[Any]]) -> None:
    """Collect servers that are dead already, so that none stays a zombie."""
    for child in children:
        child.wait(timeout=5)
        if child.stdout is not None:
            child.stdout.close()


def private_names(folder: Path, cgroup: Path) -> subprocess.Popen[str]:
    """Make the clients' mount namespace and return the process that holds it."""
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PRIVATE, "sh"]
    holder = subprocess.Popen(
        within(cgroup, [*argv, str(folder)]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None
    if (line := holder.stdout.readline().strip()) != "ready":
        raise RuntimeError(f"no private /etc/resolv.conf for clients: {line}")
    return holder


def await_servers(folder: Path) -> None:
    """Wait until every server answers; the error shows what the silent one said."""
    resolver = ((address4(RESOLVER), 53), (address6(RESOLVER), 53))
    sites = [(address(site.number), 443) for site in SITES for address in (address4, address6)]
    doors: tuple[tuple[str, Knock, Iterable[tuple[str, int]]], ...] = (
        ("dnsmasq", accepts, resolver),
        ("nginx", accepts, sites),
        ("stand-in", healthy, [(address4(RESOLVER), CONTROL_PORT)]),
    )
    deadline = time.monotonic() + READY_SECONDS
    for server, knock, addresses in doors:
        for address in addresses:
            if not until(partial(knock, *address), deadline - time.monotonic(), 0.02):
                raise RuntimeError(f"{server} is silent on {address}: {said(folder, server)}")


def said(folder: Path, server: str) -> str:
    """Return the end of what a server printed and logged."""
    files = sorted({*folder.glob(f"{server}*.out"), *folder.glob(f"{server}*.log")})
    return "".join(path.read_text(errors="replace")[-1000:] for path in files)


def accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def healthy(address: str, port: int) -> bool:
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{address}:{port}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False

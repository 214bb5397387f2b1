"""One network namespace on a veth pair, with the addresses of the lab's services.

Documentation prefixes (RFC 5737, RFC 3849), so that nothing real is ever shadowed. Only one lab
can hold them at a time: `claim` waits for its turn.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX4, LENGTH4 = "198.51.100.", 28
PREFIX6, LENGTH6 = "2001:db8:51::", 64
HOST, RESOLVER = 1, 2
"""Last parts of the addresses of the root namespace and of the lab's resolver."""
LAST = 14
LOCK = Path("/run/lock/milecastle-lab.lock")
TURN_SECONDS = 300.0


def address4(number: int) -> str:
    return f"{PREFIX4}{number}"


def address6(number: int) -> str:
    return f"{PREFIX6}{number:x}"


def ip(*argv: str) -> str:
    """Run ``ip`` and return its output; the error names the command and what it said."""
    done = subprocess.run(["ip", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def claim() -> Iterator[None]:
    """Hold the addresses for this process; wait while another run or room uses them."""
    deadline = time.monotonic() + TURN_SECONDS
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        while not locked(lock.fileno()):
            pause(deadline, "another lab is up")
        while (holder := interface_with(address4(HOST))) and not is_leftover(holder):
            pause(deadline, f"interface {holder} has {address4(HOST)}")
        yield


def locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def pause(deadline: float, why: str) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(f"the lab's addresses were not free for {TURN_SECONDS:.0f} s: {why}")
    time.sleep(0.2)


def interface_with(address: str) -> str | None:
    """Return the interface of this namespace that has the address."""
    for link in json.loads(ip("-json", "address", "show", "to", f"{address}/32")):
        if link.get("ifname"):
            return str(link["ifname"])
    return None


def is_leftover(interface: str) -> bool:
    """Whether the interface is a lab's own; with the lock held, its lab is dead."""
    return interface.startswith("mcl") and interface.endswith("r")


@contextmanager
def namespace(name: str, tag: str) -> Iterator[Path]:
    """Make the namespace with its addresses, and yield its file.

    ``tag`` names the two ends of the veth pair; an interface name has at most 15 characters.
    """
    outside, inside = f"mcl{tag}r", f"mcl{tag}n"
    ip("netns", "add", name)
    try:
        ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        ip("address", "add", f"{address4(HOST)}/{LENGTH4}", "dev", outside)
        ip("-6", "address", "add", f"{address6(HOST)}/{LENGTH6}", "dev", outside, "nodad")
        ip("link", "set", outside, "up")
        within = ("-n", name)
        ip(*within, "link", "set", "lo", "up")
        for number in range(RESOLVER, LAST + 1):
            ip(*within, "address", "add", f"{address4(number)}/{LENGTH4}", "dev", inside)
            v6 = f"{address6(number)}/{LENGTH6}"
            ip(*within, "-6", "address", "add", v6, "dev", inside, "nodad")
        ip(*within, "link", "set", inside, "up")
        route = ip("route", "get", address4(RESOLVER))
        if outside not in route:
            raise RuntimeError(f"{address4(RESOLVER)} does not lead into the lab: {route.strip()}")
        yield Path("/run/netns") / name
    finally:
        drop(name, outside)


def drop(name: str, outside: str | None = None) -> None:
    """Remove the namespace; its end of the veth pair takes the other one along."""
    if outside is not None:
        subprocess.run(["ip", "link", "delete", outside], capture_output=True, check=False)
    ip("netns", "delete", name)


def namespaces() -> list[str]:
    """Return the names of all named network namespaces."""
    folder = Path("/run/netns")
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@contextmanager
def spoke(lab: str, name: str, number: int) -> Iterator[Path]:
    """Make a further namespace that reaches the lab's services by IPv6, as a pod reaches others.

    ``number`` is the last part of its address; those of the lab's services end at LAST.
    """
    address, gateway, link = address6(number), "fe80::1", f"spoke{number}"
    ip("netns", "add", name)
    try:
        ip("-n", lab, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", lab, "-6", "address", "add", f"{gateway}/64", "dev", link, "nodad")
        ip("-n", lab, "link", "set", link, "up")
        ip("-n", lab, "-6", "route", "add", f"{address}/128", "dev", link)
        for interface in ("lo", "eth0"):
            ip("-n", name, "link", "set", interface, "up")
        ip("-n", name, "-6", "address", "add", f"{address}/128", "dev", "eth0", "nodad")
        network = f"{PREFIX6}/{LENGTH6}"
        ip("-n", name, "-6", "route", "add", network, "via", gateway, "dev", "eth0")
        yield Path("/run/netns") / name
    finally:
        drop(name)

"""A place to try the hooks on the real kernel: a sub-cgroup, two namespaces, servers that greet.

    near (clients, checkpoint)  198.51.100.2, 2001:db8:51::2
      | veth
    far (the services)          198.51.100.1 .5 .6, 2001:db8:51::1 ::5

The hooks are attached to the sub-cgroup only; nothing outside of it ever meets them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

CLIENT = ("-c", Path(__file__).with_name("client.py").read_text())
"""Arguments of Python: the text, not the file, which another user may not be able to reach."""
SERVICE4, OTHER4, SERVICE6 = "198.51.100.5", "198.51.100.6", "2001:db8:51::5"
NEAR4, NEAR6 = "198.51.100.2", "2001:db8:51::2"
SO_NETNS_COOKIE = 71
NUMBER = itertools.count()


def cgroup2() -> Path:
    """Where cgroup2 is mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise FileNotFoundError("no cgroup2 is mounted")


@contextlib.contextmanager
def sub_cgroup(parent: Path | None = None) -> Iterator[Path]:
    """A fresh cgroup that is gone afterwards."""
    path = (parent or cgroup2()) / f"milecastle-test-{os.getpid()}-{next(NUMBER)}"
    path.mkdir()
    try:
        yield path
    finally:
        for _ in range(200):  # a process that has ended may still be on its way out
            with contextlib.suppress(OSError):
                path.rmdir()
                break
            time.sleep(0.01)
        else:
            path.rmdir()


def entering(cgroup: Path, netns: Path | None, command: list[str]) -> list[str]:
    """The command that becomes ``command`` in the cgroup and the namespace, with the same pid."""
    inside = ["nsenter", f"--net={netns}", "--"] if netns else []
    join = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
    return ["sh", "-c", join, str(cgroup), *inside, *command]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def inside[T](netns: Path, make: Callable[[], T]) -> T:
    """Return what ``make`` returns in the namespace: sockets stay in it."""

    def enter() -> T:
        with netns.open() as file:
            os.setns(file.fileno(), os.CLONE_NEWNET)
        return make()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result()


@dataclass
class Greeter:
    """A TCP server that says its name, and remembers where its peers came from."""

    name: str
    sockets: list[socket.socket] = field(default_factory=list)
    peers: list[tuple[str, int]] = field(default_factory=list)
    on_accept: Callable[[str, int], None] | None = None
    _open: deque[socket.socket] = field(default_factory=lambda: deque(maxlen=32))
    """Connections stay open until others come after them."""

    def listen(self, netns: Path, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = inside(netns, lambda: socket.socket(family, socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(256)
        self.sockets.append(sock)
        threading.Thread(target=self._serve, args=[sock], daemon=True).start()
        return sock

    def _serve(self, sock: socket.socket) -> None:
        while True:
            try:
                peer, (host, port, *_) = sock.accept()
            except OSError:
                return
            if self.on_accept:
                self.on_accept(host, port)
            self.peers.append((host, port))
            with contextlib.suppress(OSError):
                peer.sendall(self.name.encode() + b"\n")
            self._open.append(peer)

    def close(self) -> None:
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes accept()
            sock.close()
        self._open.clear()


def echo_datagrams(netns: Path, address: str, port: int) -> socket.socket:
    """Answer every datagram with ``pong``."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = inside(netns, lambda: socket.socket(family, socket.SOCK_DGRAM))
    sock.bind((address, port))

    def serve() -> None:
        while True:
            try:
                _, peer = sock.recvfrom(2048)
                sock.sendto(b"pong", peer)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return sock


@dataclass
class Lab:
    """Two joined namespaces; ``far`` answers on TCP 443, 80 and 8443, and on UDP 443 and 4433."""

    near: Path
    far: Path
    service: Greeter

    def run(self, cgroup: Path, *operations: dict, netns: Path | None = None, user: str = ""):
        """Run one client process with these operations in the cgroup; return their results."""
        setpriv = ["setpriv", f"--reuid={user}", "--clear-groups", "--"] if user else []
        command = [*setpriv, "/usr/bin/python3", "-I", "-S", *CLIENT, json.dumps(operations)]
        done = subprocess.run(
            entering(cgroup, netns or self.near, command),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def netns_cookie(netns: Path) -> int:
    with inside(netns, socket.socket) as sock:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    return int.from_bytes(raw, "little")


@contextlib.contextmanager
def namespace() -> Iterator[Path]:
    """A network namespace with loopback up."""
    name = f"mc-test-{os.getpid()}-{next(NUMBER)}"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield Path("/run/netns", name)
    finally:
        ip("netns", "delete", name)


@contextlib.contextmanager
def laboratory() -> Iterator[Lab]:
    with namespace() as near, namespace() as far, contextlib.ExitStack() as undo:
        ip(
            "-n",
            near.name,
            "link",
            "add",
            "near0",
            "type",
            "veth",
            "peer",
            "far0",
            "netns",
            far.name,
        )
        for name, device, addresses in (
            (near.name, "near0", [f"{NEAR4}/28", f"{NEAR6}/64"]),
            (far.name, "far0", ["198.51.100.1/28", f"{SERVICE4}/28", f"{OTHER4}/28"]),
            (far.name, "far0", ["2001:db8:51::1/64", f"{SERVICE6}/64"]),
        ):
            for address in addresses:
                nodad = ["nodad"] if ":" in address else []
                ip("-n", name, "address", "add", address, "dev", device, *nodad)
            ip("-n", name, "link", "set", device, "up")
        service = Greeter("service")
        undo.callback(service.close)
        for port in (443, 80, 8443):
            service.listen(far, "::", port)
        for address, port in itertools.product((SERVICE4, OTHER4, SERVICE6), (443, 4433)):
            undo.callback(echo_datagrams(far, address, port).close)
        yield Lab(near, far, service)

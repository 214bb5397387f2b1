"""The lab as a context manager: everything comes up in `Lab.up` and goes down with it.

Clean-up does not depend on a healthy process: all that runs is in one cgroup tree, all that is
configured is in one network namespace, and a later run removes what a killed one left.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab import cgroups, network, node
from tests.lab.certificates import Authority
from tests.lab.network import RESOLVER, address4, address6
from tests.lab.patience import until
from tests.lab.requirements import missing, search_path
from tests.lab.sites import CONTROL_PORT, SITES, STAND_IN_PORT, dnsmasq_conf, nginx_conf
from tests.lab.spawn import within

MARK = "mcl-lab-"
"""Every namespace, cgroup and folder of a lab begins with it; what does and is dead is swept."""

FIXTURES = Path(__file__).with_name("fixtures.json")
READY_SECONDS = 15.0
CLIENT_SECONDS = 60.0
LOG_SECONDS = 2.0
JOURNAL_LENGTH = 20_000
"""Entries that aimock keeps."""

AIMOCK = (
    *("node", str(node.AIMOCK), "--log-level", "warn", "--fixtures", str(FIXTURES)),
    *("--journal-max", str(JOURNAL_LENGTH), "--port"),
)

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


@dataclass(slots=True)
class Lab:
    """A lab that is up. Paths and addresses are those that clients see."""

    name: str
    folder: Path
    """World-readable: configuration, certificates, logs."""
    tree: Path
    """The cgroup that holds everything of this run."""
    cgroup: Path
    """Below it; clients start here."""
    bystanders: Path
    """Beside it; for processes that no agent of the lab watches."""
    netns: Path
    mounts: str
    """The mount namespace in which the lab's resolver is /etc/resolv.conf."""
    nameserver: str = address4(RESOLVER)

    @classmethod
    @contextmanager
    def up(cls, stand_in: Sequence[str] | None = None) -> Iterator[Lab]:
        """Bring a lab up. RuntimeError in one sentence where this host can't have one.

        ``stand_in``: a command to run in aimock's place; it gets the port as its last argument
        and answers ``GET /health``.
        """
        if sentence := missing():
            raise RuntimeError(sentence)
        node.install()
        tag = uuid.uuid4().hex[:6]
        name = MARK + tag
        with ExitStack() as stack:
            stack.enter_context(network.claim())
            sweep()
            folder = stack.enter_context(public_folder(name))
            tree = stack.enter_context(cgroups.tree(name))
            netns = stack.enter_context(network.namespace(name, tag))
            children: list[subprocess.Popen[Any]] = []
            stack.callback(reap, children)
            # the tree dies first, so that the namespace is empty when it goes
            stack.callback(cgroups.remove, tree)
            parts = {part: tree / part for part in ("servers", "clients", "bystanders")}
            for part in parts.values():
                part.mkdir()
            write_files(folder)
            children += start_servers(folder, parts["servers"], netns, stand_in)
            holder = private_names(folder, parts["servers"])
            children.append(holder)
            await_servers(folder)
            mounts = f"/proc/{holder.pid}/ns/mnt"
            yield cls(name, folder, tree, parts["clients"], parts["bystanders"], netns, mounts)

    # --- clients ---------------------------------------------------------------------------

    @property
    def ca_pem(self) -> Path:
        """The certificate of the lab's CA."""
        return self.folder / "ca.pem"

    def trust_env(self) -> dict[str, str]:
        """Return the variables with which every client of the lab trusts the lab's CA."""
        pem = str(self.ca_pem)
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, pem)

    def command(
        self, argv: Sequence[str], *, cgroup: Path | None = None, user: str | None = None
    ) -> list[str]:
        """Return the command that runs ``argv`` as a client: its cgroup, the lab's resolver."""
        return within(
            cgroup or self.cgroup,
            argv,
            namespaces={"mount": self.mounts},
            folder=Path.cwd(),
            user=user,
        )

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cgroup: Path | None = None,
        user: str | None = None,
        **popen: Any,
    ) -> subprocess.Popen[str]:
        """Start a client with pipes for its output; ``env`` adds to this process's."""
        popen = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | popen
        return subprocess.Popen(
            self.command(argv, cgroup=cgroup, user=user),
            env={**os.environ, "PATH": search_path(), **(env or {})},
            **popen,
        )

    def run_client(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = CLIENT_SECONDS,
        stdin: str | None = None,
        **popen: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a client to its end and return what it printed."""
        child = self.popen(argv, env=env, stdin=subprocess.PIPE, **popen)
        try:
            out, err = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            err += f"\nkilled after {timeout:.0f} s"
        return subprocess.CompletedProcess(list(argv), child.returncode, out, err)

    # --- what upstream saw -------------------------------------------------------------------

    def journal(self) -> list[dict[str, Any]]:
        """Return the requests that aimock received, oldest first."""
        entries = self.control("GET", "journal")
        return list(entries)

    def clear_journal(self) -> None:
        self.control("POST", "reset/journal")
        (self.folder / "requests.log").write_text("")

    def requests(self, at_least: int = 0) -> list[dict[str, Any]]:
        """Return what nginx logged: host, sni, protocol, address, uri, status, the raw body.

        nginx logs a request after its answer is out: ``at_least`` waits for that many.
        """

        def lines() -> list[str]:
            return (self.folder / "requests.log").read_text(errors="replace").splitlines()

        until(lambda: len(lines()) >= at_least, LOG_SECONDS)
        return [json.loads(line) for line in lines()]

    def add_fixtures(self, *fixtures: Mapping[str, Any]) -> None:
        """Add aimock fixtures; those of fixtures.json, catch-all included, go first."""
        self.control("POST", "fixtures", {"fixtures": list(fixtures)})

    def queries(self) -> list[str]:
        """Return the names that clients asked the lab's resolver for."""
        lines = (self.folder / "dnsmasq.log").read_text().splitlines()
        return [line.split("] ", 1)[1].split()[0] for line in lines if " query[" in line]

    def control(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://{self.nameserver}:{CONTROL_PORT}/__aimock/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def public_folder(name: str) -> Iterator[Path]:
    """Make a folder that every user may enter (the agent's users are not root)."""
    path = Path(tempfile.gettempdir()) / name
    path.mkdir()
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep() -> None:
    """Remove what a killed run left. Only with the lock held: then no lab is alive."""
    for path in cgroups.mounted().glob(MARK + "*"):
        cgroups.remove(path)
    for name in network.namespaces():
        if name.startswith(MARK):
            network.drop(name)
    for path in Path(tempfile.gettempdir()).glob(MARK + "*"):
        shutil.rmtree(path, ignore_errors=True)


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

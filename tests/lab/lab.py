"""The lab as a context manager: everything comes up in `Lab.up` and goes down with it.

Clean-up does not depend on a healthy process: all that runs is in one cgroup tree, all that is
configured is in one network namespace, and a later run removes what a killed one left.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import cgroups, network, node, servers
from tests.lab.network import RESOLVER, address4
from tests.lab.patience import until
from tests.lab.requirements import missing, search_path
from tests.lab.sites import CONTROL_PORT
from tests.lab.spawn import within

MARK = "mcl-lab-"
"""Every namespace, cgroup and folder of a lab begins with it; what does and is dead is swept."""

CLIENT_SECONDS = 60.0
LOG_SECONDS = 2.0


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
            mounts = stack.enter_context(servers.running(folder, tree, netns, stand_in))
            # clients go before what they talk to
            clients, bystanders = tree / "clients", tree / "bystanders"
            for part in (clients, bystanders):
                part.mkdir()
                stack.callback(cgroups.remove, part)
            yield cls(name, folder, tree, clients, bystanders, netns, mounts)

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

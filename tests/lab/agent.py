"""milecastled as an operator starts it: a configuration file, a command, and the CLI.

Knows the contract only: the configuration's keys, ``milecastle --run-dir DIR ...``, JSON lines.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from tests.lab import cgroups
from tests.lab.lab import Lab
from tests.lab.patience import until
from tests.lab.requirements import search_path
from tests.lab.spawn import within
from tests.lab.traces import Traces, attached, take

COMMANDS = Path(__file__).parents[2] / ".venv" / "bin"
CONFIG = "milecastle.yaml"
READY_SECONDS = 30.0
"""Far above the bar of 5 s, which a benchmark watches; a test wants the reason, not the time."""
STOP_SECONDS = 10.0
CLI_SECONDS = 30.0
OWNERS = {"milecastle-proxy": "workers", "milecastle-signer": "signer"}
"""Which child a process is, by its user."""


@dataclass(slots=True)
class Agent:
    """A milecastled that is ready and intercepts what clients in ``cgroup`` send."""

    lab: Lab
    folder: Path
    cgroup: Path
    home: Path
    """The cgroup of the daemon itself."""
    resolver: bool
    process: subprocess.Popen[str]
    ready_seconds: float = 0.0
    found: frozenset[Path] = frozenset()
    """Cgroups that were there before the daemon was."""

    @classmethod
    @contextmanager
    def up(
        cls,
        lab: Lab,
        *,
        policy: str | None = None,
        name: str = "agent",
        resolver: bool = True,
        **settings: Any,
    ) -> Iterator[Agent]:
        """Start a daemon on a cgroup of its own; stop it by SIGINT and see that nothing is left.

        ``policy`` is the policy file's text, None the shipped one. ``resolver``: whether the
        daemon's own look-ups go to the lab's resolver too, as on a host where everybody shares
        one. Further ``settings`` go into the configuration file as they are.
        """
        cgroup, home = lab.cgroup / name, lab.tree / f"daemon-{name}"
        cgroup.mkdir()
        home.mkdir()
        with tempfile.TemporaryDirectory(prefix=f"{lab.name}-{name}-") as temporary:
            folder = Path(temporary)
            folder.chmod(0o755)  # the agent's users enter it
            write_config(folder, cgroup, lab, policy, settings)
            agent = cls(lab, folder, cgroup, home, resolver, start(lab, folder, home, resolver))
            try:
                agent.await_ready()
                yield agent
                agent.stop()
            finally:
                cgroups.remove(home)  # whatever the test did, no daemon outlives it
                agent.process.wait(timeout=STOP_SECONDS)
                cgroups.remove(cgroup)

    # --- the command line ---------------------------------------------------------------------

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def policy_file(self) -> Path:
        return self.folder / "policy.yaml"

    def cli(self, *argv: str, **run: Any) -> subprocess.CompletedProcess[str]:
        """Run ``milecastle --run-dir DIR ARGV...``."""
        command = [str(COMMANDS / "milecastle"), "--run-dir", str(self.run_dir), *argv]
        options = {"capture_output": True, "text": True, "timeout": CLI_SECONDS} | run
        return subprocess.run(command, check=False, **options)

    def objects(self, *argv: str) -> list[Any]:
        """Run a command with ``--json`` and return the objects that it printed, one a line."""
        done = self.cli(*argv, "--json")
        if done.returncode not in (0, 1):
            raise AssertionError(f"milecastle {shlex.join(argv)}: {done.returncode} {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def status(self) -> dict[str, Any]:
        (status,) = self.objects("status")
        return dict(status)

    def sessions(self) -> list[dict[str, Any]]:
        return self.objects("sessions", "--limit", "10000")

    def show(self, session: str) -> list[dict[str, Any]]:
        """Return the session's exchanges."""
        (shown,) = self.objects("show", session)
        return list(shown["exchanges"])

    def exchanges_of(self, pid: int, wait: float = 5.0, count: int = 1) -> list[dict[str, Any]]:
        """Return the exchanges of the sessions of one process, waiting for so many."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            mine = [s["id"] for s in self.sessions() if s["process"]["pid"] == pid]
            found[:] = [exchange for session in mine for exchange in self.show(session)]
            return len(found) >= count

        until(look, wait)
        return found

    def ca_path(self) -> Path:
        return Path(self.cli("ca", "path").stdout.strip())

    def trust_env(self) -> dict[str, str]:
        """Return the variables that ``milecastle trust env`` prints."""
        words = shlex.split(self.cli("trust", "env").stdout, comments=True)
        return dict(word.split("=", 1) for word in words if "=" in word)

    def any_env(self) -> dict[str, str]:
        """Return variables to trust both, milecastle and the lab's authority.

        So it is on a real host, where providers have certificates of public authorities; a call
        that goes direct then succeeds, and only its issuer tells.
        """
        bundle = self.folder / "any.pem"
        texts = (Path(self.trust_env()["SSL_CERT_FILE"]), self.lab.ca_pem)
        bundle.write_text("".join(path.read_text() for path in texts))
        return {**self.trust_env(), "SSL_CERT_FILE": str(bundle), "CURL_CA_BUNDLE": str(bundle)}

    # --- clients and processes ----------------------------------------------------------------

    def run_client(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **run: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a client in the watched cgroup with the environment of ``milecastle trust env``."""
        merged = {**self.trust_env(), **(env or {})}
        return self.lab.run_client(argv, env=merged, cgroup=self.cgroup, **run)

    @property
    def pids(self) -> dict[str, list[int]]:
        """Return the pids of ``daemon``, ``workers`` and ``signer``."""
        found: dict[str, list[int]] = {"daemon": [self.process.pid], "workers": [], "signer": []}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                owner = OWNERS.get(child.username())
            except psutil.Error:
                continue
            if owner:
                found[owner].append(child.pid)
        return found

    def cgroups(self) -> frozenset[Path]:
        """Return the cgroups below the watched one."""
        return frozenset(path for path in self.cgroup.iterdir() if path.is_dir())

    def log(self) -> str:
        return (self.folder / "milecastled.log").read_text(errors="replace")

    def await_ready(self) -> None:
        """Wait until the daemon intercepts, and note how long that took."""
        begun = time.monotonic()

        def ready() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"milecastled ended: {self.process.returncode}\n{self.log()}")
            done = self.cli("status", "--json")
            return done.returncode == 0 and bool(json.loads(done.stdout).get("ready"))

        if not until(ready, READY_SECONDS):
            raise RuntimeError(f"not ready after {READY_SECONDS:.0f} s\n{self.log()}")
        self.ready_seconds = time.monotonic() - begun

    def start_again(self) -> None:
        """Start the daemon anew, on whatever the one before has left."""
        self.found = self.cgroups()
        self.process = start(self.lab, self.folder, self.home, self.resolver)
        self.await_ready()

    def stop(self) -> None:
        """End it as Ctrl-C would, and see that nothing of it is left."""
        if self.process.poll() is not None:
            return
        traces = take(self.process.pid)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"it runs {STOP_SECONDS:.0f} s after SIGINT\n{self.log()}"
            ) from None
        self.nothing_is_left(traces)

    def nothing_is_left(self, traces: Traces) -> None:
        """Raise AssertionError unless all of the traces are gone within a second."""
        until(lambda: not traces.remains(), 1.0)
        left = traces.remains()
        left |= {"hooks": hooks} if (hooks := attached(self.cgroup)) else {}
        left |= {"sockets": found} if (found := list(self.run_dir.glob("*.sock"))) else {}
        left |= {"cgroups": found} if (found := self.cgroups() - self.found) else {}
        if left:
            raise AssertionError(f"milecastled left behind: {left}\n{self.log()}")

    def kill(self) -> Traces:
        """SIGKILL the daemon and return what it had; what may be left is for the test to judge."""
        traces = take(self.process.pid)
        self.process.kill()
        self.process.wait(timeout=STOP_SECONDS)
        return traces


def write_config(
    folder: Path, cgroup: Path, lab: Lab, policy: str | None, settings: Mapping[str, Any]
) -> None:
    document: dict[str, Any] = {
        "cgroup": str(cgroup),
        "state_dir": str(folder / "state"),
        "run_dir": str(folder / "run"),
        "upstream_ca": [str(lab.ca_pem)],
        "workers": 1,
        **settings,
    }
    if policy is not None:
        (folder / "policy.yaml").write_text(policy)
        document["policy"] = str(folder / "policy.yaml")
    (folder / CONFIG).write_text(yaml.safe_dump(document, sort_keys=False))


def start(lab: Lab, folder: Path, home: Path, resolver: bool) -> subprocess.Popen[str]:
    """Start the daemon in the cgroup ``home``, away from its clients."""
    command = within(
        home,
        [str(COMMANDS / "milecastled"), "--config", str(folder / CONFIG)],
        namespaces={"mount": lab.mounts} if resolver else None,
        folder=folder if resolver else None,
    )
    with (folder / "milecastled.log").open("a") as output:
        return subprocess.Popen(
            command,
            env={**os.environ, "PATH": search_path()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

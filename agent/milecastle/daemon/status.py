"""What `milecastle status` is told: numbers, and sentences on what is less than it should be."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from milecastle import __version__
from milecastle.daemon.archive import Archive
from milecastle.daemon.attribution import Attributor
from milecastle.daemon.ceremony import Custody, HostCA
from milecastle.daemon.knowledge import Knowledge
from milecastle.daemon.ledger import Ledger
from milecastle.daemon.model_servers import ModelServers
from milecastle.daemon.names import Names
from milecastle.daemon.namespaces import Namespaces
from milecastle.daemon.pods import Pods
from milecastle.daemon.pressure import Pressure
from milecastle.daemon.recording import Recorder
from milecastle.daemon.restrictions import Restrictions
from milecastle.daemon.rules import Rules
from milecastle.daemon.selftest import Outcome
from milecastle.daemon.supervisor import Child
from milecastle.daemon.workers import Workers
from milecastle.kernel import Kernel
from milecastle.settings import Settings
from milecastle.store import Reader

SIZES_SECONDS = 1.0
"""How long it may take to count what is kept."""


@dataclass(slots=True)
class Status:
    """The parts of a running daemon that have something to say."""

    settings: Settings
    rules: Rules
    kernel: Kernel
    workers: Workers
    names: Names
    namespaces: Namespaces
    recorder: Recorder
    archive: Archive
    custody: Custody
    children: Sequence[Child]
    began: float
    """time.monotonic() of the start."""
    ledger: Ledger
    knowledge: Knowledge
    restrictions: Restrictions
    attributor: Attributor
    servers: ModelServers
    pods: Pods | None = None
    outcome: Outcome = Outcome(False, "not run yet")  # noqa: RUF009 - frozen
    stopping: bool = False
    pressure: Pressure = field(init=False)

    def __post_init__(self) -> None:
        self.pressure = Pressure(self.kernel.lacks)

    @property
    def ca(self) -> HostCA:
        return self.custody.ca

    @property
    def ready(self) -> bool:
        """Whether interception works now."""
        return self.outcome.passed and not self.stopping and self.workers.alive(time.monotonic())

    async def report(self) -> dict[str, Any]:
        """Return what `milecastle status --json` prints."""
        sizes: dict[str, int] = {}
        with contextlib.suppress(OSError):  # then `degraded` says what is wrong with the disk
            sizes = await self.archive.ask(Reader.sizes, SIZES_SECONDS)
        now = time.monotonic()
        overrides = self.rules.texts.overrides if self.rules.texts else ()
        return {
            "ready": self.ready,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(now - self.began, 1),
            "mode": self.rules.policy.mode,
            "cgroup": self.settings.cgroup,
            "state_dir": str(self.settings.state_dir),
            "selftest": {
                "passed": self.outcome.passed,
                "what": self.outcome.what,
                "ms": round(self.outcome.milliseconds, 1),
            },
            "policy": {
                "file": str(self.rules.file),
                "overrides": [file for file, _ in overrides],
                "rules": len(self.rules.policy.rules),
                "problems": [str(problem) for problem in self.rules.problems],
            },
            "knowledge": self.knowledge.health(),
            "workers": [
                {
                    "pid": session.pid,
                    "serving": session.serving,
                    "silent_ms": round((now - session.heard) * 1000),
                    "open": session.open,
                }
                for session in self.workers.sessions
            ],
            "children": [
                {"name": child.spec.name, "pid": child.pid, "starts": child.starts}
                for child in self.children
            ],
            "kernel": self._counters(),
            "namespaces": {
                "served": len(self.namespaces.served),
                "excluded": len(self.namespaces.alone),
                "unfit": {str(inode): why for inode, why in self.namespaces.unfit.items()},
            },
            "kubernetes": self.pods.health if self.pods else None,
            "names": {"learned": self.names.learned, "refused": self.names.refused},
            "records": {"taken": self.recorder.recorded, "refused": self.recorder.refused},
            "strange": dict(self.recorder.strange),
            "ca": {
                "certificate": str(self.ca.certificate),
                "bundle": str(self.ca.bundle),
                "expires": self.ca.expires,
                "missing": sorted(self.ca.missing),
            },
            "store": {**sizes, **self.archive.health},
            "ledger": self.ledger.health,
            "model_servers": [
                {"port": port, "service": server.service} for port, server in self.servers.servers
            ],
            "degraded": self.degraded(),
        }

    def degraded(self) -> list[str]:
        """Return a sentence for everything that is less than it should be."""
        found = [*map(str, self.rules.problems), *map(str, self.knowledge.problems)]
        if not self.workers.serving:
            found.append("no worker serves: connections follow on_failure")
        if self.ca.missing:
            found.append(
                f"the CA does not cover {len(self.ca.missing)} domains of the catalogue, their "
                "traffic passes uninspected: run `milecastle ca rotate` and trust the new root"
            )
        if self.ca.advice:
            found.append(self.ca.advice)
        if fault := self.archive.health["fault"]:
            found.append(f"recording is interrupted: {fault}")
        found += [
            f"{shape} has changed its shape: its strings are inspected, but not told apart; "
            "a newer version may know it"
            for shape in self.recorder.strange
            if shape.endswith("-web")
        ]
        if self.pods and self.pods.fault:
            found.append(f"new pods are known by their uid alone: {self.pods.fault}")
        if fault := self.ledger.health["fault"]:
            found.append(f"the ledger of connections is interrupted: {fault}")
        if self.restrictions.fault:
            found.append(self.restrictions.fault)
        return found + self.pressure.sentences(self._counters(), time.monotonic())

    def _counters(self) -> dict[str, int]:
        """Return the kernel's counters, and ours of what is to be had from its tables."""
        return self.kernel.counters() | {"unattributed": self.attributor.unattributed}

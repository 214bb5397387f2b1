"""Keep the unprivileged children running: start, watch, restart with backoff, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from milecastle import shipped

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds between the end of a child and its restart; doubled each time it ends early."""
STEADY = 30.0
"""Seconds after which a child counts as healthy, and the pause begins anew."""
PATIENCE = 2.0
"""Seconds that a child has to end by itself when asked to."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One child: what runs, as whom, where."""

    name: str
    command: tuple[str, ...]
    user: str
    cgroup: Path | None = None
    no_network: bool = False
    descriptors: tuple[int, ...] = ()
    """Inherited under the same numbers."""
    need: tuple[Path, ...] = ()
    """Folders that must stay visible, beside the interpreter and the package."""
    write: tuple[Path, ...] = ()
    """Folders that stay writable; everything else is read-only."""


class Child:
    """A child that is kept running until `stop`."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.pid: int | None = None
        self.starts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def keep(self) -> None:
        """Run the child again whenever it ends; return only after `stop`."""
        pause = FIRST_PAUSE
        while not self._stopping:
            began = time.monotonic()
            status = await self._run_once()
            if self._stopping:
                return
            lasted = time.monotonic() - began
            pause = FIRST_PAUSE if lasted > STEADY else min(pause * 2, LONGEST_PAUSE)
            log.warning(
                "%s ended after %.1f s (%s); starting it again in %.1f s",
                self.spec.name,
                lasted,
                describe(status),
                pause,
            )
            await asyncio.sleep(pause)

    def kill(self) -> None:
        """End the child at once; `keep` starts it again."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """End the child for good: ask, wait, insist."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            self.kill()
            await process.wait()

    async def _run_once(self) -> int:
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(
            *confined(self.spec),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=self.spec.descriptors,
            start_new_session=True,  # Ctrl-C is for the daemon, which ends its children itself
        )
        self.pid = self._process.pid
        try:
            return await self._process.wait()
        finally:
            self.pid = None


def confined(spec: Spec) -> list[str]:
    """Return the command line that runs a spec through `launch`."""
    needed = {Path(sys.prefix), Path(sys.base_prefix), shipped.PACKAGE, shipped.path("config")}
    needed.update(spec.need)
    launch = [sys.executable, "-I", str(shipped.PACKAGE / "daemon" / "launch.py")]
    launch += ["--parent", str(os.getpid()), "--user", spec.user]
    launch += [word for path in sorted(needed) for word in ("--need", str(path))]
    launch += [word for path in spec.write for word in ("--write", str(path))]
    if spec.cgroup is not None:
        launch += ["--cgroup", str(spec.cgroup)]
    if spec.no_network:
        launch.append("--no-network")
    return [*launch, "--", *spec.command]


def describe(status: int) -> str:
    """Say how a process ended, as a person would."""
    return f"signal {-status}" if status < 0 else f"exit status {status}"

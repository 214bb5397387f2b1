"""That interception works is proved before anybody's connection is redirected."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from milecastle.catalogue import Catalogue
from milecastle.daemon import selftest
from milecastle.daemon.status import Status
from milecastle.daemon.tasks import StartError
from milecastle.shipped import PACKAGE

FIRST_WORKER_SECONDS = 20.0


async def prove(status: Status, catalogue: Catalogue, cgroup: Path, stop: asyncio.Event) -> None:
    """Send the synthetic exchange from ``cgroup``, as soon as a worker serves; note the outcome.

    StartError where it does not come through.
    """
    deadline = time.monotonic() + FIRST_WORKER_SECONDS
    while not any(session.beating for session in status.workers.serving):
        if time.monotonic() > deadline or stop.is_set():
            raise StartError("no worker began to serve; the log above says why")
        await asyncio.sleep(0.02)
    number = catalogue.number(selftest.SERVICE)
    status.kernel.set_service(number, redirect=True, closed=False, refuse=False)
    status.kernel.learn(selftest.ADDRESS, number, selftest.TIMEOUT * 2)
    launcher = PACKAGE / "daemon" / "launch.py"
    status.outcome = await selftest.run(
        cgroup, status.ca.certificate, status.recorder.read_back, launcher
    )
    status.kernel.forget(selftest.ADDRESS)
    if not status.outcome.passed:
        raise StartError(f"the self-test failed: {status.outcome.what}")

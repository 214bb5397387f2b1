"""The daemon waits for a cgroup that somebody else holds, and says so; on the real kernel."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest
from tests.kernel.lab import sub_cgroup
from tests.kernel.test_lifetime import FOREIGN, LOADER

from milecastle import wire
from milecastle.daemon.attaching import attached, explain
from milecastle.daemon.checkpoint import open_unix
from milecastle.kernel import KernelUnavailable


async def asked(path, kind, **body):
    """Ask one question on a unix socket."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(wire.encode(wire.Frame(1, kind, body)))
    data = await reader.read(1 << 16)
    writer.close()
    (frame,) = wire.Decoder().feed(data)
    return frame


@pytest.fixture
def control(tmp_path):
    sock = open_unix(tmp_path / "control.sock", 0o600, os.getgid())
    yield sock
    sock.close()


async def test_while_it_waits_status_says_why_and_nothing_else_is_answered(control, tmp_path):
    waiting = asyncio.create_task(explain(control, "somebody holds it"))
    status = (await asked(tmp_path / "control.sock", "status")).body["result"]
    assert (status["ready"], status["degraded"]) == (False, ["somebody holds it"])
    refused = await asked(tmp_path / "control.sock", "sessions", limit=1)
    assert refused.body["code"] == "not_ready"
    waiting.cancel()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: loads BPF programs")
async def test_it_attaches_when_a_foreign_exclusive_program_has_gone(control, tmp_path):
    environment = {"BCC_KERNEL_SOURCE": str(LOADER.parents[3] / "bpf" / "include")}
    with sub_cgroup() as cgroup:
        command = ["/usr/bin/python3", "-I", "-c", FOREIGN, str(cgroup), "0"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, **pipes) as foreign:
            assert foreign.stdout.readline() == "0\n"
            opening = asyncio.create_task(attached(cgroup, control, asyncio.Event(), 0.2))
            try:
                status = (await asked(tmp_path / "control.sock", "status")).body["result"]
                assert "for itself alone" in status["degraded"][0]
                assert not opening.done()
            finally:
                foreign.communicate("\n")
        kernel = await asyncio.wait_for(opening, 20)
        assert kernel.counters()
        kernel.close()


async def test_what_waiting_cannot_mend_is_an_error_at_once(control, tmp_path):
    with pytest.raises(KernelUnavailable):
        await attached(tmp_path, control, asyncio.Event())


async def test_a_daemon_that_is_to_stop_waits_no_longer(control, tmp_path, monkeypatch):
    def held(*_args, **_more):
        raise KernelUnavailable("held", passing=True)

    monkeypatch.setattr("milecastle.kernel.Kernel.open", held)
    stopping = asyncio.Event()
    opening = asyncio.create_task(attached(tmp_path, control, stopping, 30))
    await asyncio.sleep(0.1)
    stopping.set()
    with pytest.raises(KernelUnavailable, match="held"):
        await asyncio.wait_for(opening, 2)

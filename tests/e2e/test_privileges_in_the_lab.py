"""What meets hostile bytes holds nothing, and what holds the key meets nobody."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
from pathlib import Path

import psutil
import pytest
from tests.lab import Agent

KEEPERS = {"workers": "milecastle-proxy", "signer": "milecastle-signer"}
AS_WORKER = (
    *("setpriv", "--reuid=milecastle-proxy", "--regid=milecastle-proxy"),
    *("--init-groups", "--"),
)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("part", KEEPERS)
def test_a_child_has_its_own_user_and_no_capability(enforce: Agent, part: str):
    (pid,) = enforce.pids[part]
    now = status(pid)
    assert psutil.Process(pid).username() == KEEPERS[part]
    assert set(now["Uid"].split()) == {now["Uid"].split()[0]}
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(now[kind], 16) == 0, kind
    assert now["NoNewPrivs"] == "1"


def test_the_signer_has_no_network(enforce: Agent):
    (pid,) = enforce.pids["signer"]
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    devices = [line.split(":")[0].strip() for line in lines(f"/proc/{pid}/net/dev")[2:]]
    assert set(devices) <= {"lo"} | {name for name in devices if name.startswith(("ifb", "dummy"))}
    assert lines(f"/proc/{pid}/net/route")[1:] == []


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def test_no_key_of_the_ca_is_in_reach_of_a_worker(enforce: Agent):
    """Every file that holds a private key can be read by the signer's user (and root) alone."""
    keys = [
        path
        for path in enforce.folder.rglob("*")
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
    ]
    assert keys
    for path in keys:
        done = subprocess.run([*AS_WORKER, "cat", str(path)], capture_output=True)
        assert done.returncode != 0, path
        assert b"KEY" not in done.stdout


def test_sockets_are_open_to_those_who_need_them(enforce: Agent):
    found = {path.name: path.stat() for path in enforce.run_dir.glob("*.sock")}
    for name in ("worker.sock", "signer.sock"):
        assert stat.S_IMODE(found[name].st_mode) == 0o660, name
        assert grp.getgrgid(found[name].st_gid).gr_name == "milecastle-proxy"

"""Sockets and processes out of the ordinary: redirected all the same, and attributed rightly."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from milecastle.kernel import Outcome

from .lab import CLIENT, SERVICE4, SERVICE6, cgroup2, entering, sub_cgroup

pytestmark = pytest.mark.root

IPPROTO_MPTCP = 262


@pytest.mark.parametrize("to", [SERVICE4, SERVICE6])
def test_tcp_fast_open(gate, netns, to):
    gate.watch()
    [result] = gate.run({"do": "fast_open", "to": to})
    assert (result["said"], result["peer"]) == ("checkpoint", [to, 443])
    [flow] = gate.flows()
    assert (flow.outcome, flow.cookie) == (Outcome.REDIRECTED, result["cookie"])
    host, port = gate.checkpoint.peers[-1]
    assert gate.kernel.flow(host, port, netns) == flow


@pytest.mark.parametrize("to", [SERVICE4, SERVICE6])
def test_mptcp(gate, netns, to):
    gate.watch()
    [result] = gate.run({"do": "tcp", "to": to, "protocol": IPPROTO_MPTCP})
    if result.get("error") in ("EPROTONOSUPPORT", "ENOPROTOOPT"):
        pytest.skip("this kernel has no MPTCP")
    assert result["said"] == "checkpoint"
    [flow] = gate.flows()
    assert flow.pid == result["pid"]
    host, port = gate.checkpoint.peers[-1]
    assert gate.kernel.flow(host, port, netns) == flow


def test_a_thread_that_connects(gate):
    gate.watch()
    [result] = gate.run({"do": "in_thread", "to": SERVICE4})
    [flow] = gate.flows()
    assert (flow.pid, flow.tid) == (result["pid"], result["tid"])
    assert flow.pid != flow.tid


def test_a_socket_that_another_process_connects(gate):
    gate.watch()
    [result] = gate.run({"do": "handed", "to": SERVICE4})
    assert result["said"] == "checkpoint"
    [flow] = gate.flows()
    assert (flow.pid, flow.cookie) == (result["pid"], result["cookie"])


def test_a_process_in_other_namespaces_and_another_root(gate):
    """The pid is the one of the first pid namespace, whatever the process calls itself."""
    gate.watch()
    words = json.dumps([{"do": "tcp", "to": SERVICE4}])
    command = ["/usr/bin/python3", "-I", "-S", *CLIENT, words]
    inner = ["unshare", "--pid", "--mount", "--fork", "chroot", "/", *command]
    done = subprocess.run(
        entering(gate.cgroup, gate.lab.near, inner), capture_output=True, text=True, check=True
    )
    [result] = json.loads(done.stdout)
    assert (result["pid"], result["said"]) == (1, "checkpoint")
    [flow] = gate.flows()
    assert flow.pid not in (0, 1)
    assert flow.comm == "python3"


def test_a_process_that_changed_its_user(gate):
    gate.watch()
    gate.lab.run(gate.cgroup, {"do": "tcp", "to": SERVICE4}, user="12345")
    [flow] = gate.flows()
    assert flow.uid == 12345


def test_a_socket_of_another_namespace_is_known_by_its_own_namespace(gate, netns):
    """The hook is its maker's; pid and cgroup are the caller's, the namespace is the socket's."""
    gate.watch()
    script = f"""
import socket, sys
socket.socket(fileno=int(sys.argv[1])).connect(("{SERVICE4}", 443))
"""
    with sub_cgroup(gate.cgroup) as below:
        maker = socket.socketpair()
        made = """
import os, socket, sys
s = socket.socket()
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"x"], [s.fileno()])
"""
        subprocess.run(
            entering(
                below,
                gate.lab.near,
                [sys.executable, "-I", "-S", "-c", made, str(maker[1].fileno())],
            ),
            check=True,
            pass_fds=[maker[1].fileno()],
        )
        _, [fd], _, _ = socket.recv_fds(maker[0], 1, 1)
    os.set_inheritable(fd, True)
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(fd)], pass_fds=[fd], check=True
    )
    for each in (*maker, socket.socket(fileno=fd)):
        each.close()
    [flow] = gate.flows()
    assert child.returncode == 0
    assert (flow.outcome, flow.netns) == (Outcome.REDIRECTED, netns)
    assert flow.cgroup == own_cgroup()


def own_cgroup() -> int:
    """The id of this process's cgroup."""
    line = next(
        line
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::")
    )
    return (cgroup2() / line[4:]).stat().st_ino


IO_URING = r"""
import ctypes, mmap, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
params = (ctypes.c_uint32 * 30)()
ring = libc.syscall(425, 4, params)  # io_uring_setup
if ring < 0:
    print("none"); raise SystemExit
entries, sq_off, cq_off = params[0], list(params[10:20]), list(params[20:30])
sq = mmap.mmap(ring, sq_off[6] + 4 * params[0] + 4096, offset=0)
sqes = mmap.mmap(ring, 64 * params[0], offset=0x10000000)
sock = socket.socket(socket.AF_INET)
to = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", 443, socket.inet_aton(sys.argv[1]))
address = ctypes.create_string_buffer(to, 16)
connect = (16, 0, 0, sock.fileno(), len(to), ctypes.addressof(address))  # IORING_OP_CONNECT
sqes[:64] = struct.pack("=BBHiQQ40x", *connect)
array, tail = sq_off[6], sq_off[1]
sq[array:array + 4] = struct.pack("=I", 0)
sq[tail:tail + 4] = struct.pack("=I", struct.unpack("=I", sq[tail:tail + 4])[0] + 1)
done = libc.syscall(426, ring, 1, 1, 1, None, 0)  # io_uring_enter, wait for one completion
print(sock.recv(64).decode().strip(), os.getpid())
"""


def test_io_uring(gate):
    gate.watch()
    command = ["/usr/bin/python3", "-I", "-S", "-c", IO_URING, SERVICE4]
    done = subprocess.run(
        entering(gate.cgroup, gate.lab.near, command), capture_output=True, text=True, timeout=20
    )
    if done.stdout == "none\n":
        pytest.skip("io_uring is switched off on this kernel")
    said, pid = done.stdout.split()
    assert said == "checkpoint", done.stderr
    [flow] = gate.flows()
    assert flow.pid == int(pid)

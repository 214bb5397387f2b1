"""Run the loader child and receive what it loaded.

The child gets one socket and a clean environment; it has 30 seconds. The descriptors arrive with
close-on-exec: a link that leaked into another process would keep a hook alive after our death.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from milecastle import shipped

TIMEOUT_S = 30.0
MOST_DESCRIPTORS = 250  # the kernel's SCM_MAX_FD is 253
MOST_BYTES = 1 << 16
LOADER = Path(__file__).with_name("loader.py")


class KernelUnavailable(Exception):  # noqa: N818 - a state, as the operator is told of it
    """The hooks are not there: one sentence, and what the operator can do."""

    def __init__(self, problem: str, hint: str = "", *, passing: bool = False) -> None:
        """``passing``: it may be otherwise later, without anything being done to this host."""
        super().__init__(problem)
        self.hint = hint
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Loaded:
    """Descriptors by name. Whoever holds the links holds the hooks."""

    maps: dict[str, int]
    programs: dict[str, int]
    links: dict[str, int]
    lacks: tuple[str, ...] = ()
    """What was asked for and cannot be had on this kernel, each in one sentence."""

    def close(self) -> None:
        for fd in (*self.links.values(), *self.programs.values(), *self.maps.values()):
            os.close(fd)


def load(cgroup: Path, python: str, *, processes: bool = False) -> Loaded:
    """Compile, load and attach in a child; return the descriptors or raise KernelUnavailable."""
    if os.geteuid() != 0:
        raise KernelUnavailable("loading BPF programs needs root", "sudo, or the systemd unit")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, tempfile.TemporaryFile() as said:
        command = [python, "-I", str(LOADER), "--socket", str(theirs.fileno())]
        command += ["--cgroup", str(cgroup), "--bpf", str(shipped.path("bpf"))]
        command += ["--processes"] if processes else []
        try:
            child = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                cwd="/",
            )
        except OSError as error:
            hint = "apt-get install python3 python3-bpfcc"
            raise KernelUnavailable(f"{python} does not start: {error.strerror}", hint) from None
        theirs.close()
        ours.settimeout(TIMEOUT_S)
        try:
            answer, fds = receive(ours)
        except TimeoutError:
            child.send_signal(signal.SIGKILL)
            raise KernelUnavailable(f"the BPF loader took longer than {TIMEOUT_S:g} s") from None
        finally:
            child.wait(TIMEOUT_S)
        return sort_out(answer, fds, python)


def receive(peer: socket.socket) -> tuple[bytes, list[int]]:
    """Return one message and its descriptors."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, _, _ = peer.recvmsg(MOST_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, fds.tolist()


def sort_out(answer: bytes, fds: list[int], python: str) -> Loaded:
    """Give the descriptors their names; close them all where the loader reports a problem."""
    try:
        content = json.loads(answer) if answer else {}
        if "problem" in content:
            hint, passing = str(content.get("hint", "")), content.get("passing") is True
            raise KernelUnavailable(str(content["problem"]), hint, passing=passing)
        names = [str(name).split(" ", 1) for name in content.get("descriptors", ())]
        if not names or len(names) != len(fds):
            raise KernelUnavailable(f"the BPF loader under {python} ended without an answer")
    except (KernelUnavailable, ValueError) as error:
        for fd in fds:
            os.close(fd)
        if isinstance(error, KernelUnavailable):
            raise
        raise KernelUnavailable("the BPF loader answered with something else than JSON") from None
    loaded = Loaded({}, {}, {}, tuple(str(one) for one in content.get("lacks", ())))
    drawers = {"map": loaded.maps, "program": loaded.programs, "link": loaded.links}
    for (kind, name), fd in zip(names, fds, strict=True):
        drawers[kind][name] = fd
    return loaded

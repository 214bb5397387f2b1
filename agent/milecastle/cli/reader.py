"""The unprivileged reader of documents, as whoever walks the folder sees it.

It may crash on a file, or take for ever: then the file is left out and another reader begun.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import sys
from array import array
from pathlib import Path
from types import TracebackType

from milecastle import shipped
from milecastle.cli.faults import InputError
from milecastle.cli.indexing import COUNT, LARGEST, NOTHING, REASONS

USER = "milecastle-proxy"
SECONDS = 60.0
"""How long one file may take."""
STARTS = 20
"""Readers that may end badly before the folder is given up."""


class Reader:
    """Gives a file's hashes. A context: leaving it ends the process."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket
        self._starts = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._end()

    def hashes(self, descriptor: int) -> tuple[array[int], str]:
        """Return the hashes of an opened file, or why there are none."""
        if self._process is None:
            self._begin()
        try:
            socket.send_fds(self._link, [b"f"], [descriptor])
            (count,) = COUNT.unpack(self._receive(COUNT.size))
            if count == NOTHING:
                return array("I"), REASONS[self._receive(1)[0] % len(REASONS)]
            if count > LARGEST:
                raise ConnectionError("more hashes than characters")
            found = array("I")
            found.frombytes(self._receive(count * found.itemsize))
        except TimeoutError:
            self._end()
            return array("I"), "takes too long to read"
        except OSError:
            self._end()
            return array("I"), "the reader ended over it"
        return found, ""

    def _begin(self) -> None:
        if self._starts >= STARTS:
            raise InputError(
                f"the reader of documents ended {STARTS} times: nothing was changed; "
                "the lines above say why"
            )
        self._starts += 1
        self._link, theirs = socket.socketpair()
        self._link.settimeout(SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                command(theirs.fileno()), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self._link.sendall(self._key)

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._link.recv(min(size - len(data), 1 << 20))
            if not piece:
                raise ConnectionError("the reader ended")
            data += piece
        return bytes(data)

    def _end(self) -> None:
        if self._process is None:
            return
        self._link.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1 if self._process.poll() is None else 0)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process = None


def command(descriptor: int) -> list[str]:
    """Return how the reader is run: as nobody in particular, without network or other files."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        raise InputError(
            f"the account {USER} does not exist; `make setup` or systemd-sysusers makes it"
        ) from None
    needed = sorted({Path(sys.prefix), Path(sys.base_prefix), shipped.PACKAGE})
    launch = [sys.executable, "-I", str(shipped.PACKAGE / "daemon" / "launch.py")]
    launch += ["--parent", str(os.getpid()), "--user", USER, "--no-network"]
    launch += [word for path in needed for word in ("--need", str(path))]
    return [*launch, "--", sys.executable, "-I", "-m", "milecastle.cli.indexing", str(descriptor)]

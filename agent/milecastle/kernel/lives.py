"""What the kernel tells of a process's life: fork, exec, exit. Values only.

Strings were chosen by whoever ran the program: they are decoded with replacement, cut where the
kernel cut them, and never to be trusted as a path.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from milecastle.kernel.layout import ExecutionRecord, LifeKind, LifeRecord
from milecastle.kernel.restrictions import MINOR_BITS

UNSET = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Program:
    """What a process executes."""

    filename: str
    """As it was given to execve(), perhaps relative; of a script the script."""
    interpreter: str
    """The same, or the interpreter in a script's first line."""
    argv: tuple[str, ...]
    argv_cut: bool
    """Whether there were more, or longer, arguments than ARGUMENT_BYTES hold."""
    inode: int
    device: int
    """The executable's file, as os.stat() has st_ino and st_dev; of a script the interpreter's."""
    unlinked: bool
    """Whether no path led to that file any more: deleted, or a memfd."""


@dataclass(frozen=True, slots=True)
class Life:
    """One moment in the life of a process."""

    kind: LifeKind
    at_ns: int
    """CLOCK_MONOTONIC, nanoseconds."""
    pid: int
    parent: int
    """The thread group's id of the parent; after the parent's end that of who adopted it."""
    uid: int
    """fork: the parent's."""
    gid: int
    loginuid: int | None
    started_ns: int
    """CLOCK_BOOTTIME, nanoseconds: with the pid it names a process once and for all."""
    cgroup: int
    comm: str
    program: Program | None = None
    """exec: the new program."""

    @classmethod
    def from_bytes(cls, raw: bytes) -> Life:
        """ValueError where the record is of no known kind or size."""
        if len(raw) < ctypes.sizeof(LifeRecord):
            raise ValueError(f"a record of {len(raw)} bytes")
        life = LifeRecord.from_buffer_copy(raw)
        kind = LifeKind(life.kind)
        program = None
        if kind is LifeKind.EXEC:
            program = program_of(ExecutionRecord.from_buffer_copy(raw))
        return cls(
            kind=kind,
            at_ns=life.at_ns,
            pid=life.pid,
            parent=life.parent,
            uid=life.uid,
            gid=life.gid,
            loginuid=None if life.loginuid == UNSET else life.loginuid,
            started_ns=life.started_ns,
            cgroup=life.cgroup,
            comm=life.comm.decode("utf-8", "replace"),
            program=program,
        )


def program_of(record: ExecutionRecord) -> Program:
    arguments = bytes(record.arguments[: record.arguments_length])
    whole = record.arguments_length == record.arguments_total
    words = arguments.removesuffix(b"\0").split(b"\0") if arguments else []
    return Program(
        filename=record.filename.decode("utf-8", "replace"),
        interpreter=record.interpreter.decode("utf-8", "replace"),
        argv=tuple(word.decode("utf-8", "replace") for word in words),
        argv_cut=not whole,
        inode=record.inode,
        device=os.makedev(record.device >> MINOR_BITS, record.device & ((1 << MINOR_BITS) - 1)),
        unlinked=record.links == 0,
    )

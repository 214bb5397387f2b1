"""Start a process in a cgroup and in given namespaces, with no step between it and its exec."""

from __future__ import annotations

import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path

JOIN = 'echo 0 > "$1/cgroup.procs" && shift && exec "$@"'


def within(
    cgroup: Path,
    argv: Sequence[str],
    *,
    namespaces: Mapping[str, str] | None = None,
    folder: Path | None = None,
    user: str | None = None,
) -> list[str]:
    """Return the command that becomes ``argv`` inside the cgroup.

    ``namespaces`` maps nsenter's names (``net``, ``mount``) to namespace files. The pid stays the
    same from the first program on, and nothing but the last one makes a socket.
    """
    command = ["sh", "-c", JOIN, "sh", str(cgroup)]
    if namespaces:
        command += ["nsenter", *(f"--{kind}={file}" for kind, file in namespaces.items())]
        command += [f"--wd={folder}"] if folder else []
        command += ["--"]
    if user:
        entry = pwd.getpwnam(user)
        ids = [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]
        command += ["setpriv", *ids, "--"]
    return [*command, *argv]

"""What the environment makes a program load beside itself: the names of variables, no value."""

from __future__ import annotations

from pathlib import Path

LONGEST = 256 << 10
"""Bytes of an environment that are looked at."""
LOADING = (
    "LD_PRELOAD",
    "LD_AUDIT",
    "NODE_OPTIONS",
    "BUN_OPTIONS",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "JAVA_TOOL_OPTIONS",
    "RUBYOPT",
    "PERL5OPT",
)


def marks(pid: int, proc: Path = Path("/proc")) -> tuple[str, ...]:
    """Return ``env:NAME`` for each such variable that the process began with and is not empty.

    /proc tells of the environment at exec(); what a program sets for itself later is its own.
    """
    try:
        with (proc / str(pid) / "environ").open("rb") as file:
            raw = file.read(LONGEST)
    except OSError:
        return ()
    names = {
        name for name, sign, value in (each.partition(b"=") for each in raw.split(b"\0")) if value
    }
    return tuple(f"env:{name}" for name in LOADING if name.encode() in names)

"""Which Python the virtual environment is made with: the first usable one of a known order.

``candidates`` is pure (a listing of the file system goes in, paths come out); ``first_usable``
asks them one after the other. Runs on the system's Python, 3.9 and newer.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

OLDEST = (3, 12)
PREFERRED = ("3.12", "3.13", "3.14")
"""In the order of how much they are tested here; a newer one is taken where none of them is."""

PROBE = """
import importlib.util, json, sys
import ctypes, sqlite3, ssl, venv
base = getattr(sys, "_base_executable", "") or sys.executable
print(json.dumps([list(sys.version_info[:3]), base, bool(importlib.util.find_spec("ensurepip"))]))
"""
"""What a build of Python must have. A pyenv shim answers with the interpreter behind it, a virtual
environment with its base. Debian keeps ensurepip in a package of its own."""


@dataclass(frozen=True)
class Interpreter:
    path: str
    version: tuple
    has_pip: bool

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"


def candidates(
    path: Sequence[Path], pyenv_roots: Sequence[Path], listing: Callable[[Path], Iterable[str]]
) -> Iterator[Path]:
    """Yield where an interpreter may be, best first, each once.

    ``listing`` gives the names in a folder, and nothing for one that is absent.
    """
    names = {folder: frozenset(listing(folder)) for folder in path}
    for wanted in [f"python{version}" for version in PREFERRED] + ["python3"]:
        for folder, held in names.items():
            if wanted in held:
                yield folder / wanted
    for root in dict.fromkeys(pyenv_roots):
        versions = root / "versions"
        for name in sorted(filter(new_enough, listing(versions)), key=preference):
            yield versions / name / "bin" / "python3"


def new_enough(name: str) -> bool:
    """Tell whether a pyenv folder's name is a final CPython release that we can use."""
    found = re.fullmatch(r"(\d+)\.(\d+)\.\d+", name)
    return bool(found) and tuple(map(int, found.groups())) >= OLDEST


def preference(name: str) -> tuple:
    """Order releases: the preferred ones first, of each the latest patch, then by age."""
    major, minor, patch = map(int, name.split("."))
    short = f"{major}.{minor}"
    rank = PREFERRED.index(short) if short in PREFERRED else len(PREFERRED) + minor
    return (rank, -patch)


def first_usable(
    found: Iterable[Path], probe: Callable[[Path], Interpreter | None]
) -> Interpreter | None:
    """Return the first that runs, is new enough and has what we need."""
    for path in found:
        interpreter = probe(path)
        if interpreter and interpreter.version >= OLDEST:
            return interpreter
    return None


# --- the real host ---------------------------------------------------------------------------


def on_this_host() -> Iterator[Path]:
    """Yield the candidates of this host."""
    path = [Path(part) for part in os.environ.get("PATH", "/usr/bin").split(":") if part]
    home = [Path(os.environ[name]) for name in ("PYENV_ROOT",) if os.environ.get(name)]
    own = Path(pwd.getpwuid(os.getuid()).pw_dir)  # sudo may have left another HOME
    roots = [*home, Path.home() / ".pyenv", own / ".pyenv"]
    return candidates(path, roots, listdir)


def listdir(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def ask(path: Path) -> Interpreter | None:
    """Run the probe; None where it is no Python, or lacks what we need."""
    command = [str(path), "-I", "-c", PROBE]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        version, base, has_pip = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(base, tuple(version), has_pip)

"""The lab's Node packages: installed from the lock file into a folder that git ignores."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
MODULES = HERE / "node_modules"
STAMP = MODULES / ".milecastle-lock"
"""A copy of the lock file that the folder was installed from."""

AIMOCK = MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"


def install() -> None:
    """Make node_modules match the lock file; does nothing where it does already."""
    if STAMP.is_file() and STAMP.read_bytes() == LOCK.read_bytes() and AIMOCK.is_file():
        return
    argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"npm ci in tests/lab failed: {done.stderr.strip()[-500:]}")
    STAMP.write_bytes(LOCK.read_bytes())


if __name__ == "__main__":
    install()

"""The lab's Node packages: as the lock file says, in a folder that git ignores.

``make setup`` installs them; a lab that finds others does the same.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.lab.requirements import search_path

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
MODULES = HERE / "node_modules"
INSTALLED = MODULES / ".package-lock.json"
"""What npm writes of what it has installed."""
AIMOCK = MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"


def install() -> None:
    """Make node_modules match the lock file; does nothing where it does already."""
    if INSTALLED.is_file() and versions(INSTALLED) == versions(LOCK) and AIMOCK.is_file():
        return
    argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    env = {**os.environ, "PATH": search_path()}
    done = subprocess.run(argv, cwd=HERE, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"npm ci in tests/lab failed: {done.stderr.strip()[-500:]}")


def versions(lock: Path) -> dict[str, str]:
    """Return what a lock file holds, by folder, the project itself left out."""
    packages = json.loads(lock.read_text())["packages"]
    return {folder: package["version"] for folder, package in packages.items() if folder}

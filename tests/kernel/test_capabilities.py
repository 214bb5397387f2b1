"""The programs load with what the unit grants, and no more: a developer's root has everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

UNIT = Path(__file__).parents[2] / "systemd" / "milecastled.service"
LOAD = """
import sys
from pathlib import Path
from milecastle.kernel import Kernel
kernel = Kernel.open(Path(sys.argv[1]), processes=True)
print(kernel.lacks)
kernel.close()
"""


def test_the_unit_s_capabilities_are_enough(cgroup):
    held = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    words = ",".join(f"+{word.removeprefix('CAP_').lower()}" for word in " ".join(held).split())
    done = subprocess.run(
        ["setpriv", f"--bounding-set=-all,{words}", "--no-new-privs",
         sys.executable, "-c", LOAD, str(cgroup)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "()\n"), done.stderr

"""``python -m tests.lab``: hold the lab up; ``--demo``: real clients through the agent."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys

from tests.lab import Lab, missing
from tests.lab.demo import demo
from tests.lab.sites import SITES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--demo", action="store_true", help="run clients through milecastle")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down
    if sentence := missing():
        print(sentence, file=sys.stderr)
        return 2
    with Lab.up() as lab:
        return demo(lab) if args.demo else wait(lab)


def wait(lab: Lab) -> int:
    """Print how to use the lab and hold it until Ctrl-C."""
    print(f"lab {lab.name} is up; files in {lab.folder}, clients in {lab.cgroup}")
    for site in SITES:
        print(f"  https://{site.host}/  {'plain text' if site.plain else '-> aimock'}")
    example = ["curl", "-sS", "--cacert", str(lab.ca_pem), "https://api.openai.com/v1/models"]
    print("one client:", shlex.join(lab.command(example)), flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

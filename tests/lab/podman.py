"""One container by podman and runc, on a throw-away layer over the host's own file system."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.patience import until

PODMAN = ["podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
LIMITS = ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"]
START_SECONDS = 60.0
END_SECONDS = 3.0
V1 = Path("/sys/fs/cgroup")


def absent() -> str:
    """Say what keeps a container from running here; empty where nothing does."""
    lacking = [name for name in ("podman", "runc") if shutil.which(name) is None]
    return f"apt-get install {' '.join(lacking)} for containers" if lacking else ""


@contextmanager
def container(name: str, parent: str, options: Sequence[str], argv: Sequence[str]) -> Iterator[str]:
    """Run a container in the background below the cgroup ``parent``; yield its id."""
    command = [*PODMAN, "run", "--detach", "--name", name, "--cgroup-parent", parent, *LIMITS]
    done = subprocess.run(
        [*command, *options, "--rootfs", "/:O", *argv],
        capture_output=True, text=True, timeout=START_SECONDS, check=False,
    )  # fmt: skip
    try:
        assert done.returncode == 0, done.stderr
        yield done.stdout.strip()
    finally:
        remove(name)
        sweep(parent)


def sweep(parent: str) -> None:
    """Remove what stays behind on a hybrid host: the parent's folder in each controller's tree.

    The container's monitor ends a little later than the container.
    """
    top = parent.strip("/").split("/")[0]
    trees = [tree for tree in V1.iterdir() if not (tree / "cgroup.controllers").exists()]
    until(lambda: sum(remains(tree / top) for tree in trees) == 0, END_SECONDS)


def remains(top: Path) -> bool:
    """Remove the empty folders of a tree; say whether something is left."""
    for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    with contextlib.suppress(OSError):
        top.rmdir()
    return top.exists()


def remove(name: str) -> None:
    """End a container and forget it."""
    command = [*PODMAN, "rm", "--force", "--time", "0", "--ignore", name]
    subprocess.run(command, capture_output=True, timeout=START_SECONDS, check=False)


def inside(name: str, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return the command that runs ``argv`` in a container."""
    given = [word for item in env.items() for word in ("--env", "=".join(item))]
    return [*PODMAN, "exec", *given, name, *argv]


def log(name: str) -> str:
    """Return what a container has printed."""
    done = subprocess.run([*PODMAN, "logs", name], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr

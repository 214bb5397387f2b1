import os
import subprocess
import sys

import pytest

from milecastle.host import cgroup2_root, cgroup_path

ID = "3f2a" * 16


def test_on_a_hybrid_host_the_v1_path_names_the_container(tmp_path):
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "cgroup").write_text(f"4:memory:/docker/{ID}\n1:name=systemd:/\n0::/\n")
    assert cgroup_path(7, tmp_path) == f"/docker/{ID}"


def test_without_a_container_the_unified_path_is_taken(tmp_path):
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "cgroup").write_text("4:memory:/jobs\n0::/user.slice\n")
    assert cgroup_path(7, tmp_path) == "/user.slice"
    assert cgroup_path(8, tmp_path) == ""


def test_the_cgroup2_mount_is_found_with_spaces_in_its_path(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\ncgroup2 /a\\040b cgroup2 rw 0 0\n")
    assert str(cgroup2_root(mounts)) == "/a b"
    mounts.write_text("proc /proc proc rw 0 0\n")
    assert cgroup2_root(mounts) is None


PATHS = """
from milecastle.host import see_the_whole_tree, unified_path
import os
print(unified_path(os.getppid()))
see_the_whole_tree()
print(unified_path(os.getppid()))
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="making a cgroup needs root")
def test_in_a_cgroup_namespace_paths_are_still_those_of_the_host():
    """As in a container that shares the host's pids."""
    own = cgroup_path(os.getpid())
    group = cgroup2_root() / own.lstrip("/") / f"milecastle-test-{os.getpid()}"
    group.mkdir()
    enter = 'echo 0 > "$0/cgroup.procs" && exec unshare --cgroup "$@"'
    command = ["sh", "-c", enter, str(group), sys.executable, "-c", PATHS]
    try:
        path = [path for path in sys.path if path]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        group.rmdir()
    assert done.stdout.splitlines() == ["/..", own]

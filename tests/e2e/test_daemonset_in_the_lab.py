"""The DaemonSet's container: a daemon with those rights, that file system and those namespaces."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.e2e.scenarios import ENFORCE, OPENAI, REDACTED_RULE, chat, planted
from tests.kubernetes.manifests import CONTAINER
from tests.lab import Lab, cgroups, podman
from tests.lab.agent import COMMANDS, CONFIG, write_config
from tests.lab.patience import until

from milecastle.host import cgroup2_root

SECRET = planted(REDACTED_RULE)


def security(folder: Path) -> list[str]:
    """Return podman's options for what the DaemonSet's container may do and sees."""
    context = CONTAINER["securityContext"]
    held = context["capabilities"]
    options = ["--pid=host", "--network=host", "--cgroupns=private", "--env=HOME=/nonexistent"]
    options += [f"--cap-drop={word}" for word in held["drop"]]
    options += [f"--cap-add={word}" for word in held["add"]]
    assert context["readOnlyRootFilesystem"]
    options += ["--read-only", "--read-only-tmpfs=false"]
    assert not context["allowPrivilegeEscalation"]
    options += ["--security-opt=no-new-privileges"]  # and podman's own seccomp profile
    options += ["--volume=/sys/fs/cgroup:/sys/fs/cgroup", f"--volume={folder}:{folder}"]
    return [*options, "--tmpfs=/tmp:notmpcopyup,mode=1777"]


@pytest.mark.skipif(bool(podman.absent()), reason=podman.absent())
def test_what_the_daemonset_grants_is_enough_to_intercept(lab: Lab):
    """The daemon in a container with that security context, as the manifest has it."""
    folder, watched = lab.folder / "daemonset", lab.cgroup / "daemonset"
    folder.mkdir(mode=0o755)
    watched.mkdir()
    write_config(folder, watched, lab, ENFORCE, {})
    name, parent = f"{lab.name}-daemonset", f"/{lab.name}/pods"
    command = [str(COMMANDS / "milecastled"), "--config", str(folder / CONFIG)]
    with podman.container(name, parent, security(lab.folder), command):
        cli = [str(COMMANDS / "milecastle"), "--run-dir", str(folder / "run")]
        probed = podman.inside(name, [*cli, "status", "--ready"], {})
        ready = until(lambda: subprocess.run(probed, capture_output=True).returncode == 0, 30)
        assert ready, podman.log(name)
        env = {"CURL_CA_BUNDLE": str(folder / "state" / "ca" / "root.pem")}
        call = ["curl", "-sS", "--max-time", "15", "-d", chat(f"it is {SECRET}"), OPENAI]
        done = lab.run_client(
            [*call, "-H", "content-type: application/json"], env=env, cgroup=watched
        )
        assert done.returncode == 0, done.stderr + podman.log(name)
        assert SECRET not in json.dumps(lab.journal())
        asked = [*cli, "sessions", "--json"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        process = json.loads(told.splitlines()[0])["process"]
        assert process["exe"].endswith("/curl")
        assert process["cgroup"] == f"/{watched.relative_to(cgroup2_root() or '/')}", (
            "the path is the host's, though the container has a cgroup namespace"
        )
    cgroups.remove(watched)

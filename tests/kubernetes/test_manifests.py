"""The manifests: what Kubernetes' own schemas say of them, and that they fit the daemon."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from milecastle import __version__, policy, settings
from milecastle.cli.main import main as cli
from milecastle.daemon import launch, pods
from milecastle.daemon.main import parser as daemon_arguments
from milecastle.daemon.pods import question

from .manifests import CONTAINER, DOCUMENTS, FILES, FOLDER, POD, POLICY, SETTINGS, of

ROOT = FOLDER.parents[1]
UNIT = ROOT / "systemd" / "milecastled.service"
GIVING_AWAY = {"SETUID", "SETGID", "SETPCAP"}
"""What `daemon/launch.py` takes beside; under systemd it is systemd that starts the children."""
VERSIONS = ("1.30", "1.32", "1.34")
MOUNTS = {volume["mountPath"]: volume for volume in CONTAINER["volumeMounts"]}
VOLUMES = {volume["name"]: volume for volume in POD["volumes"]}

IDS = [f"{document['kind']} {document['metadata']['name']}" for document in DOCUMENTS]


@pytest.fixture(scope="module")
def schemas():
    return pytest.importorskip("kubernetes_validate", reason="pip install '.[dev]' has it")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_kubernetes_accepts_each_document_and_every_key_of_it(schemas, document, version):
    schemas.validate(document, version, strict=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda pod: pod.update(hostPids=True),
        lambda pod: pod["containers"][0].update(image=5),
        lambda pod: pod["containers"][0]["securityContext"].update(privilege=False),
        lambda pod: pod["volumes"][0].pop("name"),
    ],
)
def test_a_mistake_would_be_noticed(schemas, change):
    broken = copy.deepcopy(of("DaemonSet"))
    change(broken["spec"]["template"]["spec"])
    with pytest.raises(schemas.ValidationError):
        schemas.validate(broken, VERSIONS[0], strict=True)


def test_the_files_are_applied_in_an_order_that_works():
    kinds = [document["kind"] for document in DOCUMENTS]
    assert kinds[0] == "Namespace"
    assert kinds[-1] == "DaemonSet"
    assert [file.name for file in FILES] == sorted(file.name for file in FOLDER.iterdir())


def test_everything_is_in_the_namespace_and_refers_to_what_is_there():
    name = of("Namespace")["metadata"]["name"]
    for document in DOCUMENTS:
        assert document["metadata"].get("namespace", name) == name
        assert document["metadata"]["labels"] == of("DaemonSet")["metadata"]["labels"] | (
            document["metadata"]["labels"] if document["kind"] == "Namespace" else {}
        )
    daemonset = of("DaemonSet")["spec"]
    assert daemonset["selector"]["matchLabels"] == daemonset["template"]["metadata"]["labels"]
    assert POD["serviceAccountName"] == of("ServiceAccount")["metadata"]["name"]
    (subject,) = of("ClusterRoleBinding")["subjects"]
    assert (subject["name"], subject["namespace"]) == (POD["serviceAccountName"], name)
    maps = [source["configMap"]["name"] for source in VOLUMES["config"]["projected"]["sources"]]
    assert maps == [d["metadata"]["name"] for d in DOCUMENTS if d["kind"] == "ConfigMap"]
    assert set(VOLUMES) == {mount["name"] for mount in CONTAINER["volumeMounts"]}


# --- rights --------------------------------------------------------------------------------


def test_the_container_may_do_what_the_unit_may_and_make_its_children_unprivileged():
    unit = " ".join(re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE))
    held = CONTAINER["securityContext"]["capabilities"]
    assert held["drop"] == ["ALL"]
    assert set(held["add"]) == {w.removeprefix("CAP_") for w in unit.split()} | GIVING_AWAY
    assert len(held["add"]) == len(set(held["add"]))


def test_it_is_not_privileged_gains_nothing_and_writes_nowhere_else():
    context = CONTAINER["securityContext"]
    assert context["privileged"] is False
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["runAsUser"] == 0
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (POD["hostPID"], POD["hostNetwork"]) == (True, True)
    assert "hostIPC" not in POD


def test_it_may_list_and_watch_pods_and_nothing_else():
    assert of("ClusterRole")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
    ]
    assert POD["automountServiceAccountToken"] is False
    (token, _ca) = VOLUMES["token"]["projected"]["sources"]
    assert token["serviceAccountToken"]["expirationSeconds"] <= 3600
    assert VOLUMES["token"]["projected"]["defaultMode"] == 0o400


# --- what the daemon needs -------------------------------------------------------------------


@pytest.fixture
def configured():
    made, problems = settings.check(SETTINGS, "/etc/milecastle/milecastled.yaml")
    assert problems == []
    return made


def test_what_is_mounted_is_what_the_daemon_reads_and_writes(configured):
    written = {configured.state_dir, configured.run_dir, launch.TMP, Path("/sys/fs/cgroup")}
    read = {configured.policy.parent, settings.SERVICE_ACCOUNT, Path("/sys/kernel/btf")}
    assert {Path(path) for path in MOUNTS} == written | read
    assert {Path(path) for path, mount in MOUNTS.items() if mount.get("readOnly")} == read
    on_the_node = {name for name, volume in VOLUMES.items() if "hostPath" in volume}
    assert on_the_node == {"cgroup", "btf", "state"}, "run and tmp end with the pod"
    for name in on_the_node:
        (path,) = (path for path, mount in MOUNTS.items() if mount["name"] == name)
        assert VOLUMES[name]["hostPath"]["path"] == path


def test_the_settings_ask_for_pods_where_the_pod_has_its_token(configured):
    assert configured.kubernetes == settings.Kubernetes("api")
    environ = {entry["name"]: "node-1" for entry in CONTAINER["env"]}
    assert set(environ) == {pods.ENVIRONMENT["node"], pods.ENVIRONMENT["address"]}
    asked = question(configured.kubernetes, environ | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert (asked.node, asked.server) == ("node-1", "https://10.0.0.1:443")


def test_the_policy_reports_and_changes_nothing():
    made, problems = policy.check(POLICY, "policy.yaml")
    assert problems == []
    assert (made.mode, made.on_failure(None)) == ("monitor", "open")


def test_the_commands_are_the_package_s_own(capsys):
    scripts = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[1]
    probes = [CONTAINER[kind]["exec"]["command"] for kind in
              ("startupProbe", "readinessProbe", "livenessProbe")]  # fmt: skip
    for program, *_rest in (CONTAINER["command"], *probes):
        folder, name = program.rsplit("/", 1)
        assert folder == "/opt/milecastle/bin"
        assert re.search(rf"^{name} = ", scripts, re.MULTILINE)
    options = daemon_arguments().parse_args(CONTAINER["command"][1:])
    assert (str(options.config), options.external) == ("/etc/milecastle/milecastled.yaml", False)
    for _, *words in probes:
        assert cli([*words, "--run-dir", "/nowhere"]) == 3, capsys.readouterr()


def test_the_image_is_of_this_version_and_its_memory_is_enough_for_the_units():
    assert CONTAINER["image"] == f"milecastle:{__version__}"
    most = sum(
        int(size) * {"M": 1, "G": 1024}[unit]
        for file in ("milecastled", "milecastle-proxy@", "milecastle-signer", "milecastle-pods")
        for size, unit in re.findall(
            r"^MemoryMax=(\d+)([MG])$", (UNIT.parent / f"{file}.service").read_text(), re.MULTILINE
        )
    )
    assert most <= int(CONTAINER["resources"]["limits"]["memory"].removesuffix("Gi")) * 1024


def test_the_readme_applies_them_under_the_names_that_they_have():
    page = (ROOT / "README.md").read_text()
    assert "kubectl apply -f config/kubernetes/" in page
    name = of("DaemonSet")["metadata"]
    assert f"-n {name['namespace']} rollout status daemonset/{name['name']}" in page

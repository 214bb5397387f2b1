"""Paths as runtimes and kubelets write them, each with what it stands for."""

import pytest

from milecastle.host.containers import Place, containers, place

ID = "3f2a" * 16
OTHER = "9bcd" * 16
UID = "6a5cbd5e-8a3f-4c3d-9f10-2f6f4f7a1b2c"
SLICED = UID.replace("-", "_")
STATIC = "b1946ac92492d2347c6235b4d2611184"
"""A static pod's uid is the hash of its manifest."""

BURSTABLE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICED}.slice"
BEST_EFFORT = f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SLICED}.slice"
GUARANTEED = f"/kubepods.slice/kubepods-pod{SLICED}.slice"
NODE = f"/system.slice/docker-{OTHER}.scope"
"""Where kind runs a node."""


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        (f"/docker/{ID}", "docker"),
        (f"/system.slice/docker-{ID}.scope", "docker"),
        (f"/system.slice/docker-{ID}.scope/init.scope", "docker"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope", "docker"),
        (f"/system.slice:docker:{ID}", "docker"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman"),
        (f"/libpod_parent/libpod-{ID}", "podman"),
        (f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope", "podman"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", "podman"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{OTHER}.slice"
         f"/libpod-{ID}.scope/container", "podman"),
        (f"/system.slice/web.service/libpod-payload-{ID}", "podman"),
        (f"/system.slice/nerdctl-{ID}.scope", "containerd"),
        (f"/default/{ID}", "containerd"),
        (f"/k8s.io/{ID}", "containerd"),
        (f"/ci/{ID}", None),
        (f"/{ID}", None),
        (ID, None),
    ],
)  # fmt: skip
def test_a_container_outside_of_kubernetes(path, runtime):
    assert place(path) == Place(ID, runtime)


@pytest.mark.parametrize(
    ("path", "runtime", "uid", "qos"),
    [
        (f"{BURSTABLE}/cri-containerd-{ID}.scope", "containerd", UID, "burstable"),
        (f"{BEST_EFFORT}/crio-{ID}.scope", "cri-o", UID, "besteffort"),
        (f"{BEST_EFFORT}/crio-{ID}.scope/container", "cri-o", UID, "besteffort"),
        (f"{GUARANTEED}/docker-{ID}.scope", "docker", UID, "guaranteed"),
        (f"{GUARANTEED}/libpod-{ID}.scope", "podman", UID, "guaranteed"),
        (f"/kubepods/burstable/pod{UID}/{ID}", "containerd", UID, "burstable"),
        (f"/kubepods/besteffort/pod{UID}/crio-{ID}", "cri-o", UID, "besteffort"),
        (f"/kubepods/pod{UID}/{ID}", "containerd", UID, "guaranteed"),
        (f"/kubepods/burstable/pod{STATIC}/{ID}", "containerd", STATIC, "burstable"),
        (f"/kubepods.slice/kubepods-pod{STATIC}.slice/crio-{ID}.scope", "cri-o", STATIC,
         "guaranteed"),
        # containerd with cgroupfs below a kubelet with systemd
        (f"/system.slice/containerd.service/kubepods-burstable-pod{SLICED}.slice:cri-containerd:{ID}",
         "containerd", UID, "burstable"),
        # kind, k3d: the node is a container itself
        (f"{NODE}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"
         f"/kubelet-kubepods-burstable-pod{SLICED}.slice/cri-containerd-{ID}.scope",
         "containerd", UID, "burstable"),
        (f"/docker/{OTHER}/kubelet/kubepods/besteffort/pod{UID}/{ID}", "containerd", UID,
         "besteffort"),
        (f"/docker/{OTHER}/kubepods/burstable/pod{UID}/{ID}", "containerd", UID, "burstable"),
        # from within a cgroup namespace, the way up
        (f"/../../kubepods-burstable-pod{SLICED}.slice/cri-containerd-{ID}.scope", "containerd",
         UID, "burstable"),
    ],
)  # fmt: skip
def test_a_container_of_a_pod(path, runtime, uid, qos):
    assert place(path) == Place(ID, runtime, uid, qos)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/user.slice/session-1.scope",
        "/system.slice/kubelet.service",
        "/kubepods.slice/kubepods-burstable.slice",
        "/kubepods/burstable",
        f"/burstable/pod{UID}",
        f"/x/{ID[:40]}",
        f"/{ID}a",
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/system.slice/crio-conmon-{ID}.scope",
        f"/system.slice/{ID}.service",
    ],
)
def test_other_paths_stand_for_nothing(path):
    assert place(path) == Place()


def test_a_pod_without_a_container_is_a_pod():
    assert place(BURSTABLE) == Place(None, None, UID, "burstable")


def test_of_nested_containers_the_innermost_is_the_process_s():
    path = f"{BURSTABLE}/cri-containerd-{OTHER}.scope/docker/{ID}"
    assert place(path) == Place(ID, "docker", UID, "burstable")
    assert [*containers(path)] == [(OTHER, "containerd"), (ID, "docker")]


def test_a_container_that_makes_cgroups_stays_in_its_own_pod():
    forged = GUARANTEED.replace(SLICED, "0" * 32)
    path = f"{BURSTABLE}/cri-containerd-{OTHER}.scope{forged}/cri-containerd-{ID}.scope"
    assert (place(path).pod, place(path).qos) == (UID, "burstable")


def test_a_user_s_own_cgroups_make_no_pod():
    path = f"/user.slice/user-7.slice/user@7.service{BURSTABLE}/cri-containerd-{ID}.scope"
    assert place(path) == Place(ID, "containerd")

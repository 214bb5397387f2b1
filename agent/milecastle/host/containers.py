"""Which container and which pod a cgroup path stands for, by the names that runtimes give. Pure.

Two drivers write two styles: systemd's (``docker-ID.scope``, ``kubepods-burstable-podUID.slice``)
and cgroupfs's (``docker/ID``, ``kubepods/burstable/podUID/ID``); where runtime and kubelet do not
agree on the driver, all of it is one name (``...-podUID.slice:cri-containerd:ID``). Nodes that are
containers themselves (kind, k3d, minikube) put one inside the other.

Whoever may make cgroups may give them any name. What is outermost was named by root, so a pod is
the outermost one; below a user's own service manager nothing is taken for a pod.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

PREFIXES: Mapping[str, str] = {
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
    "crio": "cri-o",
    "cri-containerd": "containerd",
    "containerd": "containerd",
    "nerdctl": "containerd",
}
"""What stands before the id: ``libpod-ID``. The monitors beside them (``libpod-conmon-ID``,
``crio-conmon-ID``) are not containers."""
PARENTS: Mapping[str, str] = {"docker": "docker", "k8s.io": "containerd", "default": "containerd"}
"""The folder of an id without a prefix: Docker's own, and containerd's namespaces."""
IN_A_POD = "containerd"
"""Without a prefix in a pod. CRI-O has one; cri-dockerd does it too, and only the API can tell."""

CONTAINER = re.compile(r"(?:([a-z]+(?:-[a-z]+)*)[-:])?([0-9a-f]{64})(?:\.scope)?")
SLICE = re.compile(r"(?:[a-z0-9_.-]+-)?kubepods(?:-(burstable|besteffort))?-pod([0-9a-z_]{1,64})")
FOLDER = re.compile(r"pod([0-9a-z-]{1,64})")
GUARANTEED = "guaranteed"
USERS_MANAGER = re.compile(r"user@[0-9]+\.service")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process is, as far as a cgroup path tells."""

    container: str | None = None
    """64 hexadecimal digits; of nested containers the innermost."""
    runtime: str | None = None
    """``docker``, ``containerd``, ``cri-o`` or ``podman``; None where the path does not say."""
    pod: str | None = None
    """The pod's uid as the kubelet writes it; of a static pod the hash of its manifest."""
    qos: str = ""
    """``guaranteed``, ``burstable`` or ``besteffort``; "" without a pod."""


NOWHERE = Place()


@lru_cache(1024)
def place(path: str) -> Place:
    """Return what a path of the cgroup tree says."""
    container, runtime = next(reversed([*containers(path)]), (None, None))
    pod, qos = pod_of(path.split("/"))
    return Place(container, runtime, pod, qos) if container or pod else NOWHERE


def containers(path: str) -> Iterator[tuple[str, str | None]]:
    """Yield the containers on the path with their runtimes, the outermost first."""
    parts = path.split("/")
    for at, part in enumerate(parts):
        found = CONTAINER.fullmatch(part.rpartition(".slice:")[2])
        if found is None or (found[1] and found[1] not in PREFIXES):
            continue
        if found[1]:
            yield found[2], PREFIXES[found[1]]
        elif at and pod_at(parts, at - 1):
            yield found[2], IN_A_POD
        else:
            yield found[2], PARENTS.get(parts[at - 1]) if at else None


def pod_of(parts: Sequence[str]) -> tuple[str | None, str]:
    """Return uid and QoS class of the outermost pod on a path; (None, "") without one."""
    for at, part in enumerate(parts):
        if USERS_MANAGER.fullmatch(part):
            break
        if found := pod_at(parts, at):
            return found
    return None, ""


def pod_at(parts: Sequence[str], at: int) -> tuple[str, str] | None:
    """Return uid and QoS class of the pod that one part of a path names."""
    name, ending, _ = parts[at].partition(".slice")
    if ending and (found := SLICE.fullmatch(name)):
        return found[2].replace("_", "-"), found[1] or GUARANTEED
    if found := FOLDER.fullmatch(parts[at]):
        match parts[max(at - 2, 0) : at]:
            case [*_, "kubepods"]:
                return found[1], GUARANTEED
            case ["kubepods", "burstable" | "besteffort" as qos]:
                return found[1], qos
    return None

"""The pods of this node as kubelet or API server told of them, found by a cgroup's path.

The path says a pod's uid, and the kernel answers for the path; the list says what that pod is
called. A pod that has ended stays for a while: what it did is still being written down.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from milecastle.host.containers import containers, place
from milecastle.model import Pod, Process

ENDED = 1024
"""Pods that are remembered after their end; the longest ended go first."""


@dataclass(frozen=True, slots=True)
class Container:
    runtime: str
    name: str


@dataclass(frozen=True, slots=True)
class ListedPod:
    """One pod of the list."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    containers: Mapping[str, Container] = field(default_factory=dict)
    """By their ids."""
    alias: str = ""
    """The uid in the cgroup's path where that is another: of a static pod."""


class PodTable:
    """Name pods. ``missed`` is called where one is asked for that is not in the list."""

    def __init__(self, missed: Callable[[], None] = lambda: None) -> None:
        self._missed = missed
        self._pods: dict[str, ListedPod] = {}
        self._aliases: dict[str, str] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pods) - len(self._ended)

    def replace(self, pods: Iterable[ListedPod]) -> None:
        """Take these for all that there are now."""
        present = set()
        for pod in pods:
            self.add(pod)
            present.add(pod.uid)
        for uid in [uid for uid in self._pods if uid not in present]:
            self.end(uid)

    def add(self, pod: ListedPod) -> None:
        """Take in a new pod, or what is new of one."""
        self._pods[pod.uid] = pod
        self._ended.pop(pod.uid, None)
        if pod.alias:
            self._aliases[pod.alias] = pod.uid

    def end(self, uid: str) -> None:
        """Note that a pod is gone."""
        if uid not in self._pods or uid in self._ended:
            return
        self._ended[uid] = None
        while len(self._ended) > ENDED:
            oldest, _ = self._ended.popitem(last=False)
            forgotten = self._pods.pop(oldest)
            if self._aliases.get(forgotten.alias) == oldest:
                del self._aliases[forgotten.alias]

    def identify(self, path: str) -> Pod | None:
        """Return the pod of a cgroup path, None where it is in none.

        A pod that is not in the list has uid and QoS class only.
        """
        where = place(path)
        if where.pod is None:
            return None
        listed = self._pods.get(self._aliases.get(where.pod, where.pod))
        if listed is None:
            self._missed()
            return Pod(where.pod, where.qos)
        found = (listed.containers.get(each) for each, _ in containers(path))
        container = next(filter(None, found), None)
        return Pod(
            uid=listed.uid,
            qos=where.qos,
            namespace=listed.namespace,
            name=listed.name,
            labels=listed.labels,
            container=container.name if container else None,
        )

    def complete(self, process: Process) -> Process:
        """Return the process with all that is known of its pod by now."""
        if process.pod is None or process.pod.container is not None:
            return process
        pod = self.identify(process.cgroup)
        if pod is None or pod == process.pod:
            return process
        runtime = process.runtime
        listed = self._pods.get(pod.uid)
        if listed and (known := listed.containers.get(process.container or "")):
            runtime = known.runtime  # surer than the path's style
        return replace(process, pod=pod, runtime=runtime)

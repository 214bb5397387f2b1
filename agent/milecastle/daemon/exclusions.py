"""Which containers and pods are left alone, by what the settings name. Decides; touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from milecastle.host import containers, place
from milecastle.model import Pod
from milecastle.policy import any_of
from milecastle.settings import Exclusion

type Identify = Callable[[str], Pod | None]
"""Names the pod that a cgroup path stands for, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of the setting; what it does not name fits."""

    pod: Callable[[str], bool] | None
    container: Callable[[str], bool] | None
    cgroup: Callable[[str], bool] | None

    @classmethod
    def of(cls, entry: Exclusion) -> Pattern:
        """Compile the globs of an entry."""
        written = (entry.pod, entry.container, entry.cgroup)
        return cls(*(any_of(globs) if globs else None for globs in written))

    def fits(self, path: str, pod: Pod | None) -> bool | None:
        """Whether a cgroup path fits; None: it does if its pod has a fitting name."""
        if self.cgroup and not self.cgroup(path):
            return False
        if self.container and not any(self.container(each) for each, _ in containers(path)):
            return False
        if self.pod is None:
            return True
        if pod is None:
            return False
        return self.pod(f"{pod.namespace}/{pod.name}") if pod.name else None


class Exclusions:
    """The setting as a question."""

    def __init__(self, entries: Iterable[Exclusion], identify: Identify) -> None:
        self._patterns = [Pattern.of(entry) for entry in entries]
        self._identify = identify

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def cover(self, paths: Iterable[str]) -> bool | None:
        """Whether a network namespace with processes in these cgroups is left alone.

        One that fits is enough: they share the namespace. None where a pod's name would tell, and
        is not known yet.
        """
        answers = set()
        for path in set(paths):
            pod = self._identify(path) if place(path).pod else None
            answers |= {pattern.fits(path, pod) for pattern in self._patterns}
        return True if True in answers else None if None in answers else False

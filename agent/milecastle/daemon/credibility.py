"""Which peers on our sockets are believed to be our children: by the kernel's word alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from milecastle.daemon import cgroups
from milecastle.daemon.peer import Peer
from milecastle.daemon.supervisor import Child
from milecastle.host import cgroup_path

UNITS: Mapping[str, str] = {"worker": "milecastle-proxy", "pods": "milecastle-pods"}
"""Under systemd, a child is believed by the unit that its cgroup belongs to."""

type Credible = Callable[[Peer], bool]
"""Says whether a peer is one of our children."""


def of_children(name: str, children: Callable[[], Collection[Child]]) -> Credible:
    """Believe the processes of this name that the daemon has started itself."""
    return lambda peer: (
        peer.credentials.pid in {child.pid for child in children() if child.spec.name == name}
    )


def of_unit(name: str, uid: int, exempt: Callable[[int], None] = lambda _cgroup: None) -> Credible:
    """Believe this user's processes in the unit; ``exempt`` is told the id of their cgroup."""
    root = cgroups.resolve("auto")

    def credible(peer: Peer) -> bool:
        path = cgroup_path(peer.credentials.pid)
        unit = path.rsplit("/", 1)[-1]
        if peer.credentials.uid != uid or not unit.startswith(UNITS[name]):
            return False
        exempt(cgroups.identity(root / path.lstrip("/")))
        return True

    return credible

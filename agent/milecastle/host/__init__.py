"""What /proc, psutil and the cgroup tree say about processes. Reads only; runs as root.

Every byte here was chosen by some process on the host: lengths are bounded, text is decoded
with replacement, and nothing that is read is ever executed, opened or trusted as a path, but
for the executable behind ``/proc/PID/exe``, which is only hashed.
"""

from milecastle.host.census import Census, Executable
from milecastle.host.cgroups import cgroup2_root, cgroup_path, see_the_whole_tree, unified_path
from milecastle.host.chronicle import Biography, Chronicle, Image
from milecastle.host.containers import Place, containers, place
from milecastle.host.hashes import ExecutableHashes
from milecastle.host.holders import Search, holders
from milecastle.host.namespaces import within
from milecastle.host.processes import ProcessTable
from milecastle.host.routes import has_ipv6
from milecastle.host.sockdiag import Held, connections
from milecastle.host.sockets import netns_cookie, peer_credentials

__all__ = [
    "Biography",
    "Census",
    "Chronicle",
    "Executable",
    "ExecutableHashes",
    "Held",
    "Image",
    "Place",
    "ProcessTable",
    "Search",
    "cgroup2_root",
    "cgroup_path",
    "connections",
    "containers",
    "has_ipv6",
    "holders",
    "netns_cookie",
    "peer_credentials",
    "place",
    "see_the_whole_tree",
    "unified_path",
    "within",
]

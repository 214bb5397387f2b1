"""Hosts that the operator has intercepted beside the catalogue, as one more file of it.

A file, because everybody reads the same: the kernel gets the names, the signer its leave, the CA
its constraints. The service that they are is known by nobody; what is said there is an AI call if
it looks like one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

UNKNOWN_AI = "unknown-ai"
"""The id of the service that such hosts belong to."""
LOCAL_AI = "local-ai"
"""The id of a server of this host that nobody knows by its program or port."""
LOCAL = frozenset({"local_server", "local_gateway"})
"""Categories of what runs on this host."""
UNKNOWN = "unknown"
"""Their category where only what has the shape of a call is one."""


def document(hosts: Iterable[str], *, shape: bool) -> str:
    """Return the text of a catalogue file; ``*.name`` is every host below a name.

    Without ``shape`` all that is said to the hosts is taken for calls, as with any service.
    """
    patterns = [host[1:] if host.startswith("*.") else host for host in hosts]
    service = {
        "id": UNKNOWN_AI,
        "name": "Unknown AI service",
        "vendor": "unknown",
        "category": UNKNOWN if shape else "model_api",
        "domains": patterns,
    }
    return json.dumps({"services": [service]})  # YAML holds JSON

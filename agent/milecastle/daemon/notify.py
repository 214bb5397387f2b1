"""Tell systemd what the daemon is doing (sd_notify(3)); silent where nobody listens."""

from __future__ import annotations

import os
import socket


def notify(**state: str) -> None:
    """Send each argument as a ``NAME=value`` line to $NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    message = "\n".join(f"{name}={value}" for name, value in state.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(message.encode(), address)
        except OSError:
            return  # a dead service manager must not stop the daemon

"""How much is seen of what a process says to a service, and why not more. Tables; decides.

*inspected*: the content was read. *metadata only*: who talks to which service, when and how much,
is known, and the content is not. *blind*: not even that; nothing was there to see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milecastle.model import Action

INSPECTED = "inspected"
METADATA = "metadata only"
BLIND = "blind"

CODES: Mapping[str, str] = {
    # said by the kernel
    "policy": "the policy or the catalogue leaves it encrypted",
    "bound_device": "its socket is bound to a network device",
    "heartbeat": "no worker was alive",
    "no_listener": "there is no listener in its network namespace",
    "quic": "QUIC",
    "excluded": "the settings leave its network namespace alone",
    "local": "a server on this host, whose port is not intercepted",
    "late_name": "its address was not known; the name came with the handshake",
    "older": "it is older than the agent",
    # said by the worker of a connection
    "not_listed": "a name outside the catalogue, at an address of a service",
    "no_name": "the handshake names no host",
    "not_http": "it speaks neither TLS nor HTTP",
    "client_refused_certificate": "the client refused the CA",
    "must_inspect": "the policy wants it inspected, and it could not be",
    "no_certificate": "there was no certificate for the name",
    "upstream_refused": "the service refused the handshake; it may want a client certificate",
    # said by the worker of an exchange
    "websocket_not_inspected": "a WebSocket",
    "unknown_shape": "a request of unknown shape",
    "unreadable_body": "a body that could not be read",
    "body_too_large": "a body over the limit",
    "overloaded": "the worker was at the limit of its memory or of open exchanges",
    "failed": "the inspection failed",
    # said of an exchange that was inspected all the same
    "unknown_format": "a request of no known format: every string in it is read",
    "changed_shape": "its shape has changed since this version: every string in it is read",
    # said by the daemon
    "agent_down": "the agent was down",
    "agent_died": "the agent ended unexpectedly",
    "unreported": "there was no room to report it",
}
"""What a reason is called in a database, and in a sentence."""
STRANGE = frozenset({"unknown_format", "changed_shape"})
NO_LOOK_WANTED = frozenset(
    {"connection_closed", "malformed_request", "host_mismatch", "must_inspect"}
)
"""Errors of exchanges that never came to anything: nothing passed that could have been read."""


def of_connection(outcome: str, code: str) -> str | None:
    """Return the state that a connection alone stands for, None where it says nothing yet."""
    return METADATA if outcome in ("direct", "passed through") and code != "not_listed" else None


def of_exchange(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return state and code of a recorded exchange; None where nothing passed.

    ``record`` has passed `records.parse`.
    """
    verdict = record["verdict"]
    error = record["attributes"].get("error.type") or ""
    failures = list((record.get("failures") or {}).values())
    if "gen_ai.operation.name" in record["attributes"] and not failures:
        strange = str(record.get("strange") or "")
        return INSPECTED, strange if strange in STRANGE else ""
    if Action(verdict.get("applied") or verdict["action"]).stops or error in NO_LOOK_WANTED:
        return None
    said = next((each for each in (*failures, error) if each in CODES), "")
    if said:
        return METADATA, said
    unread = any(each.startswith("ParseError") for each in failures)
    return METADATA, "unreadable_body" if unread else "failed"

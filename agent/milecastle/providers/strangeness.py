"""Whether an exchange was read by a format that knows it, or only string by string.

Web interfaces change without notice. Then nothing goes uninspected, for every string that no field
claims is read, but nobody says it as a message any more: that is how a change is noticed.
"""

from __future__ import annotations

from collections.abc import Iterable

from milecastle.model import Exchange, Leaf, Message
from milecastle.providers.leaves import is_prose

UNKNOWN = "unknown_format"
CHANGED = "changed_shape"
WEB = "-web"
"""How the names of the formats of web interfaces end."""


def strange(exchange: Exchange) -> str:
    """Return how an exchange is not what its format expects: "" where it is."""
    if exchange.format.startswith("unknown"):
        return UNKNOWN
    if not exchange.format.endswith(WEB) or exchange.error:
        return ""
    asked = _only_loose(exchange.input_messages, exchange.unclaimed)
    answered = _only_loose(exchange.output_messages, exchange.unclaimed_output)
    return CHANGED if asked or answered else ""


def _only_loose(messages: Iterable[Message], loose: Iterable[Leaf]) -> bool:
    """Tell whether something is said, but in no message."""
    said = any(part.text or part.uri or part.size for each in messages for part in each.parts)
    return not said and any(is_prose(leaf.text) for leaf in loose)

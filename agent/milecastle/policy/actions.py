"""What a rule may do, as a table: what each action means, needs, and falls back to.

An action is taken only where it can be. Where it can't, the table names what is done instead; it
never names something that lets more through. ``fitting`` follows the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from milecastle.model import Action, Direction, Provenance

OUTSIDE = frozenset({"tool_result", "tool_definition", "file", "web"})
"""Provenances of text that neither the user nor the model wrote."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an action would be taken: one message, or one finding in it."""

    direction: Direction
    streamed: bool = False
    """Part of the message is with its receiver already."""
    rewritable: bool = True
    """False where another body would not be accepted: it is signed, or has no known form."""
    provenance: Provenance | None = None
    """Of the finding; None for a message as a whole."""


NEEDS: Mapping[str, Callable[[Place], bool]] = {
    "a body that can be rewritten": lambda place: place.rewritable,
    "a request": lambda place: place.direction == "request",
    "text from outside": lambda place: place.provenance in OUTSIDE,
    "a stream": lambda place: place.streamed,
    "a whole message": lambda place: not place.streamed,
    "a connection not yet made": lambda _: False,
}
"""What an action can need of its place, in words."""


@dataclass(frozen=True, slots=True)
class Meaning:
    doc: str
    """One sentence for the person who writes the policy."""
    needs_finding: bool = False
    """Whether it acts on findings, so that a rule without ``when.finding`` makes no sense."""
    needs: tuple[str, ...] = ()
    """Keys of NEEDS, all of which have to hold."""
    otherwise: Action | None = None
    """What is done where one of them does not."""


ACTIONS: Mapping[Action, Meaning] = {
    Action.ALLOW: Meaning("Let it through; with `exception`, also take away what it covers."),
    Action.ALERT: Meaning("Let it through and report it."),
    Action.COACH: Meaning("Let it through, report it, and tell whoever asked the reason."),
    Action.PSEUDONYMISE: Meaning(
        "Replace what the rule's findings cover by typed placeholders, and put them back into the "
        "answer.",
        needs_finding=True,
        needs=("a request", "a body that can be rewritten"),
        otherwise=Action.REDACT,
    ),
    Action.REDACT: Meaning(
        "Replace what the rule's findings cover by [REDACTED:detector-rule], let the rest through.",
        needs_finding=True,
        needs=("a body that can be rewritten",),
        otherwise=Action.BLOCK,
    ),
    Action.NEUTRALISE: Meaning(
        "Replace an injected passage in what came from outside by a marked notice.",
        needs_finding=True,
        needs=("text from outside", "a body that can be rewritten"),
        otherwise=Action.REDACT,
    ),
    Action.CUT: Meaning(
        "End a streamed answer where it stands, in the provider's own grammar.",
        needs=("a stream",),
        otherwise=Action.BLOCK,
    ),
    Action.LIMIT: Meaning(
        "Let it through up to the rule's `limit`; beyond that answer as `block` does.",
        needs=("a request",),
        otherwise=Action.BLOCK,
    ),
    Action.BLOCK: Meaning(
        "Answer with the provider's own error instead; nothing is let through.",
        needs=("a whole message",),
        otherwise=Action.CUT,
    ),
    Action.REFUSE: Meaning(
        "Refuse the connection itself, in the kernel.",
        needs=("a connection not yet made",),
        otherwise=Action.BLOCK,
    ),
}
"""Weakest first, as in the enumeration; the strongest action of all matching rules is taken."""


def fitting(action: Action, place: Place) -> Action:
    """Return the action, or what is done instead where it can't be done at this place."""
    for _ in ACTIONS:
        meaning = ACTIONS[action]
        if meaning.otherwise is None or all(NEEDS[need](place) for need in meaning.needs):
            break
        action = meaning.otherwise
    return action

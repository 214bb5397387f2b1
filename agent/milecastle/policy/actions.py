"""What a rule may do, as a table: what each action means and what it asks of its rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from milecastle.model import Action


@dataclass(frozen=True, slots=True)
class Meaning:
    doc: str
    """One sentence for the person who writes the policy."""
    needs_finding: bool = False
    """Whether it acts on findings, so that a rule without ``when.finding`` makes no sense."""


ACTIONS: Mapping[Action, Meaning] = {
    Action.ALLOW: Meaning("Let it through; with `exception`, also take away what it covers."),
    Action.ALERT: Meaning("Let it through and report it."),
    Action.REDACT: Meaning(
        "Replace what the rule's findings cover by [REDACTED:detector-rule], let the rest through.",
        needs_finding=True,
    ),
    Action.BLOCK: Meaning("Answer with the provider's own error instead; nothing is let through."),
}
"""Weakest first, as in the enumeration; the strongest action of all matching rules is taken."""

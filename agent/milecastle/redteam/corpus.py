"""The attacks of config/redteam/: what is tried, where it stands, and what it goes against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from milecastle.model import Problem
from milecastle.redteam.disguises import DISGUISES
from milecastle.redteam.messages import PLACES
from milecastle.yamldoc import Field, Report, choice, compose, record, sequence, text


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack. Names in braces are filled with values of `bait`."""

    id: str
    title: str
    against: tuple[str, ...]
    """OWASP ids: LLM01 .. LLM10 (2025), ASI01 .. ASI10 (2026)."""
    place: str
    """A key of PLACES."""
    text: str
    """The whole text; ``{payload}`` stands for the payload."""
    payload: str
    """What must not get through, and what is disguised."""
    disguise: str = "text"
    """A key of DISGUISES."""


ATTACK: dict[str, Field] = {
    "id": Field(text("an id", r"[a-z0-9][a-z0-9-]{0,60}"), "Names the attack.", required=True),
    "title": Field(text("a title", limit=200), "What is tried.", required=True),
    "against": Field(
        sequence(text("an OWASP id", r"(?:LLM|ASI)(?:0[1-9]|10)"), limit=8),
        "LLM01 .. LLM10, ASI01 .. ASI10.",
        required=True,
    ),
    "place": Field(choice(*PLACES), "Where it stands in the exchange.", required=True),
    "text": Field(text("a text"), "The whole; {payload} is the part that does harm."),
    "payload": Field(text("a text"), "What must not get through.", required=True),
    "disguise": Field(choice(*DISGUISES), "How it may be disguised; text where absent."),
}


def attack(payload: str, against: tuple[str, ...], text: str = "{payload}", **given: str) -> Attack:
    return Attack(payload=payload, against=against, text=text, **given)


CORPUS = record(
    lambda attacks: attacks,
    {"attacks": Field(sequence(record(attack, ATTACK)), "The attacks.", required=True)},
)


def read(files: Iterable[tuple[str, str]]) -> tuple[list[Attack], list[Problem]]:
    """Return the attacks of files (name, content), and what is wrong with the files."""
    attacks: dict[str, Attack] = {}
    problems: list[Problem] = []
    for name, content in files:
        tree, wrong = compose(content, name)
        report = Report(name, wrong)
        for each in (CORPUS.read(tree, report) if tree is not None else None) or ():
            if each.id in attacks:
                report.problems.append(Problem(name, 0, f"{each.id!r} stands here twice"))
            attacks[each.id] = each
        problems += report.problems
    return list(attacks.values()), problems

"""AI clients: by what a process is and by what a request says of its sender.

Decides; touches nothing. What cannot be chosen counts first: an executable before a script, a
script before a title. Of several clients that fit, the one that acts counts before the one that
it runs in: an agent inside an editor's extension host is the agent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property, lru_cache
from typing import Literal

from milecastle import shipped as shipped_files
from milecastle.model import Problem
from milecastle.yamldoc import Field, Report, choice, compose, one_or_many, record, sequence, text

type Kind = Literal["agent", "assistant", "local_server", "editor", "browser", "sdk", "library"]
KINDS: tuple[Kind, ...] = (
    "agent",
    "assistant",
    "local_server",
    "editor",
    "browser",
    "sdk",
    "library",
)
"""The first that fits says most about who acts."""
HOSTS = frozenset({"editor", "browser"})
"""Kinds that run others' code: what a request says of itself is the better word."""
LONGEST = 4096
MOST = 1000
REMEMBERED = 4096


@dataclass(frozen=True)
class Client:
    """One client, and the patterns that it is known by."""

    id: str
    name: str
    vendor: str
    kind: Kind
    exe: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    title: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    user_agent: tuple[str, ...] = ()

    @cached_property
    def tests(self) -> Mapping[str, re.Pattern[str]]:
        """Return what each evidence has to match as a whole."""
        return {
            evidence: re.compile("|".join(map(translate, patterns)))
            for evidence in EVIDENCE
            if (patterns := getattr(self, evidence))
        }

    def fits(self, evidence: str, value: str) -> bool:
        """Whether this evidence is one of the client's."""
        test = self.tests.get(evidence)
        return test is not None and test.match(value) is not None


EVIDENCE = ("exe", "script", "title", "argv", "user_agent")
"""Strongest first."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A client, and what gave it away."""

    id: str
    evidence: str
    """``script /opt/claude-code/cli.js``."""


class Clients:
    """All clients that are known. Of those that fit alike, the one that stands first."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self.clients: Mapping[str, Client] = {client.id: client for client in clients}
        self._asked = {each for client in self.clients.values() for each in client.tests}
        self._fitting = lru_cache(REMEMBERED)(self._find)  # few programs run many times

    def of_process(
        self, exe: str | None, script: str | None, title: str = "", argv: Sequence[str] = ()
    ) -> Recognised | None:
        """Return the client that a process is.

        ``title`` is what the program of an interpreter calls itself; "" where there is none.
        """
        said = [("exe", exe), ("script", script), ("title", title)]
        if "argv" in self._asked:
            said += [("argv", word) for word in argv]
        return self._best(said)

    def of_user_agent(self, user_agent: str) -> Recognised | None:
        """Return the client that a request says it comes from."""
        return self._best([("user_agent", user_agent)])

    def is_host(self, client: str) -> bool:
        """Whether a client runs others' code, as editors and browsers do."""
        known = self.clients.get(client)
        return known is not None and known.kind in HOSTS

    def _best(self, said: Iterable[tuple[str, str | None]]) -> Recognised | None:
        found = [
            (KINDS.index(client.kind), strength, client.id, evidence, value)
            for strength, (evidence, value) in enumerate(said)
            if value and (client := self._fitting(evidence, value[:LONGEST]))
        ]
        if not found:
            return None
        _, _, name, evidence, value = min(found, key=lambda each: each[:2])
        return Recognised(name, f"{evidence.replace('_', ' ')} {value[:200]}")

    def _find(self, evidence: str, value: str) -> Client | None:
        fit = (one for one in self.clients.values() if one.fits(evidence, value))
        return min(fit, key=lambda client: KINDS.index(client.kind), default=None)


PATTERN = text("a pattern", limit=200)
CLIENT: dict[str, Field] = {
    "id": Field(
        text("a slug", r"[a-z0-9][a-z0-9-]{0,62}"), "The name for policies.", required=True
    ),
    "name": Field(text("a name", limit=100), "The name for people.", required=True),
    "vendor": Field(text("a name", limit=100), "Who makes it.", required=True),
    "kind": Field(choice(*KINDS), "What it does.", required=True),
    "exe": Field(one_or_many(PATTERN), "Paths of its executable."),
    "script": Field(one_or_many(PATTERN), "What an interpreter runs."),
    "title": Field(one_or_many(PATTERN), "What it calls itself, where a script is not shown."),
    "argv": Field(one_or_many(PATTERN), "Any one argument."),
    "user_agent": Field(one_or_many(PATTERN), "What its requests say."),
}
KEYS: dict[str, Field] = {
    "clients": Field(sequence(record(Client, CLIENT), limit=MOST), "The clients.", required=True),
}
FILE = record(lambda clients: clients, KEYS)


def load(content: str, file: str) -> tuple[Clients, list[Problem]]:
    """Return the clients of a file, and every problem that it holds; what is broken is left out."""
    tree, problems = compose(content, file)
    report = Report(file, problems)
    listed = (FILE.read(tree, report) if tree is not None else None) or ()
    seen: set[str] = set()
    for client in listed:
        if client.id in seen:
            report.problems.append(Problem(file, 0, f"the id {client.id!r} is there twice"))
        seen.add(client.id)
        if not client.tests:
            report.problems.append(Problem(file, 0, f"{client.id} has nothing to be known by"))
    return Clients(listed), report.problems


def shipped() -> Clients:
    """Return the clients that come with milecastle. ValueError: the installation is broken."""
    file, content = shipped_files.text("config", "clients.yaml")
    clients, problems = load(content, file)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    return clients

"""Catalogue files -> Catalogue, with every problem that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from milecastle import shipped as shipped_files
from milecastle.catalogue.catalogue import SELFTEST, Call, Catalogue, Entry, Verified
from milecastle.catalogue.names import count, expand, fault, gaps
from milecastle.model import Problem, Service
from milecastle.yamldoc import (
    Field,
    Node,
    Report,
    Scalar,
    Shape,
    choice,
    compose,
    flag,
    mapping,
    nearest,
    number,
    one_or_many,
    record,
    sequence,
    text,
)

MOST_NAMES = 100_000
"""Patterns in one file, gaps filled; the kernel's trie is sized for as many."""
MOST_FROM_ONE = 2_000
"""Names that one template may stand for."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A service as it stands in a file, gaps in names still open."""

    id: str
    name: str
    vendor: str
    category: str
    verified: Verified = "unverified"
    domains: tuple[tuple[str, Node], ...] = ()
    ports: tuple[int, ...] = ()
    decrypt: bool = True
    note: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    regions: dict[str, tuple[str, ...]] | None = None
    services: tuple[tuple[Listed, Node], ...] = ()


def placed[T](shape: Shape[T]) -> Shape[tuple[T, Node]]:
    """Keep the place of a value, for problems that show only later."""

    def read(node: Node, report: Report) -> tuple[T, Node] | None:
        value = shape.read(node, report)
        return None if value is None else (value, node)

    return Shape(read, shape.schema)


SLUG = text("a slug", r"[a-z0-9][a-z0-9-]{0,62}", hint="lower-case letters, digits and dashes")
WORD = text("a word", r"[a-z][a-z0-9_]{0,40}", hint="lower-case letters, digits and _")
DOMAIN = text("a host name or .suffix", r"\.?[a-z0-9{][a-z0-9._{}-]{0,250}", hint="lower case")
REGION = text("a region", r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

CALL: dict[str, Field] = {
    "format": Field(one_or_many(SLUG), "Wire formats, the usual one first.", required=True),
    "paths": Field(one_or_many(text("a path", limit=300)), "Paths, as documented."),
}
SERVICE: dict[str, Field] = {
    "id": Field(SLUG, "The name for policies and tables; stable.", required=True),
    "name": Field(text("a name", limit=100), "The name for people.", required=True),
    "vendor": Field(text("a name", limit=100), "Who runs it.", required=True),
    "category": Field(WORD, "model_api, coding_assistant, consumer_chat, ...", required=True),
    "verified": Field(
        choice("documented", "suffix", "unverified"), "How the names are known; see the file."
    ),
    "domains": Field(sequence(placed(DOMAIN)), "Exact names, and suffixes that begin with a dot."),
    "ports": Field(sequence(number(1, 65535)), "Usual ports of a local server."),
    "decrypt": Field(flag(), "false: attribute by name only, and keep the names out of the CA."),
    "note": Field(text("a note", limit=300), "What a reader should know."),
    "calls": Field(sequence(record(Call, CALL)), "What is spoken there."),
}
KEYS: dict[str, Field] = {
    "regions": Field(mapping(WORD, sequence(REGION)), "Lists that fill gaps: {aws} in a name."),
    "services": Field(sequence(placed(record(Listed, SERVICE))), "The services."),
}
FILE = record(File, KEYS)


def shipped() -> Catalogue:
    """Return the catalogue that comes with milecastle. ValueError: the installation is broken."""
    catalogue, problems = load(shipped_files.texts("config", "catalogue"))
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    return catalogue


def load(files: Sequence[tuple[str, str]]) -> tuple[Catalogue, list[Problem]]:
    """Return the catalogue of (file, text) pairs and all problems; what is broken is left out.

    A later file's service replaces an earlier file's of the same id, and has the names that
    both claim; its regions are added to those already there.
    """
    problems: list[Problem] = []
    lists: dict[str, list[str]] = {}
    read: list[tuple[File, Report]] = []
    for name, content in files:
        report = Report(name)
        tree, found = compose(content, name)
        report.problems += found
        empty = tree is None or (isinstance(tree, Scalar) and tree.value is None)
        file = None if tree is None or empty else FILE.read(tree, report)
        for each, regions in ((file and file.regions) or {}).items():
            known = lists.setdefault(each, [])
            known += [region for region in regions if region not in known]
        read.append((file or File(), report))
    entries: list[Entry] = []
    for file, report in read:
        entries += entries_of(file, lists, report)
        problems += report.problems
    return Catalogue(entries), problems


def entries_of(file: File, lists: dict[str, list[str]], report: Report) -> list[Entry]:
    """Fill the gaps of one file's names, and note ids and names that it has twice."""
    regions = {region for each in lists.values() for region in each}
    seen: set[str] = {SELFTEST.id}
    claimed: dict[str, str] = {}
    entries = []
    for listed, node in file.services:
        if listed.id in seen:
            report.at(node, f"the id {listed.id!r} is taken", "ids are unique within a file")
        seen.add(listed.id)
        patterns: list[str] = []
        if len(claimed) > MOST_NAMES:
            report.at(node, f"over {MOST_NAMES} names in one file", "this one and the rest are out")
            break
        for template, place in listed.domains:
            for pattern in filled(template, place, lists, regions, report):
                if pattern not in claimed:
                    claimed[pattern] = listed.id
                    patterns.append(pattern)
                elif claimed[pattern] != listed.id:
                    report.at(place, f"{pattern} belongs to {claimed[pattern]!r} already")
        service = Service(listed.id, listed.name, listed.vendor, listed.category, listed.decrypt)
        entries.append(
            Entry(
                service, listed.verified, tuple(patterns), listed.ports, listed.calls, listed.note
            )
        )
    return entries


def filled(
    template: str, place: Node, lists: dict[str, list[str]], regions: set[str], report: Report
) -> list[str]:
    """Return the patterns of one template that are fit to be used."""
    for gap in gaps(template):
        if gap not in lists:
            report.at(place, f"no list of regions is called {gap!r}", nearest(gap, lists))
            return []
    if count(template, lists) > MOST_FROM_ONE:
        report.at(place, f"{template} stands for over {MOST_FROM_ONE} names")
        return []
    patterns = expand(template, lists)
    for pattern in patterns:
        if wrong := fault(pattern, regions):
            report.at(place, f"{pattern}: {wrong}")
            return []
    return patterns

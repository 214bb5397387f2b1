"""`milecastle redteam`: attacks through the inspection; which get through, by OWASP's categories.

Offline, a policy is tried in this process and nothing leaves it. With `--live`, requests go through
the running daemon to a server that the caller names; what is not stopped arrives there.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from milecastle import shipped
from milecastle.cli import faults, offline
from milecastle.cli.command import Verb, json_option
from milecastle.cli.faults import InputError
from milecastle.cli.terminal import Column, Terminal, plural
from milecastle.inspection import Inspector
from milecastle.policy import Policy, check
from milecastle.redteam import DISGUISES, OUTCOMES, Attack, Outcome, Trial, plan, read, run
from milecastle.redteam.messages import REQUESTS

LISTED = 20
"""Attacks that are listed one by one, unless all are asked for."""
APPROVED = "version: 1\nservices: {sanctioned: [openai, anthropic]}\n"
"""Laid over the policy: what is tried is what it does with content, not whom it keeps out."""
COLUMNS = (
    Column("AGAINST"),
    Column("TRIED", right=True),
    *(Column(outcome.upper(), right=True) for outcome in OUTCOMES),
    Column("KEPT OUT", right=True),
)

type Results = Sequence[tuple[Trial, Outcome]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``redteam``."""
    json_option(parser, "one JSON object a line, one for each category")
    parser.add_argument(
        "--category", action="append", default=[], metavar="ID",
        help="LLM01 .. LLM10, ASI01 .. ASI10 (may be repeated; all)",
    )  # fmt: skip
    parser.add_argument(
        "--disguise", action="append", default=[], metavar="NAME",
        help="plain, base64, zero-width, ... (may be repeated; all)",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--policy", type=Path, metavar="FILE", help="a policy (the shipped one)")
    which.add_argument(
        "--preset", choices=presets(), metavar="NAME", help=f"a preset: {', '.join(presets())}"
    )
    which.add_argument(
        "--live", metavar="URL",
        help="through the daemon, to this server (https://...); requests only",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="list all that got through")


def presets() -> list[str]:
    """Return the presets' names."""
    folder = shipped.path("config", "presets")
    return sorted(each.stem for each in folder.glob("*.yaml") if "." not in each.stem)


def redteam(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print what became of the attacks. Exit code 1 if one got through and nobody is told."""
    planned = disguised(plan(chosen(options.category)), options.disguise)
    if options.live:
        from milecastle.cli import live

        trials = [
            replace(trial, provider="openai", stream=False)
            for trial in planned
            if trial.attack.place in REQUESTS
        ]
        results: Results = live.tried(options.live, trials, options.run_dir)
    else:
        inspector = Inspector(offline.catalogue(), offline.engine(), policy(options))
        results = [(trial, run(inspector, trial)) for trial in planned]
    table = tally(results)
    if options.json:
        for category, counts in table.items():
            terminal.json(told(category, counts, results))
    else:
        terminal.table(COLUMNS, [row(*each) for each in table.items()])
        lacking(results, terminal, everything=options.all)
    return faults.FINDINGS if any(outcome == "through" for _, outcome in results) else faults.FINE


def chosen(categories: Sequence[str]) -> list[Attack]:
    """Return the attacks against the categories, all without any."""
    attacks, problems = read(shipped.texts("config", "redteam"))
    offline.refuse(problems)
    wanted = {category.upper() for category in categories}
    known = {each for attack in attacks for each in attack.against}
    if wanted - known:
        missing, there = ", ".join(sorted(wanted - known)), ", ".join(sorted(known))
        raise InputError(f"no attack is against {missing}; there are {there}")
    return [each for each in attacks if not wanted or wanted & set(each.against)]


def disguised(trials: Iterable[Trial], names: Sequence[str]) -> list[Trial]:
    """Return the trials in these disguises, all without any."""
    known = {name for kind in DISGUISES.values() for name in kind}
    if unknown := sorted(set(names) - known):
        raise InputError(f"no disguise is {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return [trial for trial in trials if not names or trial.disguise in names]


def policy(options: argparse.Namespace) -> Policy:
    """Return the policy that is tried, with the services of the trials approved."""
    file: Path = options.policy or shipped.path("config", "policy.yaml")
    if options.preset:
        file = shipped.path("config", "presets", f"{options.preset}.yaml")
    over = [*(offline.overrides(file) if options.policy else []), ("(approved)", APPROVED)]
    compiled, problems = check(offline.text(file), str(file), overrides=over)
    offline.refuse(problems)
    assert compiled is not None, "no problem and no policy"
    return compiled


def tally(results: Results) -> dict[str, Counter[str]]:
    """Return the outcomes by category, in order; an attack counts in each that it is against."""
    table: dict[str, Counter[str]] = {}
    for trial, outcome in results:
        for category in trial.attack.against:
            table.setdefault(category, Counter())[outcome] += 1
    ordered = dict(sorted(table.items(), key=lambda item: (item[0][:3] != "LLM", item[0])))
    return {**ordered, "all": Counter(outcome for _, outcome in results)}


def kept_out(counts: Mapping[str, int]) -> float:
    """Return the share of attacks that were stopped or replaced."""
    return (counts.get("stopped", 0) + counts.get("replaced", 0)) / max(1, sum(counts.values()))


def row(category: str, counts: Mapping[str, int]) -> tuple[object, ...]:
    """Return the cells of a category."""
    each = (counts.get(outcome, 0) for outcome in OUTCOMES)
    return (category, sum(counts.values()), *each, f"{kept_out(counts):.0%}")


def told(category: str, counts: Mapping[str, int], results: Results) -> dict[str, Any]:
    """Return a category as JSON, with every attack that it did not keep out."""
    return {
        "category": category,
        "tried": sum(counts.values()),
        **{outcome: counts.get(outcome, 0) for outcome in OUTCOMES},
        "kept_out": round(kept_out(counts), 4),
        "lacking": [
            {"attack": trial.attack.id, "disguise": trial.disguise, "provider": trial.provider,
             "stream": trial.stream, "outcome": outcome}
            for trial, outcome in results
            if outcome in {"reported", "through"}
            and category in (*trial.attack.against, "all")
        ],
    }  # fmt: skip


def lacking(results: Results, terminal: Terminal, *, everything: bool) -> None:
    """Print which attacks got through, each with its disguises; the unreported first."""
    grouped: dict[tuple[Outcome, Attack], list[str]] = {}
    for trial, outcome in results:
        if outcome in {"through", "reported"}:
            grouped.setdefault((outcome, trial.attack), []).append(trial.disguise)
    ordered = sorted(grouped.items(), key=lambda item: -OUTCOMES.index(item[0][0]))
    for (outcome, attack), disguises in ordered[: None if everything else LISTED]:
        colour = "red" if outcome == "through" else "yellow"
        words = f"{outcome}: {attack.id}, {attack.title} ({in_words(disguises)})"
        terminal.block("", 2, words, colour=colour)  # type: ignore[arg-type] # one of two words
    if not everything and len(ordered) > LISTED:
        terminal.line(f"... and {plural(len(ordered) - LISTED, 'attack')} more: --all lists them")


def in_words(disguises: Iterable[str]) -> str:
    """Return disguises in some words."""
    names = list(disguises)
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{', '.join(names[:6])}{more}"


VERBS = {
    "redteam": Verb(
        arguments,
        redteam,
        "  milecastle redteam --preset balanced\n"
        "  milecastle redteam --policy /etc/milecastle/policy.yaml --category LLM06\n"
        "  milecastle redteam --live https://llm.test.example",
    )
}

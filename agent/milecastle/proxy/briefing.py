"""Turn what the daemon told into orders: catalogue, policy, detectors, inspection.

Reading the shipped catalogue and rules takes the most time, and needs no daemon: it is done before
the worker says hello, so that the first heartbeat follows the welcome at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from milecastle import catalogue, detect, inspection, policy, shipped
from milecastle.catalogue import clients
from milecastle.model import ParseError, Problem
from milecastle.proxy.knowledge import Knowledge
from milecastle.proxy.link import PolicyFiles, Welcome
from milecastle.proxy.orders import Orders

log = logging.getLogger(__name__)


type Report = Callable[[str, Mapping[str, str]], None]


def unreported(_server: str, _seals: Mapping[str, str]) -> None:
    """Tell nobody of a server's tools: there is no daemon."""


class Briefing:
    """The shipped files, read; `orders` completes them with what this host adds."""

    def __init__(self) -> None:
        self._catalogue_files = shipped.texts("config", "catalogue")
        self._rules = detect.rules.load(rule_files())
        self.catalogue, problems = catalogue.load(self._catalogue_files)
        log_problems("shipped catalogue", problems)
        self.clients = clients.shipped()
        self.continuity: inspection.Continuity
        self._key = os.urandom(32)

    def orders(self, welcome: Welcome, report: Report = unreported) -> Orders:
        """Return what to act on. ParseError where the daemon sent a policy that can't be read."""
        if welcome.catalogue:
            files = [*self._catalogue_files, *welcome.catalogue]
            self.catalogue, problems = catalogue.load(files)
            log_problems("catalogue", problems)
        rules = read_policy(welcome.policy)
        self._key = welcome.key
        return self._orders(rules, welcome.capture, welcome.knowledge, report)

    def standing_alone(self, file: Path | None = None) -> Orders:
        """Return orders for one policy, the shipped one if None, with no daemon to tell more."""
        file = file or shipped.path("config", "policy.yaml")
        return self._orders(read_policy(((str(file), file.read_text()),)), "redacted")

    def engine(self, knowledge: Knowledge) -> detect.Engine:
        """Return the detectors with what the operators add; what is wrong in that is logged."""
        added, problems = detect.check(knowledge.rules)
        rules, twice = detect.rules.joined(self._rules, added)
        log_problems("rules", [*problems, *twice])
        engine = detect.Engine(rules, key=self._key)
        engine.warm_up()
        engine.know(knowledge.indexes(self._key))
        return engine

    def _orders(
        self,
        rules: policy.Policy,
        capture: str,
        knowledge: Knowledge | None = None,
        report: Report = unreported,
    ) -> Orders:
        knowledge = knowledge or Knowledge()
        self.continuity = inspection.Continuity(self._key, report)
        for server, seals in knowledge.tools.items():
            self.continuity.seal(server, seals)
        inspector = inspection.Inspector(
            self.catalogue,
            self.engine(knowledge),
            rules,
            capture=capture,
            continuity=self.continuity,
            host=os.uname().nodename,
        )
        return Orders(self.catalogue, rules, inspector)


def rule_files() -> list[tuple[str, str]]:
    """Return (name, text) of all shipped detection rules, in the order of their names."""
    folder = shipped.path("config", "rules")
    return [
        (str(file.relative_to(folder)), file.read_text("utf-8"))
        for file in sorted(folder.rglob("*.yaml"))
    ]


def read_policy(files: PolicyFiles) -> policy.Policy:
    """Return the compiled policy, or raise ParseError with everything that is wrong with it."""
    (file, text), *overrides = files
    compiled, problems = policy.check(text, file, overrides=overrides)
    if compiled is None:
        raise ParseError("; ".join(str(problem) for problem in problems))
    return compiled


def with_policy(orders: Orders, files: PolicyFiles) -> Orders:
    """Return the same orders under another policy; ParseError leaves the old ones standing."""
    rules = read_policy(files)
    assert isinstance(orders.inspector, inspection.Inspector)
    return Orders(orders.names, rules, orders.inspector.with_policy(rules))


def with_engine(orders: Orders, engine: detect.Engine) -> Orders:
    """Return the same orders with other detectors."""
    assert isinstance(orders.inspector, inspection.Inspector)
    return Orders(orders.names, orders.rules, orders.inspector.with_engine(engine))


def log_problems(what: str, problems: Sequence[Problem]) -> None:
    """Log what is wrong with files that are used nevertheless."""
    for problem in problems:
        log.warning("%s: %s", what, problem)

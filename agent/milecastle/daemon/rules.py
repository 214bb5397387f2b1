"""The policy in force: read, checked, reloaded; and the part of it that the kernel enforces."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milecastle import policy
from milecastle.catalogue import LOCAL, Catalogue
from milecastle.daemon.bans import Ban, by_hand, of_rule
from milecastle.daemon.selftest import SERVICE as SELFTEST
from milecastle.kernel import Kernel
from milecastle.model import Action, Problem, Service, Standing
from milecastle.store.entries import Refused

log = logging.getLogger(__name__)

LARGEST = 1 << 20
"""A policy file over this size (bytes) is refused unread."""
LARGEST_TOGETHER = 1 << 20
MOST_OVERRIDES = 100
"""Files of the folder of overrides, and what they may come to."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A policy as it was read."""

    main: str
    overrides: tuple[tuple[str, str], ...] = ()
    """File and text, in the order in which they are laid over it."""


class Rules:
    """The policy's files and what they mean now. A bad file never replaces a good one."""

    def __init__(self, file: Path, catalogue: Catalogue, overrides: Path | None = None) -> None:
        """``overrides`` is the folder of the files that are laid over the policy."""
        self.file = file
        self.folder = overrides
        self.texts: Texts | None = None
        """None before the first that are fine."""
        self.policy = policy.Policy()
        self.problems: list[Problem] = []
        self._catalogue = catalogue

    @property
    def paths(self) -> list[Path]:
        """Where the policy is read from."""
        return [self.file, self.folder] if self.folder else [self.file]

    def reload(self) -> bool:
        """Read the files; return whether other rules are in force now. Problems are kept."""
        try:
            texts = Texts(read(self.file), tuple(laid_over(self.folder)))
        except (OSError, UnicodeDecodeError) as error:
            file = getattr(error, "filename", None) or self.file
            self._keep([Problem(str(file), 0, f"cannot be read: {error}")])
            return False
        if texts == self.texts:
            self.problems = []
            return False
        compiled, problems = policy.check(texts.main, str(self.file), overrides=texts.overrides)
        if compiled is None:
            self._keep(problems)
            return False
        self.texts, self.policy, self.problems = texts, compiled, []
        return True

    def standing(self, service: str | None) -> Standing:
        """Return what the organisation thinks of a service; the unknown is unsanctioned."""
        known = self._catalogue.services.get(service) if service else None
        return self.policy.standing(known) if known else Standing.UNSANCTIONED

    def frame(self) -> dict[str, Any]:
        """Return the policy as workers are told it: files and texts, the policy itself first."""
        texts = self.texts or Texts("")
        return {"files": [[str(self.file), texts.main], *map(list, texts.overrides)]}

    def apply(self, kernel: Kernel, by_hand: Collection[str] = ()) -> None:
        """Tell the kernel, service by service, whether to redirect and what to do if it can't.

        A service that the policy blocks for everybody is redirected where it can be, for the
        worker knows it by name and says why; without a worker it is refused.
        """
        kernel.cut_late(self.policy.mode == "enforce")
        for service in self._catalogue.services.values():
            if service.id != SELFTEST:
                rule = self.refusal(service.id)
                kernel.set_service(
                    self._catalogue.number(service.id),
                    redirect=self.policy.intercepts(service),
                    closed=rule is not None or self.policy.on_failure(service) == "closed",
                    refuse=service.id in by_hand or self.refused_at_connect(service, rule),
                )

    def bans(self) -> list[Ban]:
        """Return what the policy refuses to some callers, and the kernel can tell whom."""
        found = []
        for service in self._catalogue.services.values():
            if service.id != SELFTEST:
                number = self._catalogue.number(service.id)
                found += [
                    of_rule(rule, number, refuse=self.refused_at_connect(service, rule))
                    for rule in self.refusals(service)
                    if not rule.when.asks <= policy.OF_SERVICE
                ]
        return found

    def ban(self, refused: Refused) -> Ban:
        """Return what is refused by hand to some callers."""
        return by_hand(refused.caller, self._catalogue.number(refused.service))

    def refusals(self, service: Service) -> list[policy.Rule]:
        """Return the rules that refuse or block a service, to everybody or to some."""
        return self.policy.refusals(service, now=time.time())

    def refusal(self, service: str) -> policy.Rule | None:
        """Return the rule that blocks a service for everybody, None: nobody is refused it."""
        return self.policy.refusal(self._catalogue.services[service], now=time.time())

    def refused_at_connect(self, service: Service, rule: policy.Rule | None) -> bool:
        """Whether such a rule has to be the kernel's: its action is refuse, or it names a service
        that is not decrypted, as few servers of this host are.

        A block about a standing or a category does not: what is not decrypted is, more often than
        not, a host that carries much beside AI.
        """
        if rule is None or rule.action is Action.REFUSE:
            return rule is not None
        unread = service.category in LOCAL or not self.policy.intercepts(service)
        return "service" in rule.when.subject and unread

    def _keep(self, problems: list[Problem]) -> None:
        if problems != self.problems:
            for problem in problems:
                log.error("policy: %s", problem)
            log.error("the policy of before stays in force")
        self.problems = problems


def laid_over(folder: Path | None) -> Iterator[tuple[str, str]]:
    """Yield name and text of the files of a folder, by name. OSError where one can't be read."""
    if folder is None or not folder.is_dir():
        return
    files = sorted(each for each in folder.glob("*.yaml") if not each.name.startswith("."))
    if len(files) > MOST_OVERRIDES:
        raise OSError(0, f"more than {MOST_OVERRIDES} files", str(folder))
    left = LARGEST_TOGETHER
    for file in files:
        text = read(file)
        left -= len(text)
        if left < 0:
            raise OSError(0, f"files of over {LARGEST_TOGETHER} bytes together", str(folder))
        yield str(file), text


def read(file: Path) -> str:
    """Return the file's text; OSError where it is too large to be a policy."""
    with file.open("rb") as opened:
        raw = opened.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise OSError(0, f"larger than {LARGEST} bytes", str(file))
    return raw.decode()

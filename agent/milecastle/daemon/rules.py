"""The policy in force: read, checked, reloaded; and the part of it that the kernel enforces."""

from __future__ import annotations

import logging
from pathlib import Path

from milecastle import policy
from milecastle.catalogue import Catalogue
from milecastle.daemon.selftest import SERVICE as SELFTEST
from milecastle.kernel import Kernel
from milecastle.model import Problem, Standing

log = logging.getLogger(__name__)

LARGEST = 1 << 20
"""A policy file over this size (bytes) is refused unread."""


class Rules:
    """The policy file and what it means now. A bad file never replaces a good one."""

    def __init__(self, file: Path, catalogue: Catalogue) -> None:
        self.file = file
        self.text: str | None = None
        """None before the first file that is fine."""
        self.policy = policy.Policy()
        self.problems: list[Problem] = []
        self._catalogue = catalogue

    def reload(self) -> bool:
        """Read the file; return whether other rules are in force now. Problems are kept."""
        try:
            text = read(self.file)
        except (OSError, UnicodeDecodeError) as error:
            self._keep([Problem(str(self.file), 0, f"cannot be read: {error}")])
            return False
        compiled, problems = policy.check(text, str(self.file))
        if compiled is None:
            self._keep(problems)
            return False
        if text == self.text:
            self.problems = []
            return False
        self.text, self.policy, self.problems = text, compiled, []
        return True

    def standing(self, service: str | None) -> Standing:
        """Return what the organisation thinks of a service; the unknown is unsanctioned."""
        known = self._catalogue.services.get(service) if service else None
        return self.policy.standing(known) if known else Standing.UNSANCTIONED

    def frame(self) -> dict[str, str]:
        """Return the policy as workers are told it."""
        return {"text": self.text or "", "file": str(self.file)}

    def apply(self, kernel: Kernel) -> None:
        """Tell the kernel, service by service, whether to redirect and what to do if it can't."""
        for service in self._catalogue.services.values():
            if service.id != SELFTEST:
                kernel.set_service(
                    self._catalogue.number(service.id),
                    redirect=self.policy.intercepts(service),
                    closed=self.policy.on_failure(service) == "closed",
                    refuse=False,
                )

    def _keep(self, problems: list[Problem]) -> None:
        if problems != self.problems:
            for problem in problems:
                log.error("policy: %s", problem)
            log.error("the policy of before stays in force")
        self.problems = problems


def read(file: Path) -> str:
    """Return the file's text; OSError where it is too large to be a policy."""
    with file.open("rb") as opened:
        raw = opened.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise OSError(0, f"larger than {LARGEST} bytes")
    return raw.decode()

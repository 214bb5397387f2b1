"""Services that are refused at connect(): by hand until a time, and by the policy for everyone.

The kernel refuses by address, before a name is said, and needs nobody to be alive for it. Many
names can share an address, so the policy's own `block` is left to the worker wherever that can
decrypt the service, which tells by the name and says why; see `Rules.apply`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any

from milecastle.catalogue import SELFTEST, Catalogue
from milecastle.daemon.ledger import Ledger
from milecastle.daemon.rules import Rules

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How often it is looked whether a refusal, or an exception of the policy, has ended."""
LONGEST = 10 * 365 * 86_400
"""Seconds of the longest refusal that has an end."""


class Refusals:
    """What is refused by hand. ``now`` is Unix time in seconds."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        rules: Rules,
        enforce: Callable[[Collection[str]], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """``enforce`` tells the kernel which services are refused by hand, and the policy."""
        self._ledger = ledger
        self._catalogue = catalogue
        self._rules = rules
        self._enforce = enforce
        self._now = now
        self._until: dict[str, float | None] = {}
        self._changed = asyncio.Event()

    async def begin(self) -> None:
        """Take up what was refused when the daemon ended, and have it enforced."""
        kept = await self._ledger.write(lambda register: register.refusals())
        self._until = {one: end for one, end in kept.items() if one in self._catalogue.services}
        self.apply()
        for service in self._until:
            log.info("%s is still refused by hand", service)

    def apply(self) -> None:
        """Have the refusals of this moment enforced."""
        now = self._now()
        for service in [one for one, end in self._until.items() if end is not None and end <= now]:
            del self._until[service]
            log.info("%s is not refused by hand any more", service)
        self._enforce(self._until.keys())

    async def refuse(self, service: str, seconds: int) -> dict[str, Any]:
        """Refuse a service for so long, 0: without end. LookupError: there is no such service."""
        self._known(service)
        end = self._now() + min(seconds, LONGEST) if seconds > 0 else None
        self._until[service] = end
        await self._keep()
        log.warning("%s is refused by hand", service)
        return {"service": service, "until": end}

    async def permit(self, service: str) -> dict[str, Any]:
        """End a refusal by hand. ValueError where it is the policy that refuses."""
        self._known(service)
        found = service in self._until
        self._until.pop(service, None)
        await self._keep()
        rule = self._rules.refusal(service)
        if rule is not None and not found:
            raise ValueError(
                f"{service} is refused by the policy's rule {rule.id!r}, not by hand: "
                "change the policy"
            )
        if found:
            log.warning("%s is not refused by hand any more", service)
        return {"service": service, "was_refused": found, "rule": rule.id if rule else None}

    def listed(self) -> list[dict[str, Any]]:
        """Return what is refused now, and by what."""
        self.apply()
        by_hand = [
            {"service": service, "by": "hand", "rule": None, "until": end, "where": "connect"}
            for service, end in sorted(self._until.items())
        ]
        by_rule = [
            {
                "service": service.id,
                "by": "policy",
                "rule": rule.id,
                "until": None,
                "where": "connect" if self._rules.refused_at_connect(service, rule) else "request",
            }
            for service in self._catalogue.services.values()
            if service.id not in self._until and (rule := self._rules.refusal(service.id))
        ]
        return [*by_hand, *by_rule]

    async def keep(self) -> None:
        """Let refusals end when their time has come, for ever."""
        while True:
            ends = [end for end in self._until.values() if end is not None]
            wait = min([LOOK_SECONDS, *(max(0.05, end - self._now()) for end in ends)])
            try:
                await asyncio.wait_for(self._changed.wait(), wait)
            except TimeoutError:
                self.apply()
            self._changed.clear()

    async def _keep(self) -> None:
        """Enforce now, and keep for the next start. OSError: it won't outlive the daemon."""
        self.apply()
        self._changed.set()
        kept, now = dict(self._until), self._now()
        await self._ledger.write(lambda register: register.keep_refusals(kept, now))

    def _known(self, service: str) -> None:
        if service in self._catalogue.services and service != SELFTEST.id:
            return
        near = get_close_matches(service, self._catalogue.services, 1)
        hint = f": did you mean {near[0]!r}?" if near else "; ids stand in config/catalogue/"
        raise LookupError(f"the catalogue has no service {service[:64]!r}{hint}")

"""Services that are refused at connect(), to everybody or to some: by hand until a time, and by
the policy.

The kernel refuses by address, before a name is said, and needs nobody to be alive for it. Many
names can share an address, so the policy's own `block` is left to the worker wherever that can
decrypt the service, which tells by the name and says why; see `Rules.apply`.
"""

from __future__ import annotations

import asyncio
import logging
import pwd
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from milecastle.catalogue import SELFTEST, Catalogue
from milecastle.daemon.ledger import Ledger
from milecastle.daemon.rules import Rules
from milecastle.model import Service
from milecastle.policy import OF_SERVICE, Rule
from milecastle.store.entries import EVERYBODY, Caller, Refused

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How often it is looked whether a refusal, or an exception of the policy, has ended."""
NOBODYS_UID = (1 << 32) - 1
MOST = 1000
"""Refusals by hand at a time."""
LONGEST = 10 * 365 * 86_400
"""Seconds of the longest refusal that has an end."""


class Refusals:
    """What is refused by hand. ``now`` is Unix time in seconds."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        rules: Rules,
        enforce: Callable[[Collection[Refused]], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """``enforce`` tells the kernel what is refused by hand, and by the policy."""
        self._ledger = ledger
        self._catalogue = catalogue
        self._rules = rules
        self._enforce = enforce
        self._now = now
        self._until: dict[Refused, float | None] = {}
        self._changed = asyncio.Event()

    async def begin(self) -> None:
        """Take up what was refused when the daemon ended, and have it enforced."""
        kept = await self._ledger.write(lambda register: register.refusals())
        services = self._catalogue.services
        self._until = {one: end for one, end in kept.items() if one.service in services}
        self.apply()
        for one in self._until:
            log.info("%s is still refused by hand", one)

    def apply(self) -> None:
        """Have the refusals of this moment enforced."""
        now = self._now()
        for one in [one for one, end in self._until.items() if end is not None and end <= now]:
            del self._until[one]
            log.info("%s is not refused by hand any more", one)
        self._enforce(self._until.keys())

    async def refuse(
        self, service: str, seconds: int, caller: Caller = EVERYBODY
    ) -> dict[str, Any]:
        """Refuse a service for so long, 0: without end. LookupError: there is no such service,
        ValueError: there can be no such caller.
        """
        self._known(service)
        check(caller)
        refused = Refused(service, caller)
        end = self._now() + min(seconds, LONGEST) if seconds > 0 else None
        if refused not in self._until and len(self._until) >= MOST:
            raise ValueError(f"{MOST} refusals by hand are enough: the policy is for more")
        self._until[refused] = end
        await self._keep()
        log.warning("%s is refused by hand", refused)
        return {"service": service, "until": end, **told(caller)}

    async def permit(self, service: str, caller: Caller = EVERYBODY) -> dict[str, Any]:
        """End a refusal by hand; that of everybody ends all of a service. ValueError where it is
        the policy that refuses.
        """
        self._known(service)
        ended = [
            one
            for one in self._until
            if one.service == service and caller in (EVERYBODY, one.caller)
        ]
        for one in ended:
            del self._until[one]
        found = bool(ended)
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
            {
                "service": one.service,
                "by": "hand",
                "rule": None,
                "until": end,
                "where": "connect",
                **told(one.caller),
            }
            for one, end in sorted(self._until.items(), key=lambda each: str(each[0]))
        ]
        return by_hand + [
            {
                "service": service.id,
                "by": "policy",
                "rule": rule.id,
                "until": None,
                "where": "connect" if self._rules.refused_at_connect(service, rule) else "request",
                **told(asked(rule)),
            }
            for service in self._catalogue.services.values()
            if Refused(service.id) not in self._until
            for rule in self._foremost(service)
        ]

    def _foremost(self, service: Service) -> list[Rule]:
        """Return the rules that refuse a service: the first about everybody, and those about some
        callers that come before it.
        """
        found: list[Rule] = []
        for rule in self._rules.refusals(service):
            found.append(rule)
            if rule.when.asks <= OF_SERVICE:
                break
        return found

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


def check(caller: Caller) -> None:
    """Raise ValueError where there can be nobody whom this means."""
    if caller.user and not caller.user.isdecimal():
        try:
            pwd.getpwnam(caller.user)
        except KeyError:
            raise ValueError(f"this host has no user {caller.user[:64]!r}") from None
    if caller.user.isdecimal() and int(caller.user) >= NOBODYS_UID:
        raise ValueError(f"{caller.user[:64]} is no user's number")
    if caller.exe and not caller.exe.startswith(("/", "*")):
        raise ValueError(f"an executable is told by its whole path, not {caller.exe[:64]!r}")
    if caller.cgroup and not caller.cgroup.startswith("/"):
        raise ValueError(
            f"a cgroup is told as in /proc/PID/cgroup: /system.slice/..., not "
            f"{caller.cgroup[:64]!r}"
        )


def told(caller: Caller) -> dict[str, str | None]:
    """Return who it is as the command line is told; None where that does not matter."""
    return {what: said or None for what, said in asdict(caller).items()}


def asked(rule: Rule) -> Caller:
    """Return whom a rule of the policy is about, in its own words."""
    wants = {key: test.wants for key, test in rule.when.subject.items()}
    for what in ("sha256", "container"):
        if f"process.{what}" in wants:
            wants[f"process.{what}"] = f"{what} {wants[f'process.{what}']}"

    def both(*keys: str) -> str:
        return " and ".join(wants[key] for key in keys if key in wants)

    return Caller(
        both("user"),
        both("process.exe", "process.sha256"),
        both("process.cgroup", "process.container"),
    )

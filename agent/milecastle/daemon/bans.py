"""Who may not use a service though others may: from a rule's words to the kernel's numbers. Pure.

A rule of the policy, and whoever refuses by hand, say names, paths and hashes. What they mean in
numbers is what the census knows at that moment; with each new program, user or cgroup it is asked
again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from milecastle import policy
from milecastle.host import Census, Executable, containers
from milecastle.kernel import Restriction
from milecastle.store.entries import Caller

type Holds = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Ban:
    """A service, and what has to hold of those who may not use it; None asks for nothing."""

    service: int
    refuse: bool
    """In any case; else only where the connection can't be redirected."""
    user: Callable[[tuple[str | None, int]], bool] | None = None
    program: Callable[[Executable], bool] | None = None
    cgroup: Callable[[str], bool] | None = None
    below: bool = False
    """Whether the cgroups below are meant as well."""
    hashed: bool = False
    """Whether it asks for a program's hash."""


def of_rule(rule: policy.Rule, service: int, *, refuse: bool) -> Ban:
    """Return what a rule of the policy says, one of `Policy.refusals`."""
    tests = {key: test.holds for key, test in rule.when.subject.items()}
    path, digest = tests.get("process.exe"), tests.get("process.sha256")
    group, container = tests.get("process.cgroup"), tests.get("process.container")

    def program(executable: Executable) -> bool:
        fits = path is None or path(executable.path)
        known = executable.sha256
        return fits and (digest is None or (known is not None and digest(known)))

    def cgroup(at: str) -> bool:
        inside = [each for each, _runtime in containers(at)][-1:]  # the innermost
        fits = container is None or any(map(container, inside))
        return fits and (group is None or group(at))

    return Ban(
        service,
        refuse,
        tests.get("user"),
        program if path or digest else None,
        cgroup if group or container else None,
        hashed=digest is not None,
    )


def by_hand(caller: Caller, service: int) -> Ban:
    """Return what was refused by hand; its cgroup means all below as well."""
    user = policy.any_of([caller.user])
    program = policy.any_of([caller.exe])
    group = caller.cgroup.rstrip("/") or "/"
    return Ban(
        service,
        True,
        (lambda who: caller.user == str(who[1]) or user(who[0] or "")) if caller.user else None,
        (lambda executable: program(executable.path)) if caller.exe else None,
        (lambda path: path == group) if caller.cgroup else None,
        below=True,
    )


def restrictions(bans: Iterable[Ban], census: Census) -> list[Restriction]:
    """Return what the kernel is to be told, as far as the census knows who is meant."""
    found: list[Restriction] = []
    for ban in bans:
        users = fitting(ban.user, [((name, uid), uid) for uid, name in census.users.items()])
        programs = fitting(ban.program, [(one, file) for file, one in census.programs.items()])
        groups = fitting(ban.cgroup, [(path, number) for number, path in census.cgroups.items()])
        found += [
            Restriction(ban.service, ban.refuse, not ban.refuse, user, program, group, ban.below)
            for user, program, group in product(users, programs, groups)
        ]
    return found


def fitting[N](holds: Holds | None, known: Collection[tuple[Any, N]]) -> list[N | None]:
    """Return the numbers of those for whom it holds; None, any at all, where nothing is asked."""
    if holds is None:
        return [None]
    return [number for what, number in known if holds(what)]

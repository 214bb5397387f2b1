"""What was seen -> a policy that allows that and nothing else, as text that a person goes through.

One rule stops every call to an AI service; an exception for each program of each user lifts it
for the services that it was seen to use, with the evidence in a comment. The proposal is in
monitor mode: it reports what it would stop until somebody has read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

DAY = 86_400
MOST_CALLERS = 1000
"""Exceptions that a proposal has; the callers with most calls come first."""
WORDS = re.compile(r"[^a-z0-9]+")
WILD = re.compile(r"([*?[])")


@dataclass(frozen=True, slots=True)
class Use:
    """One program of one user that called one service."""

    service: str
    user: str | None = None
    uid: int | None = None
    exe: str | None = None
    script: str | None = None
    client: str | None = None
    calls: int = 0
    tokens: int = 0
    first: float = 0.0
    """Unix time; ``last`` too."""
    last: float = 0.0


type Caller = tuple[str, str, str]
"""User, executable and script; empty where unknown."""

HEAD = """\
# Proposed by `milecastle policy learn` on {today}, from {calls} calls of {callers} programs
# to {services} services, seen from {first} to {last}.
#
# It allows what was seen and nothing else, and it only reports so far. Go through it: take away
# what should not be, join what belongs together ("*" is a wildcard), give each exception an owner.
# `milecastle policy diff` tries it on what was recorded; then say `mode: enforce`.
version: 1
mode: monitor

services:
  sanctioned: {sanctioned}
  default: unsanctioned

rules:
  - id: only-what-was-seen
    description: a program, a user or a service that was not seen when this policy was made
    reason: This use of an AI service is not known here. Ask your security team.
    action: block
"""
EXCEPTION = """
  # {evidence}
  - id: {id}
    when:
      service: {services}
{conditions}
    action: allow
    exception:
      owner: {owner}
      reason: {reason}
      expires: {expires}
"""


def propose(uses: Iterable[Use], *, now: float, days: int = 90, owner: str = "") -> str:
    """Return the policy's text. ``now`` is Unix time; exceptions end after so many days."""
    by_caller: dict[Caller, list[Use]] = {}
    for use in uses:
        by_caller.setdefault(caller_of(use), []).append(use)
    ordered = sorted(by_caller.items(), key=lambda item: (-calls(item[1]), item[0]))[:MOST_CALLERS]
    seen = [use for _, each in ordered for use in each]
    services = sorted({use.service for use in seen})
    text = HEAD.format(
        today=day(now),
        calls=calls(seen),
        callers=len(ordered),
        services=len(services),
        first=day(min((use.first for use in seen), default=now)),
        last=day(max((use.last for use in seen), default=now)),
        sanctioned=words(services),
    )
    names: set[str] = set()
    for caller, each in ordered:
        conditions = asked(caller, each)
        if conditions:
            text += EXCEPTION.format(
                evidence=evidence(caller, each),
                id=named(caller, each, names),
                services=words(sorted({use.service for use in each})),
                conditions="\n".join(f"      {line}" for line in conditions),
                owner=quoted(owner or "nobody yet"),
                reason=quoted(f"seen {calls(each)} times until {day(max(u.last for u in each))}"),
                expires=day(now + days * DAY),
            )
        else:
            text += f"\n  # no exception, for nobody knows who: {evidence(caller, each)}\n"
    return text


def caller_of(use: Use) -> Caller:
    """Return what an exception can tell apart: who, and which program."""
    script = use.script if use.script and use.script != "-c" else ""
    number = str(use.uid) if use.uid is not None and use.uid >= 0 else ""
    named = use.user and not use.user.isdecimal()  # digits would be read as a number
    return (use.user if use.user and named else number), use.exe or "", script


def asked(caller: Caller, uses: Sequence[Use]) -> list[str]:
    """Return the conditions on the caller; none where neither user nor program is known."""
    user, exe, script = caller
    lines = []
    if user:
        lines.append(f"user: {user if user.isdecimal() else literal(user)}")
    if exe:
        more = f", script: {literal(script)}" if script else ""
        lines.append(f"process: {{exe: {literal(exe)}{more}}}")
    return lines


def evidence(caller: Caller, uses: Sequence[Use]) -> str:
    """Return what was seen of a caller, in a comment's one line."""
    clients = sorted({use.client for use in uses if use.client})
    program = clients[0] if clients else caller[2] or caller[1] or "an unknown program"
    spent = sum(use.tokens for use in uses)
    first, last = min(use.first for use in uses), max(use.last for use in uses)
    said = (
        f"{program} of {caller[0] or 'an unknown user'}: {calls(uses)} calls, {spent} tokens, "
        f"{day(first)} to {day(last)}"
    )
    return "".join(char if char.isprintable() else "?" for char in said)[:200]


def named(caller: Caller, uses: Sequence[Use], taken: set[str]) -> str:
    """Return an id that no other rule of the proposal has."""
    clients = sorted({use.client for use in uses if use.client})
    program = clients[0] if clients else (caller[2] or caller[1] or "unknown").rsplit("/", 1)[-1]
    plain = WORDS.sub("-", f"seen-{program}-{caller[0]}".lower()).strip("-")[:80]
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    taken.add(name)
    return name


def calls(uses: Iterable[Use]) -> int:
    return sum(use.calls for use in uses)


def day(at: float) -> str:
    """Return a time's day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def words(each: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, each))}]"


def literal(value: str) -> str:
    """Return a value as a quoted pattern that fits it alone; of a very long one, its beginning."""
    escaped = WILD.sub(r"[\1]", value)
    if len(escaped) > 250:
        escaped = WILD.sub("?", value)[:250] + "*"
    return quoted(escaped)


def quoted(value: str) -> str:
    """Return a YAML scalar: as JSON writes it, without what cannot be printed."""
    plain = "".join(char if char.isprintable() else "?" for char in value)
    return json.dumps(plain, ensure_ascii=False)


def used(told: Mapping[str, object]) -> Use | None:
    """Return a row of the inventory; None where it names no service of the catalogue."""
    match told:
        case {"service": str(service), "process": dict(process)} if service:
            tokens = told.get("tokens")
            return Use(
                service,
                user=text_of(told.get("user")),
                uid=whole(told.get("uid"), -1),
                exe=text_of(process.get("exe")),
                script=text_of(process.get("script")),
                client=text_of(process.get("client")),
                calls=whole(told.get("calls")),
                tokens=sum(map(whole, tokens.values())) if isinstance(tokens, dict) else 0,
                first=float(whole(told.get("first"))),
                last=float(whole(told.get("last"))),
            )
    return None


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def whole(value: object, otherwise: int = 0) -> int:
    """Return a number without its fraction."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if known and isinstance(value, int | float) else otherwise

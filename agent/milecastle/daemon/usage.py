"""Who uses what how much, and a finding where that is out of the ordinary.

Each exchange is counted for its user, program and service; what `habits` finds unusual becomes a
finding of the category ``usage`` in the exchange's record. It comes after the fact, so that the
policy can alert about it and nothing more.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from milecastle.catalogue import SELFTEST
from milecastle.daemon import habits
from milecastle.daemon.habits import Habit, Warned
from milecastle.model import Action, Attribution, Finding, Process, Severity, Standing, Subject
from milecastle.policy import Policy
from milecastle.store.habits import Hour, Hours

log = logging.getLogger(__name__)

KEYS = 2_000
"""Programs of users at services whose history is held; the least recently used is let go."""
FLUSH_SECONDS = 60.0
MOST = 1 << 40
"""Tokens of one exchange that are believed."""
LEARNING_SECONDS = 3 * habits.DAY
"""How long anything is known of this host before a first use is worth a word."""

type Event = dict[str, Any]


class Usage:
    """Counts and judges. One thread; the disk is another's."""

    def __init__(
        self,
        hours: Hours,
        policy: Callable[[], Policy],
        now: Callable[[], float] = time.time,
        local_hour: Callable[[float], int] = lambda at: time.localtime(at).tm_hour,
    ) -> None:
        self._hours = hours
        self._policy = policy
        self._now = now
        self._local_hour = local_hour
        self._habits: OrderedDict[str, Habit] = OrderedDict()
        self._changed: set[str] = set()
        self._since = now()
        for key, hour, calls, tokens in hours.all():
            self._habit(key).add(hour * habits.HOUR, calls, tokens)
            self._since = min(self._since, hour * habits.HOUR)

    def take(self, record: Event, known: Attribution | None, standing: Standing) -> None:
        """Count an exchange; put what is unusual about it into its record.

        The record is a worker's and not checked yet: what is no call, or no number, is passed over.
        """
        service = record.get("service")
        if not isinstance(service, str) or service == SELFTEST.id or not record.get("method"):
            return
        process = known.process if known else None
        found = record.get("findings")
        if process is None or not isinstance(found, list):
            return
        told = list(self._judged(record, process, service[:100]))
        if told:
            findings = [finding(each) for each in told]
            found += [as_record(each) for each in findings]
            self._alert(record, Subject(service, standing=standing, process=process), findings)

    def _judged(self, record: Event, process: Process, service: str) -> Iterator[Warned]:
        now, key = self._now(), key_of(process, service)
        if key not in self._habits and now - self._since > LEARNING_SECONDS:
            why = f"{program(process)} of this user has not used {service} before"
            yield Warned(habits.FIRST_USE, Severity.LOW, why)
        habit = self._habit(key)
        habit.add(now, 1, tokens(record))
        self._changed.add(key)
        yield from habits.unusual(habit, now, self._local_hour(now))
        yield from habits.looping(habit, now, digests(record))

    def _habit(self, key: str) -> Habit:
        habit = self._habits.setdefault(key, Habit())
        self._habits.move_to_end(key)
        while len(self._habits) > KEYS:
            gone, _ = self._habits.popitem(last=False)
            self._changed.discard(gone)
        return habit

    def _alert(self, record: Event, subject: Subject, findings: list[Finding]) -> None:
        """Say so in the verdict, where the policy has a rule for it and nothing else was said."""
        verdict = record.get("verdict")
        if not isinstance(verdict, dict) or verdict.get("action") != Action.ALLOW.value:
            return
        decided = self._policy().decide(subject, findings, now=self._now()).verdict
        if decided.action is not Action.ALLOW and decided.rule is not None:
            told = {"rule": decided.rule, "reason": decided.reason, "mode": decided.mode}
            record["verdict"] = {"action": "alert", "applied": "alert", **told}

    def listed(self, only: int | None = None) -> list[dict[str, Any]]:
        """Return what is usual and what is used now, the latest used first; of one user if told."""
        now = self._now()
        hour, today = int(now // habits.HOUR), int(now // habits.DAY)
        rows = []
        for key, habit in reversed(self._habits.items()):
            uid, name, service = key.split("\t")
            if only is not None and uid != str(only):
                continue
            usual = habits.Usual.of(habit, hour)
            current = habit.hours.get(hour, habits.Spent())
            rows.append(
                {
                    "uid": int(uid) if uid.isdecimal() else None,
                    "program": name,
                    "service": service,
                    "learned": usual.learned,
                    "last": max(habit.hours, default=0) * habits.HOUR,
                    "hours": len(habit.hours),
                    "calls": {
                        "hour": current.calls,
                        "usual": round(usual.calls),
                        "unusual_from": round(max(usual.far_calls, habits.FEWEST_CALLS)),
                    },
                    "tokens": {
                        "today": habit.of_day(today).tokens,
                        "usual": round(usual.tokens),
                        "unusual_from": round(max(usual.far_tokens, habits.FEWEST_TOKENS)),
                    },
                    "told": sorted(habit.told),
                }
            )
        return rows

    async def keep(self) -> None:
        """Write what changed, once a minute, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await asyncio.to_thread(self._write, self._rows())

    def flush(self) -> None:
        """Write what changed, now."""
        self._write(self._rows())

    def _rows(self) -> list[Hour]:
        changed, self._changed = self._changed, set()
        hour = int(self._now() // habits.HOUR)
        return [
            Hour(key, at, spent.calls, spent.tokens)
            for key in changed
            if (habit := self._habits.get(key))
            for at, spent in habit.hours.items()
            if at >= hour - 1
        ]

    def _write(self, rows: list[Hour]) -> None:
        try:
            self._hours.write(rows, int(self._now() // habits.HOUR))
        except sqlite3.Error as error:
            log.warning("hours of use are not kept: %s", error)


def key_of(process: Process, service: str) -> str:
    told = (str(process.uid), program(process)[:300], service)
    return "\t".join(each.replace("\t", " ") for each in told)


def program(process: Process) -> str:
    """Return what a program is called: the client that it is, its script, its file."""
    return process.client or process.script or process.exe or process.comm


def tokens(record: Event) -> int:
    """Return the tokens of an exchange, as far as its service told."""
    attributes = record.get("attributes")
    told = attributes if isinstance(attributes, dict) else {}
    counts = (told.get(f"gen_ai.usage.{way}_tokens") for way in ("input", "output"))
    return sum(min(each, MOST) for each in counts if isinstance(each, int) and each > 0)


def digests(record: Event) -> Iterator[str]:
    """Yield a digest of all that was asked, and one of each tool call that was answered."""
    thread = record.get("thread")
    prefix = thread.get("prefix") if isinstance(thread, dict) else None
    if isinstance(prefix, list) and prefix and isinstance(prefix[-1], str):
        yield prefix[-1][:64]
    attributes = record.get("attributes")
    messages = attributes.get("gen_ai.output.messages") if isinstance(attributes, dict) else None
    for message in messages[:4] if isinstance(messages, list) else ():
        parts = message.get("parts") if isinstance(message, dict) else None
        for part in parts[:50] if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") == "tool_call":
                said = f"{part.get('name')}\0{part.get('arguments')}"
                if part.get("arguments"):
                    data = said.encode(errors="replace")
                    yield hashlib.blake2b(data, digest_size=16).hexdigest()


def finding(warned: Warned) -> Finding:
    return Finding(
        category="usage",
        rule=warned.rule,
        severity=warned.severity,
        start=0,
        end=0,
        excerpt="",
        evidence=warned.why[:300],
        owasp=("LLM10",),
        atlas=("AML.T0034",),
    )


def as_record(found: Finding) -> Event:
    """Return a finding as a record holds it; it stands nowhere in a message."""
    return {
        "category": found.category,
        "rule": found.rule,
        "severity": found.severity.value,
        "where": "usage",
        "direction": "request",
        "excerpt": "",
        "score": 1.0,
        "evidence": found.evidence,
        "digest": "",
        "owasp": list(found.owasp),
        "atlas": list(found.atlas),
        "via": [],
        "count": 1,
        "message": None,
    }

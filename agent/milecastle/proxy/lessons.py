"""What failed handshakes have taught: connections that can't be decrypted without breaking them.

A program that trusts no CA but its own, or a service that wants a client's certificate, fails as
long as somebody stands in between. After that was seen, such connections pass as they are, for a
while; a program could feign it, so a lesson holds for one executable and one name only, ends, and
is never learnt where the policy wants every byte inspected. Pure: the clock is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from milecastle.model import Process

FIRST = 600.0
"""Seconds for which a lesson holds at first: whoever forgot to trust the CA will do so soon."""
LONGEST = 24 * 3600.0
"""It holds twice as long each time that it is learnt again, up to this."""
TIMES = 3
"""Handshakes that have to be broken off without a word; an alert is believed at once."""
WITHIN = 600.0
"""Seconds within which they have to."""
MOST = 10_000
"""Lessons, and half-learnt ones, that are kept; the oldest go first."""
ANYBODY = ""
"""The program of lessons that are about the service."""

type Key = tuple[str, str]
"""Program and name."""


@dataclass(frozen=True, slots=True)
class Lesson:
    outcome: str
    """What is told of connections that pass because of it: a word of `seen`."""
    until: float
    """Unix seconds."""
    lasts: float
    """Seconds."""


def program_of(process: Process | None) -> str | None:
    """Return what a program is known by, None where unknown: the executable's digest, else its
    path; of an interpreter its script too, for one script says nothing of another.
    """
    executable = (process.sha256 or process.exe) if process else None
    return f"{executable} {process.script}" if process and process.script else executable


class Lessons:
    """All of them, in memory. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._learnt: OrderedDict[Key, Lesson] = OrderedDict()
        self._seen: OrderedDict[Key, list[float]] = OrderedDict()

    def find(self, process: Process | None, name: str) -> Lesson | None:
        """Return the lesson that holds for a connection of this process to this name."""
        for program in (ANYBODY, program_of(process)):
            lesson = None if program is None else self._learnt.get((program, name))
            if lesson and self._clock() < lesson.until:
                return lesson
        return None

    def client_failed(self, process: Process | None, name: str, *, said_why: bool) -> Lesson | None:
        """Take a handshake that the client broke off; return the lesson, if there is one now."""
        program = program_of(process)
        if program is None:
            return None
        now, key = self._clock(), (program, name)
        times = [each for each in self._seen.pop(key, []) if now - each < WITHIN]
        if said_why or len(times) + 1 >= TIMES:
            return self._learn(key, "refused_ca")
        self._seen[key] = [*times, now]
        while len(self._seen) > MOST:
            self._seen.popitem(last=False)
        return None

    def service_failed(self, name: str) -> Lesson:
        """Take a connection that a service ended after it had asked for a certificate."""
        return self._learn((ANYBODY, name), "wants_certificate")

    def forget_clients(self) -> None:
        """Unlearn what clients refused: the CA is another one now."""
        self._seen.clear()
        for key in [key for key in self._learnt if key[0] != ANYBODY]:
            del self._learnt[key]

    def _learn(self, key: Key, outcome: str) -> Lesson:
        before, now = self._learnt.get(key), self._clock()
        lasts = FIRST
        if before is not None and now < before.until + LONGEST:
            lasts = before.lasts if now < before.until else min(2 * before.lasts, LONGEST)
        lesson = self._learnt[key] = Lesson(outcome, now + lasts, lasts)
        self._learnt.move_to_end(key)
        while len(self._learnt) > MOST:
            self._learnt.popitem(last=False)
        return lesson

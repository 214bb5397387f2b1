"""A policy at work: (subject, findings) -> Decision. Decide; touch nothing.

Two kinds of rules. One with ``when.finding`` covers findings: it matches where the subject's
conditions hold and a finding fits. One without covers the exchange as such. An exception takes
away what it covers, before any other rule is asked: the findings that fit it, or, where it asks
for no finding, the rules that ask for none. Then the strongest action of the matching rules is
taken, in each mode by itself; the first rule of that action decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from milecastle.catalogue import SELFTEST
from milecastle.model import (
    ALLOWED,
    Action,
    Finding,
    Mode,
    OnFailure,
    Process,
    Service,
    Standing,
    Subject,
    Verdict,
)
from milecastle.policy.actions import Place, fitting
from milecastle.policy.columns import bits
from milecastle.policy.contradictions import AT_CONNECT, OF_CALLER, OF_SERVICE
from milecastle.policy.document import Document, Rule
from milecastle.policy.explaining import Step, explain
from milecastle.policy.limiting import Charge, charge
from milecastle.policy.matching import Matcher, mask_of
from milecastle.policy.patterns import Closest, any_of


@dataclass(frozen=True, slots=True)
class Notice:
    """What a coach rule has to say to whoever sent a message that goes through."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with one message.

    ``redact``, ``pseudonymise`` and ``neutralise`` hold what enforced rules want replaced, each
    finding in one of them: the strongest that can be done where it stands. A message that can't be
    rewritten is stopped instead (`actions.fitting`).
    """

    verdict: Verdict
    redact: tuple[Finding, ...] = ()
    pseudonymise: tuple[Finding, ...] = ()
    neutralise: tuple[Finding, ...] = ()
    notices: tuple[Notice, ...] = ()
    """Of enforced coach rules, whatever the verdict."""
    rules: tuple[str, ...] = ()
    """The ids of all rules that matched, in the policy's order, exceptions in use included."""
    would: Verdict | None = None
    """What a monitored rule would have done, where that is stronger than the verdict."""
    excepted: tuple[Finding, ...] = ()
    """What exceptions took away."""

    @property
    def edited(self) -> tuple[Finding, ...]:
        """Everything that is replaced, by whatever."""
        return self.redact + self.pseudonymise + self.neutralise


class Policy:
    """A document, compiled. Immutable, but for what its columns remember."""

    def __init__(self, document: Document | None = None) -> None:
        """Without a document: monitor mode, no rules, nothing sanctioned, all decrypted."""
        self.document = document = document or Document()
        self.mode: Mode = document.mode
        self.rules: tuple[Rule, ...] = tuple(
            replace(rule, mode=rule.mode or document.mode) for rule in document.rules
        )
        self._matcher = Matcher(self.rules)
        self._acting: dict[Mode, list[tuple[Action, int]]] = {
            mode: [
                (action, mask_of(r.action is action and r.mode == mode for r in self.rules))
                for action in reversed(Action)
            ]
            for mode in ("enforce", "monitor")
        }
        enforced = dict(self._acting["enforce"])
        self._editing = [(a, enforced[a]) for a in reversed(Action) if a.edits and enforced[a]]
        self._edits = sum(rules for _, rules in self._editing)
        self._coaching = enforced[Action.COACH]
        self._limiting = mask_of(r.action is Action.LIMIT for r in self.rules)
        self._opening = mask_of(r.must_inspect and r.mode == "enforce" for r in self.rules)
        ways: tuple[OnFailure, ...] = ("closed", "open")
        saying = {
            way: mask_of(r.on_failure == way and r.mode == "enforce" for r in self.rules)
            for way in ways
        }
        self._failing = {way: rules for way, rules in saying.items() if rules}
        about_all = mask_of(rule.when.finding is None for rule in self.rules)
        kernel_s = mask_of(rule.when.asks <= OF_SERVICE | OF_CALLER for rule in self.rules)
        self._lifting = about_all & mask_of(rule.exception is not None for rule in self.rules)
        self._refusing = [
            about_all & kernel_s & enforced[action] for action in (Action.REFUSE, Action.BLOCK)
        ]
        services, failure = document.services, document.on_failure
        self._standings = Closest(
            [(each, standing) for standing in Standing for each in getattr(services, standing)],
            tuple(Standing),
        )
        self._failures: Closest[OnFailure] = Closest(
            [(each, "open") for each in failure.open]
            + [(each, "closed") for each in failure.closed],
            ("open", "closed"),
        )
        self._passed = any_of(document.intercept)

    def standing(self, service: Service | None) -> Standing:
        """Return what the organisation thinks of a service; the self-test is always welcome."""
        if service is not None and service.id == SELFTEST.id:
            return Standing.SANCTIONED
        found = self._standings.find(service.id) if service else None
        return found or Standing(self.document.services.default)

    def intercepts(self, service: Service) -> bool:
        """Tell whether traffic to a service is decrypted: the catalogue may, the policy lets."""
        return service.decrypt and (service.id == SELFTEST.id or not self._passed(service.id))

    def on_failure(
        self,
        service: Service | None,
        subject: Subject | None = None,
        *,
        process: Process | None = None,
        now: float | None = None,
    ) -> OnFailure:
        """Return what happens where the inspection could not be done.

        Enforced rules with an ``on_failure`` of their own speak first, if all that they ask of
        the subject holds (without one: if they ask for nothing but the service, or the process
        where it is given); of several, closed wins. What could not be read, such as the model,
        is taken as fitting by those that close, and not by those that open. Then the document's
        word on the service, then its default.
        """
        if self._failing:
            given = subject or self._caller(service, process)
            known = AT_CONNECT if process else OF_SERVICE
            for way, rules in self._failing.items():
                closes = way == "closed"
                speaking = rules & self._matcher.applicable(given, now, unknown_fits=closes)
                for rule in map(self.rules.__getitem__, bits(speaking)):
                    if subject or rule.when.asks - {"finding"} <= known:
                        return way
        found = self._failures.find(service.id) if service else None
        return found or self.document.on_failure.default

    def refusal(self, service: Service, *, now: float) -> Rule | None:
        """Return the enforced rule that blocks a service whoever calls it, whatever is said."""
        found = self.refusals(service, now=now)
        return next((rule for rule in found if rule.when.asks <= OF_SERVICE), None)

    def refusals(self, service: Service, *, now: float) -> list[Rule]:
        """Return the enforced rules that block or refuse a service whatever is said, to everybody
        or to those whom the kernel can tell (`OF_CALLER`), the strongest first.

        None of them where an exception (valid at ``now``, Unix seconds) may lift it for somebody.
        """
        fitting = self._matcher.of_service(self._caller(service, None))
        if fitting & self._lifting & self._matcher.valid(now):
            return []
        return [self.rules[number] for rules in self._refusing for number in bits(fitting & rules)]

    def must_inspect(self, service: Service | None, process: Process | None = None) -> bool:
        """Tell whether a connection is refused rather than passed on without a look inside."""
        if not self._opening:
            return False
        return bool(self._opening & self._matcher.applicable(self._caller(service, process)))

    def charges(self, subject: Subject, *, now: float | None = None) -> tuple[Charge, ...]:
        """Return what a request counts against; rules in monitor mode count too.

        Those whose limit is reached are what ``decide`` is told as ``over``.
        """
        if not self._limiting or subject.direction != "request":
            return ()
        counting = map(
            self.rules.__getitem__, bits(self._limiting & self._matcher.applicable(subject, now))
        )
        return tuple(
            charge(rule.id, rule.limit, subject, rule.mode or self.mode)
            for rule in counting
            if rule.limit
        )

    def decide(
        self,
        subject: Subject,
        findings: Sequence[Finding] = (),
        *,
        now: float | None = None,
        over: Collection[str] = (),
    ) -> Decision:
        """Return what is done with a message.

        ``now`` is the Unix time in seconds; without it every exception counts as expired. ``over``
        are the rules whose limit is reached for this subject; other limits do not match.
        """
        matches = self._matcher.match(subject, findings, now)
        matched = matches.rules
        if limiting := matched & self._limiting:
            within = (n for n in bits(limiting) if self.rules[n].id not in over)
            matched &= ~sum(1 << number for number in within)
        enforced = self._strongest(matched, "enforce")
        monitored = self._strongest(matched, "monitor")
        verdict = max(enforced, monitored, key=lambda each: (each.applied.rank, bool(each.rule)))
        edits = self._split(matched, subject, findings, matches.covers)
        if verdict.applied.edits and verdict.action not in edits:
            verdict = replace(verdict, action=max(edits, key=lambda action: action.rank))
        speaking = map(self.rules.__getitem__, bits(matched & self._coaching))
        return Decision(
            verdict,
            redact=edits.get(Action.REDACT, ()),
            pseudonymise=edits.get(Action.PSEUDONYMISE, ()),
            neutralise=edits.get(Action.NEUTRALISE, ()),
            notices=tuple(Notice(rule.id, reason(rule)) for rule in speaking),
            rules=tuple(self.rules[number].id for number in bits(matched)),
            would=monitored if monitored.action.rank > verdict.action.rank else None,
            excepted=matches.excepted,
        )

    def explain(
        self, subject: Subject, findings: Sequence[Finding] = (), *, now: float | None = None
    ) -> list[Step]:
        """Say rule by rule why it matched or did not, in the policy's order."""
        matches = self._matcher.match(subject, findings, now)
        return explain(self.rules, matches, self._matcher.valid(now), subject, findings, now)

    def _split(
        self, matched: int, subject: Subject, findings: Sequence[Finding], covers: Sequence[int]
    ) -> dict[Action, tuple[Finding, ...]]:
        """Return the findings that are replaced, by the action that does it."""
        chosen: dict[Action, tuple[Finding, ...]] = {}
        if not matched & self._edits:
            return chosen
        for finding, mask in zip(findings, covers, strict=True):
            action = next((a for a, rules in self._editing if mask & matched & rules), None)
            if action:
                place = Place(subject.direction, provenance=finding.provenance)
                action = fitting(action, place)
                chosen[action] = (*chosen.get(action, ()), finding)
        return chosen

    def _caller(self, service: Service | None, process: Process | None) -> Subject:
        """Return what is known of a connection before anything was said on it."""
        standing = self.standing(service)
        if service is None:
            return Subject(None, standing=standing, process=process)
        return Subject(service.id, service.category, standing, process=process)

    def _strongest(self, matched: int, mode: Mode) -> Verdict:
        """Return the verdict of the matching rules of one mode."""
        for action, rules in self._acting[mode]:
            if found := matched & rules:
                rule = self.rules[next(bits(found))]
                return Verdict(action, rule.id, reason(rule), mode, rule.style)
        return ALLOWED


def reason(rule: Rule) -> str:
    """Return what is said of a verdict of this rule."""
    return rule.reason or rule.description or f"the policy's rule {rule.id}"

"""A policy at work: (subject, findings) -> Decision. Decide; touch nothing.

Two kinds of rules. One with ``when.finding`` covers findings: it matches where the subject's
conditions hold and a finding fits. One without covers the exchange as such. An exception takes
away what it covers, before any other rule is asked: the findings that fit it, or, where it asks
for no finding, the rules that ask for none. Then the strongest action of the matching rules is
taken, in each mode by itself; the first rule of that action decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from milecastle.catalogue import SELFTEST
from milecastle.model import (
    ALLOWED,
    Action,
    Finding,
    Mode,
    OnFailure,
    Service,
    Standing,
    Subject,
    Verdict,
)
from milecastle.policy.columns import bits
from milecastle.policy.conditions import SUBJECT
from milecastle.policy.document import Document, Rule
from milecastle.policy.explaining import Step, explain
from milecastle.policy.matching import Matcher, mask_of
from milecastle.policy.patterns import Closest, any_of

OF_SERVICE = frozenset({"service", "category", "standing"})
"""What is known of a connection before anything was said on it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with one message."""

    verdict: Verdict
    redact: tuple[Finding, ...] = ()
    """What enforced redact rules cover; replaced where the message goes on."""
    rules: tuple[str, ...] = ()
    """The ids of all rules that matched, in the policy's order, exceptions in use included."""
    would: Verdict | None = None
    """What a monitored rule would have done, where that is stronger than the verdict."""
    excepted: tuple[Finding, ...] = ()
    """What exceptions took away."""


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
        self._redacting = dict(self._acting["enforce"])[Action.REDACT]
        self._failing = mask_of(
            r.on_failure is not None and r.mode == "enforce" for r in self.rules
        )
        about_all = [rule for rule in self.rules if rule.when.finding is None]
        self._lifting = [rule for rule in about_all if rule.exception]
        self._refusing = [
            rule
            for rule in about_all
            if rule.action is Action.BLOCK
            and rule.mode == "enforce"
            and rule.when.subject.keys() <= OF_SERVICE
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

    def on_failure(self, service: Service | None, subject: Subject | None = None) -> OnFailure:
        """Return what happens where the inspection could not be done.

        Enforced rules with an ``on_failure`` of their own speak first, if all that they ask of
        the subject holds (without a subject: if they ask for nothing but the service); of
        several, closed wins. Then the document's word on the service, then its default.
        """
        given = subject or Subject(
            service.id if service else None,
            service.category if service else "",
            self.standing(service),
        )
        speaking = self._failing and self._failing & self._matcher.applicable(given)
        said = {
            rule.on_failure
            for rule in map(self.rules.__getitem__, bits(speaking))
            if subject or rule.when.subject.keys() <= OF_SERVICE
        }
        if said:
            return "closed" if "closed" in said else "open"
        found = self._failures.find(service.id) if service else None
        return found or self.document.on_failure.default

    def refusal(self, service: Service, *, now: float) -> Rule | None:
        """Return the enforced rule that blocks a service whoever calls it, whatever is said.

        None where there is no such rule, or where an exception (valid at ``now``, Unix seconds)
        may lift it for somebody.
        """
        given = Subject(service.id, service.category, self.standing(service))

        def holds(rule: Rule) -> bool:
            """Whether all that the rule asks of the service holds."""
            tests = ((key, rule.when.subject.get(key)) for key in OF_SERVICE)
            return all(test.holds(SUBJECT[key].value(given)) for key, test in tests if test)

        lifted = (rule.exception for rule in self._lifting if holds(rule))
        if any(exception and exception.expires > now for exception in lifted):
            return None
        return next(filter(holds, self._refusing), None)

    def decide(
        self, subject: Subject, findings: Sequence[Finding] = (), *, now: float | None = None
    ) -> Decision:
        """Return what is done with a message.

        ``now`` is the Unix time in seconds; without it every exception counts as expired.
        """
        matches = self._matcher.match(subject, findings, now)
        enforced = self._strongest(matches.rules, "enforce")
        monitored = self._strongest(matches.rules, "monitor")
        verdict = max(enforced, monitored, key=lambda each: (each.applied.rank, bool(each.rule)))
        redacting = matches.rules & self._redacting
        covered = zip(findings, matches.covers, strict=True)
        return Decision(
            verdict,
            tuple(finding for finding, rules in covered if rules & redacting),
            tuple(self.rules[number].id for number in bits(matches.rules)),
            monitored if monitored.action.rank > verdict.action.rank else None,
            matches.excepted,
        )

    def explain(
        self, subject: Subject, findings: Sequence[Finding] = (), *, now: float | None = None
    ) -> list[Step]:
        """Say rule by rule why it matched or did not, in the policy's order."""
        matches = self._matcher.match(subject, findings, now)
        return explain(self.rules, matches, self._matcher.valid(now), subject, findings)

    def _strongest(self, matched: int, mode: Mode) -> Verdict:
        """Return the verdict of the matching rules of one mode."""
        for action, rules in self._acting[mode]:
            if found := matched & rules:
                rule = self.rules[next(bits(found))]
                return Verdict(action, rule.id, reason(rule), mode)
        return ALLOWED


def reason(rule: Rule) -> str:
    """Return what is said of a verdict of this rule."""
    return rule.reason or rule.description or f"the policy's rule {rule.id}"

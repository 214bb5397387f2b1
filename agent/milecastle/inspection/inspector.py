"""Everything that exchanges have in common: the catalogue, the detectors, the policy in force."""

from __future__ import annotations

from milecastle import providers
from milecastle.catalogue import UNKNOWN, Catalogue
from milecastle.detect import Engine
from milecastle.inspection.context import Context
from milecastle.inspection.continuity import Continuity
from milecastle.inspection.exchange import Inspection
from milecastle.inspection.pseudonyms import Vault
from milecastle.inspection.record import DIRECTIONS
from milecastle.inspection.thread import Threads
from milecastle.model import Action, Direction, RequestHead, Service
from milecastle.policy import Policy, Rule

type Capture = str
"""``redacted``: findings are masked in what is recorded; ``metadata``: no text; ``full``: all."""


class Inspector:
    """Begin inspections. A new policy makes a new inspector; exchanges under way keep theirs."""

    def __init__(
        self,
        catalogue: Catalogue,
        engine: Engine,
        policy: Policy,
        *,
        capture: Capture = "redacted",
        threads: Threads | None = None,
        continuity: Continuity | None = None,
        host: str = "",
        history: providers.History | None = None,
        vault: Vault | None = None,
    ) -> None:
        """``host`` is the machine's name, for rules that ask for it."""
        self.catalogue = catalogue
        self.engine = engine
        self.policy = policy
        self.capture = capture
        self.host = host
        self.threads = threads or Threads(engine.key)
        self.history = history or providers.History()
        self.continuity = continuity or Continuity(engine.key)
        self.vault = vault or Vault(engine.key)
        actions = {rule.action for rule in policy.rules}
        self.limits = Action.LIMIT in actions
        """Whether a rule counts calls or tokens."""
        self.names = Action.PSEUDONYMISE in actions
        """Whether a rule gives out pseudonyms."""
        self._acting = {
            direction: any(may_act(rule, direction) for rule in policy.rules)
            for direction in DIRECTIONS
        }
        self._coaching = {
            direction: any(may_coach(rule, direction) for rule in policy.rules)
            for direction in DIRECTIONS
        }

    def acts_on(self, direction: Direction) -> bool:
        """Tell whether a rule can do more with such a message than alert.

        Only then is anything held back or waited for.
        """
        return self._acting[direction]

    def coaches(self, direction: Direction) -> bool:
        """Tell whether a rule may have something to say about such a message."""
        return self._coaching[direction]

    def begin(
        self, head: RequestHead, context: Context, body: bytes | None = None
    ) -> Inspection | None:
        """Return the inspection of a request, None where it is no call to an AI service.

        ``body`` helps to recognise a request by its shape; without it, host, path and headers
        have to do.
        """
        service = self._service(head, context)
        known = service is not None and service.category != UNKNOWN
        format_ = providers.recognise(head, body, known=known)
        if format_ is None:
            return None
        return Inspection(self, head, format_, service, context)

    def _service(self, head: RequestHead, context: Context) -> Service | None:
        if context.service is not None:
            return self.catalogue.services.get(context.service)
        return self.catalogue.match(head.host)

    def asks_for_body(self, head: RequestHead, context: Context) -> bool:
        """Tell whether a request is none that is known, but may be one by its body's shape."""
        service = self._service(head, context)
        unknown = service is not None and service.category == UNKNOWN
        return unknown and providers.promises_text(head)

    def with_policy(self, policy: Policy) -> Inspector:
        """Return an inspector with another policy and everything else the same."""
        return self._with(self.engine, policy)

    def with_engine(self, engine: Engine) -> Inspector:
        """Return an inspector with other detectors and everything else the same."""
        return self._with(engine, self.policy)

    def _with(self, engine: Engine, policy: Policy) -> Inspector:
        return Inspector(
            self.catalogue,
            engine,
            policy,
            capture=self.capture,
            threads=self.threads,
            continuity=self.continuity,
            host=self.host,
            history=self.history,
            vault=self.vault,
        )


def may_act(rule: Rule, direction: str) -> bool:
    """Tell whether a rule may change or stop a message that goes this way."""
    return enforced(rule, direction) and rule.action.rank > Action.COACH.rank


def may_coach(rule: Rule, direction: str) -> bool:
    """Tell whether a rule may speak to whoever sent a message, or gets one."""
    return enforced(rule, direction) and rule.action is Action.COACH


def enforced(rule: Rule, direction: str) -> bool:
    """Tell whether a rule is enforced on messages that go this way."""
    test = rule.when.subject.get("direction")
    return rule.mode == "enforce" and (test is None or test.holds(direction))

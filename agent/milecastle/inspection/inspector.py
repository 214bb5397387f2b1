"""Everything that exchanges have in common: the catalogue, the detectors, the policy in force."""

from __future__ import annotations

from milecastle import providers
from milecastle.catalogue import UNKNOWN, Catalogue
from milecastle.detect import Engine
from milecastle.inspection.context import Context
from milecastle.inspection.continuity import Continuity
from milecastle.inspection.exchange import Inspection
from milecastle.inspection.thread import Threads
from milecastle.model import Action, Direction, RequestHead
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
        self._acting = {
            direction: any(may_act(rule, direction) for rule in policy.rules)
            for direction in ("request", "response")
        }

    def acts_on(self, direction: Direction) -> bool:
        """Tell whether a rule can do more with such a message than alert.

        Only then is anything held back or waited for.
        """
        return self._acting[direction]

    def begin(
        self, head: RequestHead, context: Context, body: bytes | None = None
    ) -> Inspection | None:
        """Return the inspection of a request, None where it is no call to an AI service.

        ``body`` helps to recognise a request by its shape; without it, host, path and headers
        have to do.
        """
        service = self.catalogue.match(head.host)
        known = service is not None and service.category != UNKNOWN
        format_ = providers.recognise(head, body, known=known)
        if format_ is None:
            return None
        return Inspection(self, head, format_, service, context)

    def asks_for_body(self, head: RequestHead) -> bool:
        """Tell whether a request is none that is known, but may be one by its body's shape."""
        service = self.catalogue.match(head.host)
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
        )


def may_act(rule: Rule, direction: str) -> bool:
    """Tell whether a rule may change or stop a message that goes this way."""
    test = rule.when.subject.get("direction")
    applies = test is None or test.holds(direction)
    return applies and rule.mode == "enforce" and rule.action.rank > Action.COACH.rank

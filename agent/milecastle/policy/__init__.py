"""What is allowed: a document that a security team reads, compiled to verdicts."""

from milecastle.policy.actions import ACTIONS, Place, fitting
from milecastle.policy.cases import Case, Outcome, run_cases
from milecastle.policy.checking import check
from milecastle.policy.comparing import Difference, Seen, diff
from milecastle.policy.contradictions import OF_SERVICE
from milecastle.policy.document import Document, Rule
from milecastle.policy.explaining import Step
from milecastle.policy.limiting import Charge, Limit, Meter
from milecastle.policy.patterns import any_of
from milecastle.policy.policy import Decision, Notice, Policy
from milecastle.policy.schema import override_schema, schema

__all__ = [
    "ACTIONS",
    "OF_SERVICE",
    "Case",
    "Charge",
    "Decision",
    "Difference",
    "Document",
    "Limit",
    "Meter",
    "Notice",
    "Outcome",
    "Place",
    "Policy",
    "Rule",
    "Seen",
    "Step",
    "any_of",
    "check",
    "diff",
    "fitting",
    "override_schema",
    "run_cases",
    "schema",
]

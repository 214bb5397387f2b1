"""Attacks, written down as data, disguised, and sent through the inspection.

Pure: what is tried, by which policy, is the caller's word; nothing here is sent anywhere.
"""

from milecastle.redteam.corpus import Attack, read
from milecastle.redteam.disguises import DISGUISES
from milecastle.redteam.trial import OUTCOMES, Outcome, Trial, plan, run

__all__ = ["DISGUISES", "OUTCOMES", "Attack", "Outcome", "Trial", "plan", "read", "run"]

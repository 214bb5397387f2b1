"""Inspect in a plain mitmdump, without daemon or root: `mitmdump -s addons/milecastle_inspect.py`.

For trying policies and rules. Nobody is attributed; records go to standard output, a line each.
MILECASTLE_POLICY names the policy file, without it the shipped one is taken.
"""

import json
import os
import sys
import time
from pathlib import Path

from milecastle.proxy.briefing import Briefing
from milecastle.proxy.gate import Gate
from milecastle.proxy.ledger import Ledger
from milecastle.proxy.orders import Watch

chosen = os.environ.get("MILECASTLE_POLICY")
orders = Briefing().standing_alone(Path(chosen) if chosen else None)
ledger = Ledger(
    report=lambda record: print(json.dumps(record), file=sys.stdout, flush=True),  # noqa: T201
    clock=time.time,
    randomness=os.urandom,
)
addons = [Gate(Watch(orders), ledger, body_limit=32 << 20, callers={})]

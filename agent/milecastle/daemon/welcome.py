"""What a worker is told at its hello: how to work, for which names, by which rules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from milecastle.daemon import preparing
from milecastle.daemon.ceremony import Custody
from milecastle.daemon.knowledge import Knowledge
from milecastle.daemon.rules import Rules
from milecastle.daemon.tools import Offered
from milecastle.settings import Settings

BODY_LIMIT = 32 << 20
"""Bytes of a body that a worker holds for inspection."""


def configuration(
    settings: Settings, rules: Rules, custody: Custody, knowledge: Knowledge, offered: Offered
) -> Callable[[], dict[str, Any]]:
    """Return what makes each worker's configuration; settings are fixed, the rest is as it is now.

    OSError where a file that the settings name can't be read.
    """
    fixed = {
        "key": preparing.key(settings),
        "settings": {
            "capture": settings.capture,
            "body_limit": BODY_LIMIT,
            "upstream_ca": [path.read_text() for path in settings.upstream_ca],
        },
        "catalogue": [list(each) for each in preparing.further_catalogue(settings)],
    }
    instances = iter(range(1, sys.maxsize))
    return lambda: {
        **fixed,
        "instance": next(instances),
        "policy": rules.frame(),
        "chain": custody.ca.chain,
        "knowledge": {**knowledge.told(), "tools": offered.known()},
    }

"""Attacks through the running daemon: sent as any client sends, judged by what was recorded."""

from __future__ import annotations

import http.client
import os
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from milecastle.cli.control import Control
from milecastle.cli.faults import InputError, NoDaemonError
from milecastle.model import Action
from milecastle.redteam import Outcome, Trial
from milecastle.redteam.messages import HEADS, request

PATIENCE = 10.0
"""Seconds for an answer, and again for the daemon to have recorded the last one."""
HISTORY = 10_000
SLACK = 0.05
"""Seconds by which the daemon's clock may read otherwise than ours."""

type Span = tuple[float, float]


def tried(url: str, trials: Sequence[Trial], run_dir: Path) -> list[tuple[Trial, Outcome]]:
    """Return what became of each; InputError where nothing was seen by the daemon."""
    target = urlsplit(url)
    if target.scheme != "https" or not target.hostname:
        raise InputError("--live takes a URL such as https://llm.test.example")
    with Control(run_dir) as control:
        told = control.request("status")
    if not told.get("ready"):
        raise NoDaemonError("the daemon is not ready: `milecastle status` says why")
    trust = ssl.create_default_context()
    trust.load_verify_locations(told["ca"]["certificate"])
    spans = [strike(target, trust, trial) for trial in trials]
    actions = recorded(run_dir, spans)
    if not any(actions):
        raise InputError(f"the daemon saw none of it: is {target.hostname} in the catalogue?")
    return [(trial, outcome(action)) for trial, action in zip(trials, actions, strict=True)]


def strike(target: SplitResult, trust: ssl.SSLContext, trial: Trial) -> Span:
    """Send one attack; return when it began and ended (Unix time). InputError: no such server."""
    body = request(trial.provider, trial.attack.place, trial.text, stream=trial.stream)
    head = HEADS[trial.provider]
    began = time.time()
    host, port = target.hostname or "", target.port or 443
    connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=trust)
    try:
        connection.request(head.method, head.path, body, dict(head.headers))
        connection.getresponse().read(1 << 20)
    except http.client.HTTPException:
        pass  # it was ended in mid-answer; the daemon knows why
    except OSError as error:
        raise InputError(f"{target.geturl()}: {error}") from None
    finally:
        connection.close()
    return began, time.time()


def recorded(run_dir: Path, spans: Sequence[Span]) -> list[Action | None]:
    """Return what the daemon says was done in each span; None where it saw nothing."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with Control(run_dir) as control:
            events = control.request("tail", history=HISTORY)
        own = [each for each in events if (each.get("process") or {}).get("pid") == os.getpid()]
        found = list(matched(own, spans))
        if all(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def matched(events: Sequence[dict[str, Any]], spans: Sequence[Span]) -> Iterator[Action | None]:
    """Yield the action of the event that began in each span."""
    for began, ended in spans:
        inside = (
            Action(each["action"])
            for each in events
            if began - SLACK <= each.get("started", 0) <= ended + SLACK
        )
        yield next(inside, None)


def outcome(action: Action | None) -> Outcome:
    """Return what became of an attack, by what the daemon did; unseen is through."""
    if action is None or action is Action.ALLOW:
        return "through"
    if action.stops:
        return "stopped"
    return "replaced" if action.edits else "reported"

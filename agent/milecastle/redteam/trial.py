"""One attack in one disguise through the inspection: did it get through?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from milecastle import providers
from milecastle.inspection import Block, Context, Inspection, Inspector
from milecastle.model import Action, ParseError, Process, ResponseHead
from milecastle.redteam import bait, messages
from milecastle.redteam.corpus import Attack
from milecastle.redteam.disguises import DISGUISES

type Outcome = Literal["stopped", "replaced", "reported", "through"]
OUTCOMES: tuple[Outcome, ...] = ("stopped", "replaced", "reported", "through")
"""Best first. Reported: it went through, and somebody is told."""
PROVIDERS = tuple(messages.HEADS)
AGENT = Process(1, "node", 1000, exe="/usr/bin/node", user="redteam")
SHORTEST_HALF = 8
CHUNK = 64
"""Bytes of a stream that come at once: less than an event."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is sent."""

    attack: Attack
    disguise: str
    provider: str
    stream: bool

    @property
    def payload(self) -> str:
        """What must not get through, as it is disguised here."""
        plain = bait.filled(self.attack.payload, self.attack.id)
        return DISGUISES[self.attack.disguise][self.disguise](plain)

    @property
    def text(self) -> str:
        """The whole text with the payload in it."""
        around = bait.filled(self.attack.text.replace("{payload}", "\0"), self.attack.id)
        return around.replace("\0", self.payload)


def plan(attacks: Iterable[Attack]) -> Iterator[Trial]:
    """Yield every attack in every disguise of its kind, the providers' forms in turn."""
    number = 0
    for attack in attacks:
        for disguise in DISGUISES[attack.disguise]:
            provider = PROVIDERS[number % len(PROVIDERS)]
            yield Trial(attack, disguise, provider, stream=number // len(PROVIDERS) % 2 == 1)
            number += 1


def run(inspector: Inspector, trial: Trial) -> Outcome:
    """Send one attack through an inspection; say what became of it."""
    name = f"{trial.attack.id}-{trial.disguise}"
    context = Context(name, started=0.0, process=AGENT)
    place, text = trial.attack.place, trial.text
    answering = place in messages.ANSWERS
    body = messages.request(
        trial.provider, "prompt" if answering else place, "Go on." if answering else text,
        stream=trial.stream,
    )  # fmt: skip
    inspection = inspector.begin(messages.HEADS[trial.provider], context, body)
    assert inspection is not None, "a form that is not recognised"
    sent = inspection.request(body)
    if isinstance(sent, Block):
        return "stopped"
    if not answering:
        left = any(remains(trial.payload, each) for each in strings(orjson.loads(sent.body)))
        return told(inspection) if left else "replaced"
    head, data = messages.answer(trial.provider, place, text, stream=trial.stream)
    came, cut = answered(inspection, head, data)
    if came is None or (cut and not holds(inspection, head, came, trial.payload)):
        return "stopped"
    return told(inspection) if holds(inspection, head, came, trial.payload) else "replaced"


def answered(inspection: Inspection, head: ResponseHead, data: bytes) -> tuple[bytes | None, bool]:
    """Return what the client gets of an answer, None where nothing, and whether it was cut."""
    if inspection.respond(head) != "stream":
        got = inspection.response(data)
        return (None, False) if isinstance(got, Block) else (got.body, False)
    came = b""
    for start in range(0, len(data), CHUNK):
        chunk = inspection.feed(data[start : start + CHUNK])
        came += chunk.data
        if chunk.cut:
            return came, True
    last = inspection.finish()
    return came + last.data, last.cut


def holds(inspection: Inspection, head: ResponseHead, came: bytes, payload: str) -> bool:
    """Tell whether what a client got holds the payload, read as a client reads it."""
    try:
        if providers.is_stream(inspection.exchange, head):
            stream = providers.open_stream(inspection.exchange, head)
            stream.feed(came)
            stream.close()
            exchange = stream.exchange
        else:
            exchange = providers.parse_response(inspection.exchange, head, came)
    except ParseError:
        return remains(payload, came.decode("utf-8", "replace"))
    parts = [part for message in exchange.output_messages for part in message.parts]
    return any(
        remains(payload, text)
        for part in parts
        for text in (part.text, *(leaf.text for leaf in part.leaves))
    )


def remains(payload: str, text: str) -> bool:
    """Tell whether a text holds a payload, or one half of it: half a key or an order is one."""
    middle = len(payload) // 2
    halves = (payload[:middle], payload[middle:]) if middle >= SHORTEST_HALF else ()
    return payload in text or any(half in text for half in halves)


def told(inspection: Inspection) -> Outcome:
    """Return what an attack that went through came to: somebody is told, or nobody."""
    verdict = inspection.told.verdict()
    return "reported" if verdict.applied.rank >= Action.ALERT.rank else "through"


def strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - parsed JSON
    """Yield every string of parsed JSON, and what files in it hold."""
    match value:
        case dict():
            for each in value.values():
                yield from strings(each)
        case list():
            for each in value:
                yield from strings(each)
        case str():
            yield value
            if value.startswith("data:"):
                try:
                    yield base64.b64decode(value.partition(",")[2]).decode("utf-8", "replace")
                except (binascii.Error, ValueError):
                    return

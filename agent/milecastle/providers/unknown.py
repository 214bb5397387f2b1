"""What no dialect knows: every string of a JSON body is text, and text bodies are one text.

A body to a catalogue host is never passed over in silence. JSON is taken apart into its strings,
form fields and parts by their kind, other text as it is, other bytes as size and hash.
"""

from __future__ import annotations

from milecastle.model import Json, Part
from milecastle.providers import usage
from milecastle.providers.answer import Answer
from milecastle.providers.ask import Ask
from milecastle.providers.dialect import Dialect
from milecastle.providers.leaves import unclaimed
from milecastle.providers.typed import mapping, word


def request(ask: Ask) -> None:
    """Take every string as what the user says."""
    ask.take_parameters(ask.body)
    ask.say("user", [Part("text", leaf.text, leaf.place) for leaf in unclaimed(ask.document, ())])


def response(answer: Answer, document: Json) -> None:
    """Take the prose as what the assistant says."""
    body = mapping(document)
    answer.model = word(body.get("model"))
    answer.report(body.get("usage"))
    for leaf in unclaimed(document, (), prose=True):
        answer.put(leaf.place, Part("text", leaf.text, leaf.place))


def event(answer: Answer, name: str, value: Json) -> None:
    """Take every string of an event; the same place again is the same part."""
    body = mapping(value)
    answer.model = word(body.get("model")) or answer.model
    if isinstance(used := body.get("usage"), dict):
        answer.usage = usage.read(used, answer.usage)
    for leaf in unclaimed(value, ()):
        part = answer.open(leaf.place, "text", leaf.place)
        answer.grow(part, leaf.text, leaf.place)


DIALECT = Dialect(request, response, event, "openai")

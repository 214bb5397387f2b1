"""The strings of a JSON value, each with its place: what is read where no format says more.

``leaves`` takes the strings of a structured value (the arguments of a tool call). ``unclaimed``
takes what a format's own code left over, so that no text hides in a field that nobody knew.
"""

from __future__ import annotations

import re
from collections.abc import Container

from milecastle.model import Json, Leaf, ParseError
from milecastle.providers.document import read_lenient
from milecastle.providers.places import plain, token

LONG_NUMBER = 999_999
"""Integers beyond this are leaves too: card, account and telephone numbers are sent as numbers."""

LONGEST_WORD = 100
"""Longer values are content, whatever key they stand under."""
SECRET = 16
"""Shorter strings without words are too short to be a credential."""
LONG_KEY = 32
"""Keys longer than this are leaves too, but for names of many words."""
LONGEST_NAME = 200

_WORDS_OF_FORMATS = """
role type id object model status content_type
call_id tool_call_id tool_use_id toolUseId finish_reason
stop_reason detail format effort media_type mime_type mimeType event event_id item_id response_id
previous_response_id previous_item_id conversation_id output_index tool_choice version phase
service_tier ttl jsonrpc method input_type file_id fileUri name namespace include
"""
STRUCTURAL = frozenset(_WORDS_OF_FORMATS.split())
"""Keys whose values are words of the format. Skipped where the value looks like such a word."""

OPAQUE = frozenset(
    {
        "signature",
        "b64_json",
        "embedding",
        "encrypted_content",
        "encrypted_index",
        "encrypted_stdout",
        "redactedContent",
        "thoughtSignature",
        "thought_signature",
    }
)
"""Keys of values that only the provider can read. Skipped where the value has no spaces."""

COMMON = frozenset(
    {"string", "object", "function", "text", "user", "assistant", "tool", "array", "integer"}
)
"""The words that stand most often under structural keys; saves looking at them."""

_NUMBERS = {int, float, bool, type(None)}
_WORD = re.compile(
    r"(?!.*(?=[a-z]*[0-9])[a-z0-9]{16})[a-z0-9][a-z0-9_.:/@+-]{0,80}"  # input_text, 2023-06-01
    r"|[A-Z][A-Za-z_]{0,40}"  # STRING, SystemMessage
    r"|(?:call|toolu|tooluse|srvtoolu|mcptoolu|msg|fc|fco|rs|resp|item|ctc|ctco|ws|ci|ig|fs|mcp|mcpr"
    r"|mcpl|cmp|chatcmpl|event|conv|sess|thread|run|step|asst|file|vs|pyd_ai)[_-]\w{4,80}",
    re.ASCII,
)
"""Words of the formats, and identifiers that providers and SDKs make. Anything else, a key of some
cloud under ``id``, is content."""
_NAME = re.compile(r"[A-Za-z]++(?:_[A-Za-z]++){0,8}+")
_CODED = re.compile(r"[A-Za-z0-9+/_=-]*")
_PROSE = re.compile(r"(?<![^\W\d_])[^\W\d_]{2,}+[\s,;:.!?]++[^\W\d_]{2}")

_RAW_PROSE = re.compile(rb"[A-Za-z][,;:.!?]? +[A-Za-z]")


def leaves(value: Json, place: str = "") -> tuple[Leaf, ...]:
    """Return every string of ``value``, long integers and telling keys included."""
    found: list[Leaf] = []
    _gather(value, place, found)
    return tuple(found)


def text_leaves(text: str, place: str) -> tuple[Leaf, ...]:
    """Return the strings of JSON text held in a string; none where it is no object or array."""
    if text.lstrip()[:1] not in ("{", "["):
        return ()
    try:
        value = read_lenient(text)
    except ParseError:
        return ()
    return leaves(value, place + "#")


def unclaimed(value: Json, claimed: Container[str], *, prose: bool = False) -> tuple[Leaf, ...]:
    """Return the strings whose place nobody claimed, without the words of the formats.

    With ``prose`` only those that have words or could be a credential. A claimed place that holds
    an object or an array claims all of it.
    """
    found: list[Leaf] = []
    _leave_over(value, "", "", claimed, prose, found)
    return tuple(found)


def is_structural(key: str, text: str) -> bool:
    """Tell whether a value is a word of the wire format, not of a person or a model."""
    if text in COMMON:
        return key in STRUCTURAL
    if key in STRUCTURAL:
        return len(text) <= LONGEST_WORD and _WORD.fullmatch(text) is not None
    return key in OPAQUE and _CODED.fullmatch(text) is not None


def is_prose(text: str) -> bool:
    """Tell whether a text has at least two words."""
    return _PROSE.search(text) is not None


def may_have_prose(raw: bytes) -> bool:
    """Tell whether JSON may hold words with a space between: cheaper than to look at each."""
    return b"\\" in raw or not raw.isascii() or _RAW_PROSE.search(raw) is not None


def is_telling(key: str) -> bool:
    """Tell whether a key is long enough, or enough like prose, to be content itself."""
    return (
        len(key) > LONGEST_NAME
        or (len(key) > LONG_KEY and _NAME.fullmatch(key) is None)
        or not key.isprintable()
        or (" " in key)
    )


def label(place: str) -> str:
    """Return the key that a place ends in, skipping the indices of arrays."""
    end = len(place)
    while end > 0:
        start = max(place.rfind("/", 0, end), place.rfind("#", 0, end))
        last = place[start + 1 : end]
        if last and not last.isdigit():
            return plain(last.rstrip("~"))
        end = start
    return ""


def _gather(value: Json, place: str, found: list[Leaf]) -> None:
    # strings are taken in their container's loop: a call for each would double the cost
    if type(value) is str:
        if value:
            found.append(Leaf(place, value))
    elif type(value) is dict:
        for key, below in value.items():
            if len(key) <= LONG_KEY and key.isidentifier():
                here = f"{place}/{key}"
            else:
                here = f"{place}/{token(key)}"
                if is_telling(key):
                    found.append(Leaf(here + "~", key))
            if type(below) is str:
                if below:
                    found.append(Leaf(here, below))
            elif below is not None:
                _gather(below, here, found)
    elif type(value) is list:
        if set(map(type, value)) <= _NUMBERS:
            return  # an embedding, an array of tokens
        for index, below in enumerate(value):
            _gather(below, f"{place}/{index}", found)
    elif type(value) is int and not -LONG_NUMBER <= value <= LONG_NUMBER:
        found.append(Leaf(place, str(value)))


def _leave_over(
    value: Json, place: str, key: str, claimed: Container[str], prose: bool, found: list[Leaf]
) -> None:
    if type(value) is str:
        wanted = value and place not in claimed and not is_structural(key, value)
        if wanted and (not prose or len(value) >= SECRET or is_prose(value)):
            found.append(Leaf(place, value))
    elif type(value) is dict:
        if place in claimed:
            return
        for name, below in value.items():
            kind = type(below)
            if kind is str and name in STRUCTURAL and below in COMMON:
                continue  # most strings of most bodies: they need no place
            if len(name) <= LONG_KEY and name.isidentifier():
                here = f"{place}/{name}"
            else:
                here = f"{place}/{token(name)}"
                if is_telling(name):
                    found.append(Leaf(here + "~", name))
            if kind is dict or kind is list or (kind is str and here not in claimed):
                _leave_over(below, here, name, claimed, prose, found)
    elif type(value) is list:
        if place in claimed or set(map(type, value)) <= _NUMBERS:
            return
        for index, below in enumerate(value):
            _leave_over(below, f"{place}/{index}", key, claimed, prose, found)

"""Placeholders that stand for what must not leave the host, and their way back in the answer.

A name is made of what was found and of a keyed digest of it, so the same text has the same name
in every request of a user to a service, with nothing stored; the model can tell two of them apart
and talk about both. What they stand for is kept in memory only, and only so much of it: a
conversation sends its history again, and with it everything that its answer may need.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from milecastle.model import Finding

DIGITS = 6
"""Hexadecimal digits of a name, unless two texts would have the same one."""
MOST_DIGITS = 40
KINDS: Mapping[str, str] = {
    "email": "EMAIL",
    "phone": "PHONE",
    "street": "ADDRESS",
    "postal": "ADDRESS",
}
"""What a placeholder calls rules by their first word, where several find the same kind of thing;
any other rule has its own name in it."""
LONGEST_KIND = 40
LONGEST = LONGEST_KIND + MOST_DIGITS + 3
"""Characters of a placeholder."""
SCOPES = 1_000
NAMES = 2_000
"""Most conversations, and most names of one, that are remembered; the oldest go first."""
BYTES = 1 << 20
"""Most text that the names of one conversation stand for, code points."""

type Match = tuple[int, int, str]
"""Start, end and what belongs there."""


def kind(rule: str) -> str:
    """Return the word that says what a placeholder stands for: ``EMAIL``."""
    word = KINDS.get(rule.partition("-")[0])
    return word or re.sub(r"[^A-Z0-9]+", "_", rule.upper()).strip("_")[:LONGEST_KIND] or "VALUE"


class Pseudonyms:
    """The names of one scope, which is a user's conversations with one service."""

    def __init__(self, key: bytes, scope: str) -> None:
        self._key = key
        self._scope = scope.encode(errors="replace")
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._size = 0
        self._pattern: re.Pattern[str] | None = None

    def __bool__(self) -> bool:
        return bool(self._texts)

    def name(self, finding: Finding, text: str) -> str:
        """Return the placeholder for a text that was found."""
        message = self._scope + b"\0" + text.encode(errors="surrogatepass")
        digest = hmac.new(self._key, message, hashlib.sha256).hexdigest()
        digits = DIGITS
        while True:
            name = f"[{kind(finding.rule)}_{digest[:digits]}]"
            if self._texts.get(name, text) == text or digits >= MOST_DIGITS:
                break
            digits += 2
        self._remember(name, text)
        return name

    def _remember(self, name: str, text: str) -> None:
        if name not in self._texts:
            self._size += len(text)
            self._pattern = None
        self._texts[name] = text
        self._texts.move_to_end(name)
        while len(self._texts) > NAMES or (self._size > BYTES and len(self._texts) > 1):
            _, gone = self._texts.popitem(last=False)
            self._size -= len(gone)
            self._pattern = None

    def known(self) -> Iterator[tuple[str, str]]:
        """Yield each placeholder with what it stands for."""
        return iter(self._texts.items())

    def find(self, text: str) -> Iterator[Match]:
        """Yield the placeholders in a text, each with what it stands for."""
        if "[" not in text or not self._texts:
            return
        for match in self._compiled().finditer(text):
            yield match.start(), match.end(), self._texts[match[0]]

    def open_from(self, text: str) -> int:
        """Return where a placeholder may have begun that is not whole yet; the length if none."""
        start = text.rfind("[") if self._texts else -1
        tail = text[start:]
        if start < 0 or len(tail) >= LONGEST or tail in self._texts:
            return len(text)
        return start if any(name.startswith(tail) for name in self._texts) else len(text)

    def _compiled(self) -> re.Pattern[str]:
        if self._pattern is None:
            self._pattern = re.compile("|".join(map(re.escape, self._texts)))
        return self._pattern


@dataclass(slots=True)
class Restoring:
    """Puts texts back into one part of a stream that grows."""

    names: Pseudonyms
    in_json: bool
    """The part is a tool call's arguments: JSON text, unless it turns out to be none."""
    _tail: str = ""
    _base: int = 0
    _begun: bool = False

    def feed(self, text: str) -> tuple[list[Match], int]:
        """Return what belongs where in the part's text, and how far it is settled."""
        if not self._begun and text.strip():
            self._begun = True
            self.in_json = self.in_json and text.lstrip()[0] in '{["'
        self._tail += text
        found = [
            (self._base + start, self._base + end, inside(value) if self.in_json else value)
            for start, end, value in self.names.find(self._tail)
        ]
        settled = self.names.open_from(self._tail)
        self._base += settled
        self._tail = self._tail[settled:]
        return found, self._base

    def pour(self, text: str) -> str:
        """Return what may go on now, in place of a piece that is sent by itself.

        What may be the beginning of a placeholder goes with the next piece.
        """
        begins, pending = self._base, self._tail + text
        found, settled = self.feed(text)
        out, at = [], 0
        for start, end, value in found:
            out += [pending[at : start - begins], value]
            at = end - begins
        return "".join(out) + pending[at : settled - begins]

    def rest(self) -> str:
        """Return what was kept back, now that nothing follows."""
        tail, self._tail = self._tail, ""
        self._base += len(tail)
        return tail


def inside(value: str) -> str:
    """Return a text as it stands between the quotes of a JSON string."""
    return orjson.dumps(value).decode()[1:-1]


class Vault:
    """The names of all scopes, in memory only."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.new(key, b"pseudonyms", hashlib.sha256).digest()
        self._scopes: OrderedDict[str, Pseudonyms] = OrderedDict()

    def of(self, scope: str) -> Pseudonyms:
        """Return the names of a scope."""
        found = self._scopes.setdefault(scope, Pseudonyms(self._key, scope))
        self._scopes.move_to_end(scope)
        while len(self._scopes) > SCOPES:
            self._scopes.popitem(last=False)
        return found

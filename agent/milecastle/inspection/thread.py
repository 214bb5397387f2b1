"""Where an exchange stands in its conversation: digests of what was said up to each message.

Clients send the whole history with every turn. A keyed digest rolls over it, message by message,
so that a request's beginning is recognised as what an earlier exchange ended with. What clients
change when they send a history again does not count: white space, the ids of calls, how arguments
are written as JSON, reasoning, and how texts of one speaker are cut into parts and messages.
Only digests leave this room; texts are held in memory for as long as conversations are likely to
send them again. Bounded: in what is told, and in what is remembered.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from milecastle.model import Exchange, Message, Part

CONVERSING = frozenset({"chat", "text_completion", "generate_content", "count_tokens"})
"""Operations whose requests hold a conversation."""
INSTRUCTING = frozenset({"system", "developer"})
"""Roles that may change from turn to turn without another conversation."""
TOLD = 64
"""Digests of the latest messages that a record holds, beside that of the first."""
REMEMBERED = 8192
"""Normalised texts whose digests are remembered."""
HELD = 8 << 20
"""Characters of all of them together."""
REPORTED = 4096
"""Ends of conversations that were reported, over all processes."""
SHORT = 256
"""Characters up to which a text is normalised again rather than looked up."""
SIZE = 12
"""Bytes of a digest."""

ASIDE = re.compile(r"\s*<system-reminder>.*</system-reminder>\s*", re.DOTALL)
"""What a client says beside the conversation and does not say again (Claude Code)."""
SUMMARY = re.compile(
    r"continued from a previous conversation|(?:conversation|session|chat)[^.\n]{0,40} summary\b"
    r"|summary of (?:the|our|this|its) [^.\n]{0,40}\b(?:conversation|session|chat|thinking|work)"
    r"|<(?:state_snapshot|conversation_summary|summary)>|what (?:did we|we did) (?:do )?so far"
    r"|(?:conversation|chat) (?:so far|history)[^.\n]{0,40}\b(?:summari[sz]ed|compact|condensed)",
    re.IGNORECASE,
)
"""How a client that starts over says that this is not the beginning: Claude Code, Codex, Gemini
CLI, opencode and LangChain's summarising memory, each in its own words."""
OPENING = 4
"""Messages at the beginning that a summary is looked for in, and the characters of each."""
OPENING_TEXT = 2000
HINTS = ("summar", "continued from", "so far", "history", "snapshot")
"""Every summary holds one of these; looking for them costs a hundredth of the pattern."""
TRACED = 64
"""Conversations whose digests so far are kept."""

type Owner = tuple[object, ...]
"""Whose conversations these are: a process, or else a connection."""


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Hash: ...


@dataclass(frozen=True, slots=True)
class Thread:
    """The digests of one exchange."""

    prefix: tuple[str, ...]
    """One for each input message: of all that was said up to it, and with it. Empty where that is
    nothing but instructions."""
    head: str | None
    """The same with the answer; None without one."""
    system: str
    """Of the instructions, without words that hold digits: dates, counts and versions change."""
    summary: bool
    """It begins with a summary of something said before."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A conversation as it was traced last."""

    messages: tuple[Message, ...]
    states: tuple[Rolling, ...]
    """After each message."""

    def common(self, messages: Sequence[Message]) -> int:
        """Return how many messages are the very same: those of a history that was known."""
        pairs = enumerate(zip(self.messages, messages, strict=False))
        shortest = min(len(self.messages), len(messages))
        return next((number for number, (old, new) in pairs if old is not new), shortest)


class Threads:
    """Trace exchanges; remember what was normalised and what was reported. One thread at a time."""

    def __init__(self, key: bytes) -> None:
        """``key`` is secret to the host: a digest must not tell what was said by trying."""
        self._key = hashlib.blake2b(b"thread", key=key[:64], digest_size=32).digest()
        self._normalised: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        """By form and text. A text that is the same object is found without looking at it."""
        self._held = 0
        self._traced: OrderedDict[int, Traced] = OrderedDict()
        """By the identity of the first message, which it keeps alive."""
        self._reported: OrderedDict[tuple[Owner, str], None] = OrderedDict()

    def trace(self, exchange: Exchange) -> Thread | None:
        """Return where the exchange stands; None where nobody converses."""
        if exchange.operation not in CONVERSING or not exchange.input_messages:
            return None
        states = self._states(exchange.input_messages)
        rolling = states[-1].copy()
        head = None
        for message in exchange.output_messages:
            if any(part.kind != "reasoning" for part in message.parts):
                rolling.say(message)
                head = rolling.digest()
                if message.finish_reason:  # further ones are other choices
                    break
        prefix = tuple(state.digest() for state in states)
        return Thread(prefix, head, self._system(exchange), summarised(exchange))

    def _states(self, messages: tuple[Message, ...]) -> tuple[Rolling, ...]:
        """Return the digest after each message; those of a known history are not made again."""
        first = id(messages[0])
        known = self._traced.pop(first, None)
        count = known.common(messages) if known else 0
        states = [*known.states[:count]] if known else []
        rolling = states[-1].copy() if states else Rolling(self)
        for message in messages[count:]:
            rolling.say(message)
            states.append(rolling.copy())
        made = self._traced[first] = Traced(messages, tuple(states))
        while len(self._traced) > TRACED:
            self._traced.popitem(last=False)
        return made.states

    def known(self, owner: Owner | None, thread: Thread, messages: Sequence[Message]) -> int:
        """Return how many of the input messages were reported before, for this owner.

        What was said since the last answer is always new: two equal questions are two questions.
        """
        if owner is None:
            return 0
        for count in range(answered(messages), 1, -1):
            if (owner, thread.prefix[count - 1]) in self._reported:
                return count
        return 0

    def report(self, owner: Owner | None, thread: Thread) -> None:
        """Remember that all of this was reported."""
        if owner is None:
            return
        for digest in (thread.prefix[-1], thread.head):
            if digest:
                self._reported[owner, digest] = None
                self._reported.move_to_end((owner, digest))
        while len(self._reported) > REPORTED:
            self._reported.popitem(last=False)

    def hash(self, data: bytes = b"", size: int = SIZE) -> Hash:
        """Return a keyed hash that goes on from ``data``."""
        return hashlib.blake2b(data, key=self._key, digest_size=size)

    def normal(self, text: str, form: Callable[[str], bytes]) -> bytes:
        """Return the digest of a text in its normal form, from memory where it was seen before."""
        if len(text) <= SHORT:
            return self.hash(form(text)).digest()
        seen = (form.__name__, text)
        digest = self._normalised.get(seen)
        if digest is None:
            digest = self._normalised[seen] = self.hash(form(text)).digest()
            self._held += len(text)
            while len(self._normalised) > REMEMBERED or self._held > HELD:
                (_, oldest), _ = self._normalised.popitem(last=False)
                self._held -= len(oldest)
        else:
            self._normalised.move_to_end(seen)
        return digest

    def _system(self, exchange: Exchange) -> str:
        state = self.hash(b"system")
        instructing = (one.parts for one in exchange.input_messages if one.role in INSTRUCTING)
        for parts in (exchange.system_instructions, *instructing):
            for part in parts:
                state.update(self.normal(part.text, steady))
        return state.digest().hex()


class Rolling:
    """The digest of everything that was said so far."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._closed = b""
        """The digest up to the run of texts that is still open."""
        self._speaker = ""
        self._run: tuple[str, ...] = ()
        """The first text of the open run."""
        self._hash: Hash | None = None
        """Of the open run, from the second text on."""
        self._current: bytes | None = None
        """The digest as of now, where it was asked for since the last text."""

    def copy(self) -> Rolling:
        """Return one that goes on from here by itself."""
        other = Rolling(self._threads)
        other._closed, other._speaker, other._run = self._closed, self._speaker, self._run
        other._hash, other._current = self._hash and self._hash.copy(), self._current
        return other

    def say(self, message: Message) -> None:
        """Take the next message."""
        if message.role in INSTRUCTING:
            return
        for part in message.parts:
            if part.kind == "text":
                self._text(message.role, part.text)
            elif part.kind != "reasoning":
                self._close()
                self._closed = self._with(message.role, part.kind, self._content(part))

    def digest(self) -> str:
        """Return the digest as of now, hexadecimal."""
        return self._now().hex()

    def _text(self, speaker: str, text: str) -> None:
        if not text or text.isspace() or ASIDE.fullmatch(text):
            return
        if speaker != self._speaker:
            self._close()
            self._speaker = speaker
        self._current = None
        if not self._run:
            self._run = (text,)
            return
        if self._hash is None:
            self._hash = self._threads.hash(squeezed(self._run[0]))
        self._hash.update(squeezed(text))

    def _close(self) -> None:
        self._closed = self._now()
        self._speaker, self._run, self._hash = "", (), None

    def _now(self) -> bytes:
        if not self._run:
            return self._closed
        if self._current is None:
            if self._hash is None:
                said = self._threads.normal(self._run[0], squeezed)
            else:
                said = self._hash.digest()
            self._current = self._with(self._speaker, "text", said)
        return self._current

    def _with(self, speaker: str, kind: str, content: bytes) -> bytes:
        data = b"\0".join((self._closed, speaker.encode(), kind.encode(), content))
        return self._threads.hash(data).digest()

    def _content(self, part: Part) -> bytes:
        match part.kind:
            case "tool_call":
                name = (part.name or "").encode("utf-8", "replace") + b"\0"
                return name + self._threads.normal(part.text, canonical)
            case "tool_call_response":
                return self._threads.normal(part.text, squeezed)
            case _:
                return self._threads.normal(part.digest or part.uri or part.text, squeezed)


def told(thread: Thread, known: int) -> dict[str, Any]:
    """Return the thread as a record holds it; ``known`` messages are left out of the record."""
    prefix = thread.prefix
    return {
        "messages": len(prefix),
        "prefix": list(prefix if len(prefix) <= TOLD else (prefix[0], *prefix[-TOLD:])),
        "head": thread.head,
        "system": thread.system,
        "summary": thread.summary,
        "new": len(prefix) - known,
    }


def answered(messages: Sequence[Message]) -> int:
    """Return how many messages there are up to the last answer, and with it."""
    for count in range(len(messages), 0, -1):
        if messages[count - 1].role == "assistant":
            return count
    return 0


def summarised(exchange: Exchange) -> bool:
    """Tell whether a request begins with a summary of something said before."""
    spoken = [one for one in exchange.input_messages if one.role not in INSTRUCTING]
    return any(
        part.kind == "text" and is_summary(part.text[:OPENING_TEXT])
        for message in spoken[:OPENING]
        for part in message.parts
    )


def is_summary(text: str) -> bool:
    """Tell whether a text says that it sums up a conversation."""
    small = text.lower()
    return any(hint in small for hint in HINTS) and SUMMARY.search(text) is not None


def squeezed(text: str) -> bytes:
    """Return a text without white space: clients trim, wrap and join what they send again."""
    return "".join(text.split()).encode("utf-8", "replace")


def canonical(text: str) -> bytes:
    """Return JSON text with its keys in order; text that is no JSON without white space."""
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)
    except (ValueError, TypeError, RecursionError):
        return squeezed(text)


def steady(text: str) -> bytes:
    """Return the words of a text that hold no digit."""
    words = (word for word in text.split() if word.isalpha() or not any(map(str.isdigit, word)))
    return " ".join(words).encode("utf-8", "replace")

"""What no text shows by itself: calls in a row, tools that change, instructions given away.

Remembered across exchanges, bounded, as keyed digests and names of rules; no text is kept. What
must outlive the worker (the seals of tools) is told to whoever keeps it, and given back by it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from milecastle import providers
from milecastle.detect import Engine
from milecastle.detect.leaks import Leaks
from milecastle.detect.tools import argv, offers, sequence
from milecastle.model import Direction, Exchange, Finding, Process, Segment, ToolDefinition

if TYPE_CHECKING:
    from milecastle.inspection.exchange import Inspection

SERVERS = 2_000
"""Servers, or clients with the tools of theirs, whose definitions are remembered."""
TOOLS = 500
"""Tools of one of them."""
CONVERSATIONS = 4_096
"""Conversations of which it is remembered that they have read secrets."""
OFFERED_BY = ("mcp__", "mcp_", "mcp-", "mcp.")
"""How clients name the tools that they have from MCP servers: Claude Code and Codex, Cursor and VS
Code. Their own tools change with every version, which is no attack."""
DIRECTIONS: tuple[Direction, ...] = ("request", "response")
INSTRUCTING = frozenset({"system", "developer"})

type Seals = Mapping[str, str]
type Report = Callable[[str, Seals], None]
"""Takes a server and the seals (name -> digest) that it was not known by before."""


class Continuity:
    """Remembers what later exchanges are held against. One thread at a time."""

    def __init__(self, key: bytes, report: Report = lambda _server, _seals: None) -> None:
        self._key = key
        self._report = report
        self._seals: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._fine: OrderedDict[str, str] = OrderedDict()
        """Server -> the seal of all that it offered last, and nothing was wrong with."""
        self._told: OrderedDict[tuple[str, str], str] = OrderedDict()
        """(server, tool) -> the changed definition that was reported last."""
        self._opened: OrderedDict[tuple[str, str], str] = OrderedDict()
        """Conversation -> the rule by which it has read secrets."""
        self._leaks = Leaks(key)

    # --- tools that are offered ------------------------------------------------------------

    def seal(self, server: str, seals: Seals) -> None:
        """Know these definitions from now on, in place of what was known of the same tools."""
        self._fine.pop(server, None)
        known = self._seals.setdefault(server, {})
        self._seals.move_to_end(server)
        for name, sealed in seals.items():
            if name in known or len(known) < TOOLS:
                known[name] = sealed
        while len(self._seals) > SERVERS:
            self._seals.popitem(last=False)

    def offered(self, inspection: Inspection, exchange: Exchange) -> list[Finding]:
        """Return what is wrong with the tools that a server offers, or a client passes on."""
        tools, server = offer(exchange), server_of(inspection, exchange)
        if not tools:
            return []
        all_of_them = offers.seal_all(tools, self._key)
        if self._fine.get(server) == all_of_them:
            return []  # a client passes the same ones on with every turn
        known = self._seals.get(server, {})
        findings, seals = offers.compare(tools, known, self._key)
        new = {name: sealed for name, sealed in seals.items() if name not in known}
        changed = {
            tool.name: sealed
            for tool in tools[: offers.MOST]
            if known.get(tool.name, sealed := offers.seal(tool, self._key)) != sealed
            and self._told.get((server, tool.name)) != sealed
        }
        if new:
            self.seal(server, new)
        for name, sealed in changed.items():
            self._told[server, name] = sealed
        while len(self._told) > CONVERSATIONS:
            self._told.popitem(last=False)
        if new or changed:
            self._report(server, {**new, **changed})
        if not findings:
            self._fine[server] = all_of_them
            while len(self._fine) > SERVERS:
                self._fine.popitem(last=False)
        return findings

    # --- calls in a row --------------------------------------------------------------------

    def called(
        self,
        engine: Engine,
        exchange: Exchange,
        calls: Sequence[Segment],
        owner: str,
        line: str = "",
    ) -> list[Finding]:
        """Return findings in new calls that send what an earlier one of the conversation read.

        ``line`` names a connection that holds one conversation (a WebSocket).
        """
        if not any(each.provenance == "tool_call" for each in calls):
            return []
        before = conversations(exchange, owner, line)
        opened = next((self._opened[each] for each in before if each in self._opened), "")
        history = earlier(exchange, calls)
        new = argv.whole(calls)
        found, opened = sequence.after(history, new, engine.scan_one, self._key, opened)
        ends = {each.place: len(each.text) for each in reversed(calls)}
        found = [replace(f, end=min(f.end, ends[f.place])) for f in found]
        if opened:
            for each in (*before, (owner, exchange.response_id or "")):
                if each[1]:
                    self._opened[each] = opened
                    self._opened.move_to_end(each)
            while len(self._opened) > CONVERSATIONS:
                self._opened.popitem(last=False)
        return found

    # --- instructions ----------------------------------------------------------------------

    def given_away(self, exchange: Exchange, answers: Iterable[Segment]) -> list[Finding]:
        """Return findings where an answer repeats the instructions of its own exchange."""
        spoken = [each for each in answers if each.provenance == "assistant"]
        return self._leaks.find(instructions(exchange), spoken) if spoken else []


def offer(exchange: Exchange) -> list[ToolDefinition]:
    """Return the definitions that come from servers."""
    if exchange.format == "mcp":
        return list(exchange.tool_definitions)
    return [each for each in exchange.tool_definitions if each.name.startswith(OFFERED_BY)]


def server_of(inspection: Inspection, exchange: Exchange) -> str:
    """Return the name that a server's tools are remembered under: whose they are, and where from.

    A client's prompt names tools of all its servers, so these are held against each other too.
    """
    owner = owner_of(inspection.context.process)
    if exchange.format == "mcp":
        path = inspection.head.path.partition("?")[0]
        return f"{owner} {inspection.head.host}{path}"[:400]
    return f"{owner} prompt"[:400]


def owner_of(process: Process | None) -> str:
    """Return whose tools and conversations these are: a user's program."""
    if process is None:
        return "-"
    return f"{process.uid} {process.client or process.script or process.exe or process.comm}"[:300]


def conversations(exchange: Exchange, owner: str, line: str) -> list[tuple[str, str]]:
    """Return the ids under which earlier exchanges of the conversation were remembered."""
    program = "mcp" if exchange.format == "mcp" and not exchange.conversation_id else ""
    return [(owner, each) for each in (exchange.conversation_id, line, program) if each]


def earlier(exchange: Exchange, calls: Sequence[Segment]) -> Iterator[Segment]:
    """Yield the conversation's other calls, when they are asked for."""
    for direction in DIRECTIONS:
        told = providers.segments(exchange, direction)
        yield from argv.whole([s for s in told if s.provenance == "tool_call" and s not in calls])


def instructions(exchange: Exchange) -> list[str]:
    """Return the texts of the system prompt, also where it stands among the messages."""
    told = [part.text for part in exchange.system_instructions]
    for message in exchange.input_messages:
        if message.role in INSTRUCTING:
            told += [part.text for part in message.parts]
    return [text for text in told if text]

"""`milecastle show`: one session as a conversation.

Clients send the whole history again with every turn. What was shown before is only counted, so
that a session reads from its beginning to its end; where it doesn't simply go on, a seam says so.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from milecastle.cli import escaping, faults
from milecastle.cli.command import Verb, json_option
from milecastle.cli.control import Control
from milecastle.cli.terminal import BY_ACTION, BY_SEVERITY, Colour, Terminal, clock, plural
from milecastle.cli.wording import container, described, judged, named, plain, pod

LINES = 8
"""Lines of one part that are shown without --full."""
SEAMS: Mapping[str, str] = {
    "branched": "branched from {when}",
    "resumed": "goes on from {when}",
    "repeated": "asked again, first at {when}",
    "compacted": "compacted: history was replaced by a summary",
}
INSTRUCTING = ("system", "developer")
ROLES: Mapping[str, Colour] = {"user": "green", "assistant": "bold", "tool": "dim"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``show``."""
    json_option(parser)
    parser.add_argument("id", metavar="ID", help="a session's id, or its beginning")
    parser.add_argument("--full", action="store_true", help="show texts from end to end")


def show(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print one session."""
    with Control(options.run_dir) as control:
        session = control.request("show", session=options.id)
    if options.json:
        terminal.json(session)
        return faults.FINE
    heading(session, terminal)
    if session.get("omitted"):
        before = plural(session["omitted"], "earlier exchange")
        terminal.line(terminal.paint(f"… {before} left out, the session is too long", "dim"))
    said: Counter[str] = Counter()
    for exchange in session.get("exchanges") or ():
        terminal.line()
        conversation(exchange, said, 0 if options.full else LINES, terminal)
    return faults.FINE


def heading(session: Mapping[str, Any], terminal: Terminal) -> None:
    """Print who talked to which service."""
    process = session.get("process") or {}
    service = session.get("service") or session.get("host")
    count = session.get("exchanges")
    exchanges = len(count) if isinstance(count, list) else count or 0
    exchanges += session.get("omitted") or 0
    tokens = session.get("tokens") or {}
    spent = f"{tokens.get('input') or 0} tokens in, {tokens.get('output') or 0} out"
    terminal.fields(
        (
            ("session", session.get("id")),
            ("service", f"{service} ({session.get('standing') or 'standing unknown'})"),
            ("when", f"{clock(session.get('started'))} to {clock(session.get('ended'))}"),
            ("process", f"{named(process)} {process.get('exe') or ''}"),
            ("command", " ".join(map(str, process.get("argv") or ()))),
            ("user", process.get("user") or process.get("uid")),
            ("started by", " < ".join(map(named, process.get("ancestry") or ()))),
            ("container", container(process)),
            ("pod", pod(process)),
            ("known", session.get("grade")),
            ("found", plural(session.get("findings") or 0, "finding")),
            ("in all", f"{plural(exchanges, 'exchange')}, {spent}"),
            ("done", f"at most: {session.get('action')}"),
            ("part of", session.get("parent")),
            ("parts", " ".join(map(str, session.get("children") or ()))),
        )
    )


def conversation(
    exchange: Mapping[str, Any], said: Counter[str], limit: int, terminal: Terminal
) -> None:
    """Print one exchange: what was not said before, what was found, what was done."""
    took = (exchange.get("ended") or 0) - (exchange.get("started") or 0)
    model = exchange.get("gen_ai.request.model") or exchange.get("gen_ai.response.model") or ""
    operation = exchange.get("gen_ai.operation.name") or exchange.get("method") or ""
    thread = exchange.get("thread") or {}
    if seam := SEAMS.get(thread.get("seam") or ""):
        told = seam.format(when=clock(thread.get("since")))
        terminal.line(terminal.paint(f"-- {told} --", "yellow"))
    title = (
        f"-- {clock(exchange.get('started'))}  {operation} {model}  "
        f"status {exchange.get('status') or '-'}, {took:.1f} s  {exchange.get('id')}"
    )
    line = escaping.cut(escaping.line(title), terminal.width)
    terminal.line(terminal.paint(line, "bold"))
    if owners := exchange.get("owners"):
        held = (f"{one.get('pid')} {one.get('exe') or one.get('comm')}" for one in owners)
        terminal.label("held by", ", ".join(held), "yellow")
    if error := exchange.get("error.type"):
        terminal.label("error", str(error), "red")
    new, resent = news(exchange, said)
    if resent:
        terminal.label("", f"({plural(resent, 'message')} as before)", "dim")
    for message in new:
        for part in message["parts"]:
            parts(str(message.get("role")), part, limit, terminal)
    for finding in exchange.get("findings") or ():
        terminal.label("found", described(finding), BY_SEVERITY.get(finding.get("severity")))
    verdict = exchange.get("verdict") or {}
    done = verdict.get("applied") or verdict.get("action") or ""
    if done != "allow" or exchange.get("findings"):
        terminal.label("verdict", judged(verdict), BY_ACTION.get(done))


def news(exchange: Mapping[str, Any], said: Counter[str]) -> tuple[list[Mapping[str, Any]], int]:
    """Return what was said in an exchange and not before, in order, and how much was.

    Histories were matched when they were recorded; where not, and for instructions, which come
    with every turn, what counts is whether the same was shown. Updates ``said``.
    """
    instructions = exchange.get("gen_ai.system_instructions")
    first = [{"role": "system", "parts": instructions}] if instructions else []
    asked = exchange.get("gen_ai.input.messages") or ()
    answered = exchange.get("gen_ai.output.messages") or ()
    missing = exchange.get("milecastle.input.omitted") or 0
    thread = exchange.get("thread")
    if not isinstance(thread, Mapping):
        everything = [*first, *asked, *answered]
        new = unsaid(everything, said)
        return new, len(everything) - len(new)
    known = max((thread.get("known") or 0) - missing, 0)
    instructing = [one for one in asked if one.get("role") in INSTRUCTING]
    spoken = [one for one in asked[known:] if one.get("role") not in INSTRUCTING]
    new = [*unsaid([*first, *instructing], said), *spoken, *answered]
    return new, missing + len(first) + len(asked) + len(answered) - len(new)


def unsaid(messages: Sequence[Mapping[str, Any]], said: Counter[str]) -> list[Mapping[str, Any]]:
    """Return the messages that occur more often than in any earlier exchange; update ``said``.

    Counted, because a person may well say "yes" twice. An answer comes back as history without
    its finish reason, which therefore does not count.
    """
    new, now = [], Counter[str]()
    for message in messages:
        key = json.dumps([message.get("role"), message.get("parts")], sort_keys=True)
        now[key] += 1
        if now[key] > said[key]:
            new.append(message)
    said |= now
    return new


def parts(role: str, part: Mapping[str, Any], limit: int, terminal: Terminal) -> None:
    """Print one part of a message after its role."""
    kind = part.get("type")
    text = part.get("content") or ""
    if kind == "tool_call":
        arguments = part.get("arguments")
        terminal.label("tool call", f"{part.get('name')} {plain(arguments)}", "yellow", limit=limit)
    elif kind == "tool_call_response":
        terminal.label("tool result", plain(part.get("response", part.get("result"))), limit=limit)
    elif kind in ("text", "reasoning"):
        name = role if kind == "text" else "reasoning"
        terminal.label(name, plain(text), limit=limit, name_colour=ROLES.get(role))
    else:
        facts = ("mime_type", "name", "uri", "size", "sha256")
        told = ", ".join(str(part[fact]) for fact in facts if part.get(fact))
        terminal.label(str(kind or "part"), told or plain(text), limit=limit)


VERBS = {
    "show": Verb(
        arguments,
        show,
        "  milecastle show 3f2a\n"
        "  milecastle show 3f2a --full | less -R\n"
        "  milecastle show 3f2a --json | jq '.exchanges[].findings'",
    )
}

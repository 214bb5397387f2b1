"""What happens when a hook fails: the policy's answer, never mitmproxy's.

mitmproxy logs an exception of a hook and goes on: the original request leaves uninspected, whatever
the policy says. So every hook of the gate is wrapped here, and the two tables say what *open* and
*closed* mean at each stage. Open restores what came and lets it pass; closed answers or cuts.
What is logged is the kind and the place of an error, never its text: that may quote a body.
"""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

from mitmproxy import http, tls

from milecastle.inspection import Block
from milecastle.model import ParseError
from milecastle.proxy import answers, messages, passage
from milecastle.proxy.certificates import UnsignedError
from milecastle.proxy.counting import UncountedError
from milecastle.proxy.measure import Measure

log = logging.getLogger(__name__)


class ForeseenError(Exception):
    """A failure that the gate itself noticed. Its text is its code, and nothing of the exchange."""


CODES: Mapping[type[BaseException], Callable[[BaseException], str]] = {
    ForeseenError: str,
    ParseError: lambda _: "unreadable_body",
    UnsignedError: lambda _: "no_certificate",
    UncountedError: lambda _: "limit_unknown",
}
"""Codes of expected errors; any other error is known by its type's name."""


class Guarded(Protocol):
    """Whose hooks are guarded."""

    def on_failure(self, data: object, stage: str, code: str) -> Block | None:
        """Return the answer of a policy that fails closed, None where it fails open."""


class Doorkeeper(Guarded, Protocol):
    """Whose hooks are about connections."""

    def turn_away(self, hello: tls.ClientHelloData) -> None:
        """Close a client's connection before the handshake."""


def guarded[Hook: Callable[..., Any]](stage: str) -> Callable[[Hook], Hook]:
    """Wrap a hook ``(self, data)``; ``stage`` is a key of both tables.

    It is a plain function, a coroutine function, or a plain one that may return an awaitable.
    """
    if stage not in OPEN or stage not in CLOSED:
        raise KeyError(stage)

    def wrap(hook: Hook) -> Hook:
        async def finished(self: Guarded, data: object, outcome: Awaitable[None]) -> None:
            try:
                await outcome
            except Exception as error:  # noqa: BLE001 - the point of this module
                failed(self, stage, data, error)

        @functools.wraps(hook)
        async def asynchronous(self: Guarded, data: object) -> None:
            await finished(self, data, hook(self, data))

        @functools.wraps(hook)
        def synchronous(self: Guarded, data: object) -> Awaitable[None] | None:
            try:
                outcome = hook(self, data)
            except Exception as error:  # noqa: BLE001
                failed(self, stage, data, error)
                return None
            return None if outcome is None else finished(self, data, outcome)

        return cast("Hook", asynchronous if inspect.iscoroutinefunction(hook) else synchronous)

    return wrap


def failed(owner: Guarded, stage: str, data: object, error: Exception) -> None:
    """Give the policy's answer to a failure."""
    report(stage, error)
    answer = owner.on_failure(data, stage, code_of(error))
    if answer is None:
        OPEN[stage](owner, data)
    else:
        CLOSED[stage](owner, data, answer)


def code_of(error: BaseException) -> str:
    """Return the code under which an error is recorded."""
    code = CODES.get(type(error))
    return code(error) if code else type(error).__name__


def report(stage: str, error: BaseException) -> None:
    """Log where an error came from, without what it says."""
    if type(error) in CODES:
        return  # a peer's fault, and in the record
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
    log.error("%s at %s failed at stage %s", type(error).__name__, place, stage)


def leave(_owner: Guarded, _data: object, _answer: Block | None = None) -> None:
    """Change nothing: it passes as it is, or there is nothing that could pass."""


def pass_connection(_owner: Guarded, hello: tls.ClientHelloData) -> None:
    """Connect client and provider without a look inside."""
    hello.ignore_connection = True


def close_connection(owner: Doorkeeper, hello: tls.ClientHelloData, _answer: Block) -> None:
    """Refuse the handshake."""
    owner.turn_away(hello)


def wave(flow: http.HTTPFlow) -> passage.Passage:
    """Let the rest of an exchange pass."""
    way = passage.of(flow)
    assert way is not None
    way.waved = True
    return way


def stream_request(_owner: Guarded, flow: http.HTTPFlow) -> None:
    """Send the request on as it comes."""
    way = wave(flow)
    measured = Measure() if way.error else True
    flow.request.stream = measured if way.host != answers.SELF_TEST_HOST else False


def restore_request(_owner: Guarded, flow: http.HTTPFlow) -> None:
    """Send the body that came, whatever was made of it."""
    way = wave(flow)
    flow.response = None
    if way.original is not None:
        messages.restore(flow.request, way.original)


def refuse_request(_owner: Guarded, flow: http.HTTPFlow, answer: Block) -> None:
    """Answer instead of sending the request on."""
    way = passage.of(flow)
    assert way is not None
    way.refusal, way.own_answer = answer, True


def answer_request(owner: Guarded, flow: http.HTTPFlow, answer: Block) -> None:
    """Answer a request whose body is here."""
    refuse_request(owner, flow, answer)
    flow.response = answers.response_of(answer)


def stream_response(_owner: Guarded, flow: http.HTTPFlow) -> None:
    """Send the answer on as it comes."""
    wave(flow)
    assert flow.response is not None
    flow.response.stream = Measure()


def restore_response(_owner: Guarded, flow: http.HTTPFlow) -> None:
    """Send the answer that came, whatever was made of it."""
    way = wave(flow)
    if way.original is not None and flow.response is not None:
        messages.restore(flow.response, way.original)


def replace_response(_owner: Guarded, flow: http.HTTPFlow, answer: Block) -> None:
    """Send this instead of the answer whose head has come."""
    way = passage.of(flow)
    assert way is not None
    way.replacement, way.own_answer = answer, True


def answer_response(_owner: Guarded, flow: http.HTTPFlow, answer: Block) -> None:
    """Send this instead of the answer that is here."""
    flow.response = answers.response_of(answer)


def sever(_owner: Guarded, flow: http.HTTPFlow, answer: Block) -> None:
    """Keep a WebSocket message from its receiver, and end the connection with this instead."""
    way = passage.of(flow)
    assert way is not None
    assert flow.websocket is not None
    flow.websocket.messages[-1].drop()
    way.severed = answer


OPEN: Mapping[str, Callable[[Any, Any], None]] = {
    "tls_clienthello": pass_connection,
    "requestheaders": stream_request,
    "request": restore_request,
    "responseheaders": stream_response,
    "response": restore_response,
    "websocket_message": leave,
    "notice": leave,
}
CLOSED: Mapping[str, Callable[[Any, Any, Block], None]] = {
    "tls_clienthello": close_connection,
    "requestheaders": refuse_request,
    "request": answer_request,
    "responseheaders": replace_response,
    "response": answer_response,
    "websocket_message": sever,
    "notice": leave,
}
"""``notice``: hooks that only report; there is nothing to let pass or to stop."""

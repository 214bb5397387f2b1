"""The gate's part that is about WebSockets: message by message, turn by turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from mitmproxy import http

from milecastle.inspection import Block, Context, Reply
from milecastle.proxy import guard, passage
from milecastle.proxy.guard import ForeseenError, guarded
from milecastle.proxy.ledger import Ledger
from milecastle.proxy.orders import Inspection
from milecastle.proxy.passage import Passage


class Conversations(ABC):
    """What the gate does between the upgrade and the end of a WebSocket."""

    _ledger: Ledger

    @abstractmethod
    def _context(self, flow: http.HTTPFlow, way: Passage) -> Context:
        """Return what an inspection is told of its surroundings."""

    @abstractmethod
    def on_failure(self, data: object, stage: str, code: str) -> Block | None:
        """Return the answer of a policy that fails closed, None where it fails open."""

    @abstractmethod
    def conclude(self, flow: http.HTTPFlow) -> None:
        """Record an exchange that is over."""

    @guarded("websocket_message")
    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Have a message judged. Forget earlier ones: mitmproxy would keep them all."""
        assert flow.websocket is not None
        del flow.websocket.messages[:-1]
        way, message = passage.of(flow), flow.websocket.messages[-1]
        if way is None or way.inspection is None or not way.conversing or way.waved:
            return
        way.said = True
        if len(message.content) > way.limit:
            raise ForeseenError("body_too_large")
        inspection = way.inspection
        judge = inspection.send if message.from_client else inspection.receive
        decision = judge(message.content)
        if isinstance(decision, Block):
            guard.sever(self, flow, decision)
        elif isinstance(decision, Reply):
            message.drop()
            way.before = decision.messages
        else:
            way.before = decision.before
            if decision.body != message.content:
                message.content = decision.body
        if way.inspection.complete:
            self._turn(flow, way, way.inspection)

    def _turn(self, flow: http.HTTPFlow, way: Passage, inspection: Inspection) -> None:
        """Record a turn of the conversation, and begin the next."""
        self._ledger.close(flow, replace(way, left=True))
        way.started = self._ledger.clock()
        way.exchange = self._ledger.exchange_id(way.started)
        way.inspection = inspection.turn(self._context(flow, way))
        way.turned, way.said, way.error = True, False, ""

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """Record the turn that was open when a WebSocket ended, if it was more than opened."""
        way = passage.of(flow)
        if way is not None and (way.said or not way.turned):
            self.conclude(flow)
        elif way is not None:
            way.leave()

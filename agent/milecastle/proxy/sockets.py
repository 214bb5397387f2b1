"""What mitmproxy's WebSocket layer lacks: an end that we choose, and a bound on a message.

`flow.kill()` does nothing between messages, so the layer is subclassed and put in place of
mitmproxy's. It holds no decision: it carries out what the gate noted in the `Passage`.
"""

from __future__ import annotations

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import websocket
from mitmproxy.proxy.layers.websocket import wsproto  # type: ignore[attr-defined]

from milecastle.inspection import Block
from milecastle.proxy import passage
from milecastle.proxy.passage import Passage

type Commands = layer.CommandGenerator[None]

POLICY_VIOLATION = 1008
"""Close code of RFC 6455, section 7.4.1."""
REASON = "closed by milecastle"
TOO_LARGE = "body_too_large"


class WebsocketLayer(websocket.WebsocketLayer):
    """One WebSocket, which can be ended after any message."""

    def relay_messages(self, event: events.Event) -> Commands:
        """Pass messages on until the gate wants an end."""
        way = passage.of(self.flow)
        relay = super().relay_messages(event)
        reply = None
        while way is None or way.severed is None:
            try:
                command = relay.send(reply)
            except StopIteration:
                break
            reply = yield command
            if way is not None and way.before and way.severed is None:
                yield from self.send_first(way)
        if way is not None:
            self.measure(way)
            if way.severed is not None and self.flow.live:
                relay.close()
                yield from self.sever(way.severed)

    def send_first(self, way: Passage) -> Commands:
        """Send the client what was withheld of messages before."""
        assert self.flow.websocket is not None
        is_text = self.flow.websocket.messages[-1].is_text
        messages, way.before = way.before, ()
        for message in messages:
            for piece in websocket.Fragmentizer([], is_text=is_text)(message):
                yield self.client_ws.send2(piece)

    def measure(self, way: Passage) -> None:
        """Have a message judged that grows over the limit before it is complete."""
        if way.waved or way.severed is not None:
            return
        if sum(map(len, self.client_ws.frame_buf)) > way.limit:
            way.severed = way.overseer.too_much(self.flow, way, "request", TOO_LARGE)
        elif sum(map(len, self.server_ws.frame_buf)) > way.limit:
            way.severed = way.overseer.too_much(self.flow, way, "response", TOO_LARGE)

    def sever(self, answer: Block) -> Commands:
        """Tell the client why, and close both sides."""
        close = wsproto.events.CloseConnection(POLICY_VIOLATION, REASON)
        for side in (self.client_ws, self.server_ws):
            if side.state is wsproto.connection.ConnectionState.OPEN:
                if side is self.client_ws and answer.body:
                    for piece in websocket.Fragmentizer([], is_text=True)(answer.body):
                        yield side.send2(piece)
                yield side.send2(close)
            yield commands.CloseConnection(side.conn)
        assert self.flow.websocket is not None
        self.flow.websocket.closed_by_client = False
        self.flow.websocket.close_code = POLICY_VIOLATION
        self.flow.websocket.close_reason = REASON
        yield websocket.WebsocketEndHook(self.flow)
        self.flow.live = False
        self._handle_event = self.done


def install() -> None:
    """Put the layer in place of mitmproxy's, which its HttpStream finds by this name."""
    websocket.WebsocketLayer = WebsocketLayer  # type: ignore[misc]

"""HTTP/2 within bounds: what one peer may make this worker do, and hold.

mitmproxy takes whatever comes, as fast as it comes: it opens the largest windows and keeps what the
other side doesn't want yet, up to 2 GB a connection. Here windows are small, and data is
acknowledged only while the other side takes what it is given. Peers that cost without asking for
anything (RFC 9113 section 10.5; CVE-2023-44487) are sent away with ENHANCE_YOUR_CALM. The size of
heads, and of CONTINUATION floods, is bounded by h2 itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import h2.config
import h2.errors
import h2.events
import h2.exceptions
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _http2
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ResponseEndOfMessage
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

type Commands = layer.CommandGenerator[None]

STREAM_WINDOW = 4 << 20
CONNECTION_WINDOW = 32 << 20
"""Bytes that a peer may send ahead (RFC 9113 section 6.9)."""
BACKLOG = 4 << 20
"""Bytes that wait for the other side, beyond which nothing more is acknowledged."""
LOOK_AGAIN = 0.02
"""Seconds after which a backlog is looked at again."""
TABLE = 64 << 10
"""Most bytes of the table that heads are compressed with; a peer may ask for four billion."""
RESETS = 200
"""Requests that a client may take back, beyond as many as it waited for."""
IDLE_FRAMES = 2_000
"""Frames within IDLE_SECONDS that carry nothing: pings, settings, priorities, empty data."""
IDLE_SECONDS = 10.0
CALM = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
IDLE: tuple[type[h2.events.Event], ...] = (
    h2.events.PingReceived,
    h2.events.RemoteSettingsChanged,
    h2.events.PriorityUpdated,
    h2.events.UnknownFrameReceived,
)


class Frames(BufferedH2Connection):
    """mitmproxy's HTTP/2 connection with windows that can be filled."""

    def __init__(self, config: h2.config.H2Configuration) -> None:
        super().__init__(config)
        self.local_settings.initial_window_size = STREAM_WINDOW
        self.local_settings.acknowledge()

    def increment_flow_control_window(self, increment: int, stream_id: int | None = None) -> None:
        """Open the connection's window no wider than it shall be."""
        if stream_id is None:
            increment = min(increment, CONNECTION_WINDOW - self.inbound_flow_control_window)
        super().increment_flow_control_window(increment, stream_id)

    @property
    def waiting(self) -> int:
        """Bytes that the peer has not taken yet."""
        return sum(len(each.data) for some in self.stream_buffers.values() for each in some)


class Bounded(_http2.Http2Connection):
    """Either side of a connection."""

    h2_conn: Frames
    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, context: Context, *arguments: Connection) -> None:
        super().__init__(context, *arguments)
        local = self.h2_conn.local_settings
        self.h2_conn = Frames(self.h2_conf)
        self.h2_conn.local_settings.enable_push = local.enable_push
        self.h2_conn.local_settings.acknowledge()
        self._owed: dict[int, int] = {}
        """Bytes of each stream that are not acknowledged yet."""
        self._idle = 0
        self._since = 0.0

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, IDLE) or (
            isinstance(event, h2.events.DataReceived) and not event.data
        ):
            now = self.clock()
            if now - self._since > IDLE_SECONDS:
                self._since, self._idle = now, 0
            self._idle += 1
            if self._idle > IDLE_FRAMES:
                yield from self.protocol_error("too many frames that carry nothing", CALM)
                return True
        if isinstance(event, h2.events.RemoteSettingsChanged):
            encoder = self.h2_conn.encoder
            encoder.header_table_size = min(encoder.header_table_size, TABLE)
        if (
            isinstance(event, h2.events.DataReceived)
            and self.streams.get(event.stream_id) is _http2.StreamState.HEADERS_RECEIVED
        ):
            if event.data or not event.stream_ended:
                yield ReceiveHttp(self.ReceiveData(event.stream_id, event.data))
            yield from self._acknowledge(event)
            return False
        return (yield from super().handle_h2_event(event))

    def _acknowledge(self, event: h2.events.DataReceived) -> Commands:
        waited = bool(self._owed)
        owed = self._owed.get(event.stream_id, 0) + event.flow_controlled_length
        self._owed[event.stream_id] = owed
        if not self._settle() and not waited:
            yield commands.RequestWakeup(LOOK_AGAIN)

    def _settle(self) -> bool:
        """Acknowledge what is owed, unless the other side has enough to do."""
        if self._backlog() > BACKLOG:
            return False
        for stream, size in self._owed.items():
            try:
                self.h2_conn.acknowledge_received_data(size, stream)
            except h2.exceptions.ProtocolError:
                continue  # it was reset, or the connection is closed
        self._owed.clear()
        return True

    def _backlog(self) -> int:
        """Return what all other connections of this client hold back."""
        above = (each for each in reversed(self.context.layers) if isinstance(each, http.HttpLayer))
        # an upstream connection is known by the outermost of its layers, TLS; HTTP is the innermost
        ends = (each.context.layers[-1] for each in next(above).connections.values())
        return sum(
            end.h2_conn.waiting for end in ends if end is not self and isinstance(end, Bounded)
        )

    def look_again(self) -> Commands:
        """Acknowledge what was owed, if the other side has room now."""
        if self._owed and not self._settle():
            yield commands.RequestWakeup(LOOK_AGAIN)
        if data := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, data)


class Http2Server(Bounded, _http2.Http2Server):
    """The client's side."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._resets = 0

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Wakeup):
            yield from self.look_again()
            return
        if isinstance(event, ResponseEndOfMessage):
            self._resets -= 1
        yield from super()._handle_event(event)

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, h2.events.StreamReset):
            self._resets += 1
            if self._resets > RESETS:
                yield from self.protocol_error("too many requests were taken back", CALM)
                return True
        return (yield from super().handle_h2_event(event))


class Http2Client(Bounded, _http2.Http2Client):
    """The provider's side."""

    def _handle_event2(self, event: events.Event) -> Commands:
        # mitmproxy wakes this side too, for its pings
        if isinstance(event, events.Wakeup) and event.command.delay == LOOK_AGAIN:
            yield from self.look_again()
            return
        yield from super()._handle_event2(event)


REPLACED: Mapping[str, type[_http2.Http2Connection]] = {
    "Http2Server": Http2Server,
    "Http2Client": Http2Client,
}

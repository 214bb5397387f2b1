"""mitmproxy put together: with as few addons as it takes, and ours.

The addon list is the greatest lever on speed (mitmproxy's own is twice as slow). Nothing is
written to disk, no CA is made, no option allows an unverified upstream.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mitmproxy.addons.core import Core
from mitmproxy.addons.disable_h2c import DisableH2C
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.master import Master
from mitmproxy.options import Options

from milecastle.proxy import sockets, streams
from milecastle.proxy.approach import Approach
from milecastle.proxy.certificates import Leaves
from milecastle.proxy.checkpoint import Checkpoint
from milecastle.proxy.counting import Counter
from milecastle.proxy.gate import Gate
from milecastle.proxy.ledger import Ledger
from milecastle.proxy.lessons import Lessons
from milecastle.proxy.orders import Watch
from milecastle.proxy.room import Room
from milecastle.proxy.threshold import Threshold

IDLE_SECONDS = 24 * 3600
"""mitmproxy ends idle connections after ten minutes; a model may think longer than that."""

OPTIONS: dict[str, object] = {
    "mode": ["checkpoint"],
    "connection_strategy": "lazy",  # nothing goes upstream before the policy has spoken
    "upstream_cert": False,  # leaves carry the name that was asked for, nothing else
    "ssl_insecure": False,
    "http2": True,
    "http3": False,
    "websocket": True,
    "rawtcp": False,  # what is decrypted is HTTP, or it does not pass
    "validate_inbound_headers": True,
    "tcp_timeout": IDLE_SECONDS,
    "stream_large_bodies": None,  # it would send requests on before they are inspected
    "body_size_limit": None,  # the limit is the gate's, so that on_failure decides beyond it
}


class Handshakes(TlsConfig):
    """mitmproxy's TLS addon without a CA of its own: no key on disk, no key that signs."""

    name = "tlsconfig"

    def __init__(self, leaves: Leaves) -> None:
        self.certstore = leaves

    def configure(self, updated: set[str]) -> None:
        """Take TLS options; leave the certificate store alone, which stock would make on disk."""
        super().configure({name for name in updated if name.startswith(("tls_", "ciphers_"))})

    def running(self) -> None:
        """Stock makes its store here."""

    def request(self, _flow: object) -> None:
        """Stock serves a revocation list of its CA here."""


def assemble(
    watch: Watch,
    ledger: Ledger,
    checkpoint: Checkpoint,
    leaves: Leaves,
    *more: object,
    body_limit: int,
    upstream_trust: Path,
    room: Room | None = None,
    counter: Counter | None = None,
    lessons: Lessons | None = None,
) -> Master:
    """Return a mitmproxy that is ready to ``run()``. Needs a running event loop."""
    streams.install()
    sockets.install()
    for noisy in ("mitmproxy", "hpack", "h2", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # their messages may quote traffic
    master = Master(Options())
    master.addons.add(
        Core(),
        DisableH2C(),
        checkpoint,
        Approach(watch, ledger, checkpoint.callers),
        Handshakes(leaves),
        Threshold(watch, ledger, checkpoint, leaves, lessons),
        Gate(watch, ledger, body_limit, checkpoint.callers, room, counter),
        *more,
    )
    master.options.update(**OPTIONS, ssl_verify_upstream_trusted_ca=str(upstream_trust))
    return master

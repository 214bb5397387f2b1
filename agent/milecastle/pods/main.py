"""milecastle-pods: read this node's pods from the API server or the kubelet, tell the daemon."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from milecastle import wire
from milecastle.model import ParseError
from milecastle.pods.rows import Row
from milecastle.pods.source import Credentials, Source, SourceError, Told

log = logging.getLogger(__name__)

READ = 1 << 16
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the next try after a failure; doubled each time."""
STEADY = 60.0
"""A source that went well for so many seconds begins anew with the shortest pause."""


class Link:
    """The socket to the daemon. It is told things here; what it says is in `frames`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def tell(self, kind: str, body: wire.Body, number: int = 0) -> None:
        """Send one frame."""
        self._sock.sendall(wire.encode(wire.Frame(number, kind, body)))

    def frames(self) -> Iterator[wire.Frame]:
        """Yield what the daemon says until it is gone."""
        decoder = wire.Decoder()
        while data := self._sock.recv(READ):
            yield from decoder.feed(data)

    # what a source tells

    def whole(self, rows: list[Row]) -> None:
        self.tell("pods", {"rows": rows[: wire.MOST_PODS]})

    def one(self, row: Row) -> None:
        self.tell("pod", {"row": row})

    def gone(self, uid: str) -> None:
        self.tell("gone", {"uid": uid})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until the daemon is gone."""
    parser = argparse.ArgumentParser(prog="milecastle-pods", description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=Path("/run/milecastle"))
    options = parser.parse_args(arguments)
    logging.basicConfig(format="milecastle-pods: %(message)s", stream=sys.stderr)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(options.run_dir / "pods.sock"))
            serve(Link(sock))
    except (OSError, wire.WireError) as error:
        log.error("no daemon to tell: %s", error)
    return 1


def serve(link: Link) -> None:
    """Say hello, then follow the source for ever; OSError where the daemon is gone."""
    link.tell("hello", {"version": wire.VERSION}, number=1)
    frames = link.frames()
    match next(frames, None):
        case wire.Frame(
            kind="ok",
            body={
                "result": {
                    "source": str(kind),
                    "node": str(node),
                    "server": str(server),
                    "token": str(token),
                    "ca": str(ca),
                }
            },
        ):
            source = Source(server, Credentials(token, ca), threading.Event())
        case _:
            raise wire.WireError("it says something else than welcome")
    threading.Thread(target=hear, args=[frames, source], daemon=True).start()
    told = Told(link.whole, link.one, link.gone)
    pause = FIRST_PAUSE
    while True:
        began = time.monotonic()
        try:
            if kind == "kubelet":
                source.follow_kubelet(told)
            else:
                source.follow_api(node, told)
        except (SourceError, ParseError) as error:
            why = str(error)
        pause = FIRST_PAUSE if time.monotonic() - began > STEADY else min(pause * 2, LONGEST_PAUSE)
        link.tell("trouble", {"what": why[:300]})
        time.sleep(pause)


def hear(frames: Iterator[wire.Frame], source: Source) -> None:
    """Take what the daemon says; end the process with it."""
    try:
        for frame in frames:
            wire.check(frame, wire.PODS, "daemon", "serving")
            if frame.kind == "ask":
                source.asked.set()
            else:
                source.credentials.token = frame.body["token"]
                source.credentials.ca = frame.body["ca"]
    except (OSError, wire.WireError) as error:
        log.error("the daemon is not heard any more: %s", error)
    os._exit(0)  # the other thread may wait for the network for minutes


if __name__ == "__main__":
    sys.exit(main())

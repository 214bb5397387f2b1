"""Who is asked for this node's pods: the API server, by list and watch, or the kubelet, by polling.

Always TLS with a verified certificate; no redirect is followed. Every answer has a limit in bytes
and in seconds. Blocking: the process does nothing else.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import quote, urlsplit

from milecastle.pods import rows
from milecastle.pods.rows import Row

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""How long a whole list may take."""
ANSWER_BYTES = 64 << 20
EVENT_BYTES = 4 << 20
"""A pod in etcd has at most 1.5 MB."""
WATCH_SECONDS = 240
"""After which the server is asked to end a watch; the next goes on from there."""
SILENCE_SECONDS = 300.0
PAGE = 100
PAGES = 16
POLL_SECONDS = 10.0
SHORTEST_PAUSE = 1.0
"""Between two questions, whoever waits for the answer."""
ADVICE = {
    401: ": it does not accept the token",
    403: ": the token may not read pods, which config/kubernetes/10-rbac.yaml grants",
    404: ": there are no pods to read; is that the right server?",
}


class SourceError(Exception):
    """Why there are no pods now, in a sentence."""


@dataclass(slots=True)
class Credentials:
    """What the daemon hands over; replaced while the source is in use."""

    token: str = field(repr=False)
    ca: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """Where answers go."""

    whole: Callable[[list[Row]], None]
    """Takes all pods of the node."""
    one: Callable[[Row], None]
    """Takes a pod that is new or has changed."""
    gone: Callable[[str], None]
    """Takes the uid of a pod that was deleted."""


@dataclass(frozen=True, slots=True)
class Source:
    """One server."""

    server: str
    credentials: Credentials
    asked: threading.Event
    """Set while somebody waits for a pod that is not known."""

    def follow_api(self, node: str, told: Told) -> NoReturn:
        """List the node's pods, then hear of every change. Does not return.

        SourceError or ParseError where it has to begin anew.
        """
        pods = f"/api/v1/pods?fieldSelector={quote(f'spec.nodeName={node}', safe='')}"
        found: list[Row] = []
        version, more = "", "resourceVersion=0"  # from the server's cache, as informers do
        for _ in range(PAGES):
            listed = rows.page(self._get(f"{pods}&limit={PAGE}&{more}"))
            found += listed.rows
            version, more = listed.version, f"continue={quote(listed.rest, safe='')}"
            if not listed.rest:
                break
        told.whole(found)
        known = {row["uid"]: row for row in found}
        watch = f"{pods}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}"
        while True:
            for line in self._lines(f"{watch}&resourceVersion={quote(version, safe='')}"):
                change = rows.change(line)
                version = change.version or version
                if change.row is None:
                    continue
                uid = change.row["uid"]
                if change.kind == "DELETED":
                    known.pop(uid, None)
                    told.gone(uid)
                elif known.get(uid) != change.row:
                    known[uid] = change.row
                    told.one(change.row)
            time.sleep(SHORTEST_PAUSE)

    def follow_kubelet(self, told: Told) -> NoReturn:
        """Ask for the pods now and then, and soon after somebody missed one. Does not return."""
        while True:
            self.asked.clear()
            told.whole([*rows.page(self._get("/pods")).rows])
            time.sleep(SHORTEST_PAUSE)
            self.asked.wait(POLL_SECONDS - SHORTEST_PAUSE)

    def _get(self, path: str) -> bytes:
        deadline = time.monotonic() + ANSWER_SECONDS
        body = bytearray()
        with self._answer(path, CONNECT_SECONDS) as answer:
            while piece := answer.read1(1 << 16):
                body += piece
                if len(body) > ANSWER_BYTES:
                    raise SourceError(f"its answer is over {ANSWER_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise SourceError(f"its answer takes over {ANSWER_SECONDS:.0f} s")
        return bytes(body)

    def _lines(self, path: str) -> Iterator[bytes]:
        with self._answer(path, SILENCE_SECONDS) as answer:
            while line := answer.readline(EVENT_BYTES + 1):
                if len(line) > EVENT_BYTES:
                    raise SourceError(f"an event of its watch is over {EVENT_BYTES >> 20} MiB")
                if line.strip():
                    yield line

    @contextmanager
    def _answer(self, path: str, patience: float) -> Iterator[http.client.HTTPResponse]:
        """Ask, and yield an answer with status 200. SourceError says why there is none."""
        to = urlsplit(self.server)
        headers = {
            "Authorization": f"Bearer {self.credentials.token}",
            "Accept": "application/json",
            "User-Agent": "milecastle",
        }
        try:
            context = ssl.create_default_context(cadata=self.credentials.ca)
            asking = http.client.HTTPSConnection(
                to.hostname or "", to.port or 443, timeout=CONNECT_SECONDS, context=context
            )
            with closing(asking):
                asking.request("GET", path, headers=headers)
                sock = asking.sock  # the answer may take it over
                answer = asking.getresponse()
                if answer.status != 200:
                    advice = ADVICE.get(answer.status, "")
                    raise SourceError(f"it answers {answer.status}{advice}")
                sock.settimeout(patience)
                yield answer
        except ssl.SSLError as error:
            raise SourceError(f"TLS: {error}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceError(str(error) or type(error).__name__) from None

"""Where pods' names come from: a session with milecastle-pods, which reads them from the network.

That process is unprivileged, and what it says is checked row by row: it can call a pod of this
node by a wrong name, and nothing else. While it is silent or in trouble, the last list counts, and
``status`` says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milecastle import wire
from milecastle.daemon.peer import Peer
from milecastle.host.pods import Container, ListedPod, PodTable
from milecastle.settings import Kubernetes

log = logging.getLogger(__name__)

RUNTIMES = frozenset({"containerd", "docker", "cri-o", "podman"})
CONTAINER_ID = re.compile("[0-9a-f]{64}")
NODE = re.compile(r"[a-z0-9.-]{1,253}")
TOKEN = re.compile(r"[!-~]{1,16384}")
LARGEST_CA = 256 << 10
CREDENTIALS_SECONDS = 30.0
"""How often token and CA are read again; a token lasts an hour."""
ASK_SECONDS = 1.0
KUBELET_PORT = 10250
ENVIRONMENT = {
    "node": "MILECASTLE_NODE",
    "address": "MILECASTLE_NODE_IP",
    "host": "KUBERNETES_SERVICE_HOST",
    "port": "KUBERNETES_SERVICE_PORT",
}
"""The first two are set by our DaemonSet, the others by Kubernetes in every pod."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whom milecastle-pods asks for what."""

    source: str
    node: str
    server: str


def question(settings: Kubernetes, environ: Mapping[str, str] = os.environ) -> Question:
    """Complete the settings from the environment. LookupError where something is missing."""
    told = {key: environ.get(name, "") for key, name in ENVIRONMENT.items()}
    node = settings.node or told["node"] or os.uname().nodename.lower()
    if not NODE.fullmatch(node):
        raise LookupError(f"kubernetes: {node[:80]!r} is not a node's name; set `node`")
    server = settings.server
    if not server and settings.source == "kubelet":
        server = f"https://{bracketed(told['address'] or node)}:{KUBELET_PORT}"
    elif not server and told["host"]:
        server = f"https://{bracketed(told['host'])}:{told['port'] or 443}"
    if not server:
        raise LookupError("kubernetes: there is no API server in the environment; set `server`")
    return Question(settings.source, node, server)


def bracketed(host: str) -> str:
    """Return a host as an address of the web has it."""
    return f"[{host}]" if ":" in host else host


def credentials(settings: Kubernetes) -> dict[str, str]:
    """Read the token and the CA. OSError or ValueError says which cannot be used."""
    token = settings.token.read_text().strip()
    if not TOKEN.fullmatch(token):
        raise ValueError(f"{settings.token} holds no token")
    return {"token": token, "ca": read_ca(settings.ca)}


def read_ca(path: Path) -> str:
    with path.open() as file:
        text = file.read(LARGEST_CA + 1)
    if len(text) > LARGEST_CA or "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError(f"{path} holds no certificate")
    return text


class Pods:
    """The table of pods, and the sessions that fill it; the latest one counts."""

    def __init__(self, settings: Kubernetes, credible: Callable[[Peer], bool]) -> None:
        self._settings = settings
        self._question = question(settings)
        self._credible = credible
        self._session: Peer | None = None
        self._asked = 0.0
        self.table = PodTable(self._ask)
        self.fault: str | None = "milecastle-pods has not told of any yet"

    @property
    def health(self) -> dict[str, Any]:
        """Return what ``status`` says."""
        told = self._question
        where = {"source": told.source, "node": told.node, "server": told.server}
        return {**where, "pods": len(self.table), "fault": self.fault}

    async def take(self, peer: Peer) -> None:
        """Serve one connection to `pods.sock`."""
        if not self._credible(peer):
            log.warning("pid %d is not our milecastle-pods; disconnected", peer.credentials.pid)
            await peer.close()
            return
        renewing = None
        phase: wire.Phase = "new"
        try:
            async for frame in peer.frames():
                wire.check(frame, wire.PODS, "pods", phase)
                if phase == "serving":
                    self._told(frame)
                    continue
                sent = credentials(self._settings)
                peer.answer(frame, {**welcome(self._question), **sent})
                phase, self._session = "serving", peer
                renewing = asyncio.create_task(self._renew(peer, sent))
        except wire.WireError as error:
            log.warning("milecastle-pods broke the protocol and is disconnected: %s", error)
            self.fault = "milecastle-pods said what makes no sense"
        except (OSError, ValueError) as error:
            self.fault = str(error)
        finally:
            if renewing:
                renewing.cancel()
            if self._session is peer:
                self._session = None
                self.fault = self.fault or "milecastle-pods has ended"
            await peer.close()

    def _told(self, frame: wire.Frame) -> None:
        match frame.kind, frame.body:
            case "pods", {"rows": rows} if len(rows) <= wire.MOST_PODS:
                self.table.replace([checked(row) for row in rows])
            case "pod", {"row": row}:
                self.table.add(checked(row))
            case "gone", {"uid": uid}:
                self.table.end(uid)
            case "trouble", {"what": what}:
                if self.fault is None:
                    log.warning("no news of pods from %s: %s", self._question.server, what)
                self.fault = f"no news from {self._question.server}: {what}"
                return
            case _:
                raise wire.WireError("more pods than a node has")
        self.fault = None

    async def _renew(self, peer: Peer, sent: Mapping[str, str]) -> None:
        """Hand over token and CA whenever they have changed."""
        while True:
            await asyncio.sleep(CREDENTIALS_SECONDS)
            try:
                current = credentials(self._settings)
            except (OSError, ValueError) as error:
                self.fault = str(error)
                continue
            if current != sent:
                sent = current
                peer.send(wire.Frame(0, "credentials", {**current}))

    def _ask(self) -> None:
        """Let a source that is asked now and then be asked soon: somebody missed a pod."""
        now = time.monotonic()
        if self._session and now - self._asked > ASK_SECONDS:
            self._asked = now
            self._session.send(wire.Frame(0, "ask", {}))


def welcome(told: Question) -> dict[str, object]:
    return {"source": told.source, "node": told.node, "server": told.server}


def checked(row: object) -> ListedPod:
    """Return a row as a pod; WireError where it is none, or larger than one may be."""
    match row:
        case {
            "uid": str(uid),
            "alias": str(alias),
            "namespace": str(namespace),
            "name": str(name),
            "labels": dict(labels),
            "containers": list(containers),
        } if (
            0 < len(uid) <= wire.LONGEST_UID
            and len(alias) <= wire.LONGEST_UID
            and max(len(namespace), len(name)) <= wire.LONGEST_NAME
            and len(containers) <= wire.MOST_CONTAINERS
            and sum(map(size, labels.items())) <= wire.LABEL_BYTES
        ):
            found = dict(map(container, containers))
            return ListedPod(uid, namespace, name, labels, found, alias)
    raise wire.WireError("a row that is no pod")


def size(label: tuple[object, object]) -> int:
    match label:
        case str(key), str(value):
            return len(key.encode(errors="replace")) + len(value.encode(errors="replace"))
    raise wire.WireError("a label that is not text")


def container(told: object) -> tuple[str, Container]:
    match told:
        case [str(number), str(runtime), str(name)] if (
            CONTAINER_ID.fullmatch(number)
            and runtime in RUNTIMES
            and len(name) <= wire.LONGEST_NAME
        ):
            return number, Container(runtime, name)
    raise wire.WireError("a container that is none")

"""A node's pods as a cluster writes them, and servers that answer as API server and kubelet do.

The objects are core/v1 as Kubernetes 1.31 has them, with what is in them and not ours to read:
managedFields, conditions, volumes. Names, uids and ids are made from a number, so that a test knows
what is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.lab.certificates import Authority

NODE = "worker-7.example.com"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.token-of-the-tests"
NAMESPACES = ("kube-system", "shop", "research", "ci")
QOS = ("BestEffort", "Burstable", "Guaranteed")
RUNTIMES = ("containerd", "cri-o", "docker")


def digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def uid(number: int) -> str:
    made = digest("uid", number)
    return f"{made[:8]}-{made[8:12]}-4{made[13:16]}-a{made[17:20]}-{made[20:32]}"


@dataclass(frozen=True)
class Example:
    """One pod: what the cluster says of it, and where its processes are."""

    number: int

    @property
    def static(self) -> bool:
        return self.number % 10 == 0

    @property
    def namespace(self) -> str:
        return "kube-system" if self.static else NAMESPACES[self.number % 4]

    @property
    def name(self) -> str:
        return (
            f"etcd-{self.number}-{NODE}"
            if self.static
            else f"app-{self.number}-{digest(self.number)[:5]}"
        )

    @property
    def labels(self) -> dict[str, str]:
        return {
            "app.kubernetes.io/name": f"app-{self.number}",
            "pod-template-hash": digest("template", self.number)[:10],
            "team": ("core", "ml-eu", "ml-us")[self.number % 3],
        }

    @property
    def runtime(self) -> str:
        return RUNTIMES[self.number % 3]

    @property
    def containers(self) -> dict[str, str]:
        """Name -> id; every second pod has a sidecar."""
        names = ["main", *(["proxy"] if self.number % 2 else []), "init"]
        return {name: digest(self.number, name) for name in names}

    @property
    def hash(self) -> str:
        """A static pod's uid on its node."""
        return digest("manifest", self.number)[:32]

    def path(self, container: str) -> str:
        """The cgroup of one container: of even pods as systemd's driver writes it."""
        known = self.hash if self.static else uid(self.number)
        qos = QOS[self.number % 3].lower()
        prefix = {"containerd": "cri-containerd", "cri-o": "crio", "docker": "docker"}[self.runtime]
        number = self.containers.get(container) or digest(self.number, container)
        if self.number % 2:
            above = "" if qos == "guaranteed" else f"/{qos}"
            name = f"crio-{number}" if self.runtime == "cri-o" else number
            return f"/kubepods{above}/pod{known}/{name}"
        part = "" if qos == "guaranteed" else f"-{qos}"
        above = f"/kubepods{part}.slice" if part else ""
        slices = f"/kubepods.slice{above}/kubepods{part}-pod{known.replace('-', '_')}.slice"
        return f"{slices}/{prefix}-{number}.scope"

    def json(self) -> dict[str, Any]:
        """The pod as core/v1 has it."""
        annotations = {"kubernetes.io/config.seen": "2026-03-01T08:00:00.000000000Z"}
        if self.static:
            annotations |= {
                "kubernetes.io/config.hash": self.hash,
                "kubernetes.io/config.mirror": self.hash,
                "kubernetes.io/config.source": "file",
            }
        statuses = [self._status(name) for name in self.containers if name != "init"]
        return {
            "metadata": {
                "name": self.name,
                "generateName": f"app-{self.number}-",
                "namespace": self.namespace,
                "uid": uid(self.number),
                "resourceVersion": str(100_000 + self.number),
                "creationTimestamp": "2026-03-01T08:00:00Z",
                "labels": self.labels,
                "annotations": annotations,
                "managedFields": [
                    {
                        "manager": "kubelet",
                        "operation": "Update",
                        "apiVersion": "v1",
                        "time": "2026-03-01T08:00:07Z",
                        "fieldsType": "FieldsV1",
                        "fieldsV1": {
                            "f:status": {"f:conditions": {'k:{"type":"Ready"}': {".": {}}}}
                        },
                        "subresource": "status",
                    }
                ],
            },
            "spec": {
                "volumes": [{"name": "kube-api-access", "projected": {"defaultMode": 420}}],
                "initContainers": [{"name": "init", "image": "registry.example.com/init:1"}],
                "containers": [
                    {"name": status["name"], "image": status["image"], "resources": {}}
                    for status in statuses
                ],
                "nodeName": NODE,
                "hostNetwork": self.static,
                "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
            },
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": None}],
                "hostIP": "198.51.100.7",
                "podIP": "10.42.0.9",
                "startTime": "2026-03-01T08:00:00Z",
                "initContainerStatuses": [self._status("init", ended=True)],
                "containerStatuses": statuses,
                "qosClass": QOS[self.number % 3],
            },
        }

    def _status(self, name: str, *, ended: bool = False) -> dict[str, Any]:
        number = f"{self.runtime}://{self.containers[name]}"
        running = {"running": {"startedAt": "2026-03-01T08:00:05Z"}}
        return {
            "name": name,
            "state": {"terminated": {"exitCode": 0, "containerID": number}} if ended else running,
            "lastState": {},
            "ready": True,
            "restartCount": 0,
            "image": f"registry.example.com/{name}:1",
            "imageID": f"registry.example.com/{name}@sha256:{digest(name)}",
            "containerID": number,
            "started": not ended,
        }


EXAMPLES = tuple(map(Example, range(50)))


@dataclass
class Cluster:
    """What the servers say. A test changes it while they run."""

    pods: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {uid(each.number): each.json() for each in EXAMPLES}
    )
    token: str = TOKEN
    status: int = 200
    events: queue.Queue[dict[str, Any] | None] = field(default_factory=queue.Queue)
    """Sent to the watch that is open; None ends it."""
    asked: list[str] = field(default_factory=list)

    def change(self, kind: str, pod: dict[str, Any]) -> None:
        known = pod["metadata"]["uid"]
        self.pods.pop(known, None) if kind == "DELETED" else self.pods.update({known: pod})
        self.events.put({"type": kind, "object": pod})


class Answers(BaseHTTPRequestHandler):
    """GET /pods as a kubelet, GET /api/v1/pods as an API server."""

    protocol_version = "HTTP/1.1"
    cluster: ClassVar[Cluster]

    def do_GET(self) -> None:
        cluster, asked = self.cluster, urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
        cluster.asked.append(self.path)
        if self.headers["Authorization"] != f"Bearer {cluster.token}":
            self.answer(401, {"kind": "Status", "status": "Failure", "reason": "Unauthorized"})
        elif cluster.status != 200:
            self.answer(cluster.status, {"kind": "Status", "status": "Failure"})
        elif asked.path == "/pods":
            self.answer(200, listed([*cluster.pods.values()], {}))
        elif asked.path != "/api/v1/pods" or query.get("fieldSelector") != f"spec.nodeName={NODE}":
            self.answer(403, {"kind": "Status", "status": "Failure", "reason": "Forbidden"})
        elif "watch" in query:
            self.watch()
        else:
            at, limit = int(query.get("continue", 0)), 20  # smaller than what is asked for
            items = [*cluster.pods.values()]
            meta = {"resourceVersion": "200000"}
            if at + limit < len(items):
                meta |= {"continue": str(at + limit), "remainingItemCount": "1"}
            self.answer(200, listed(items[at : at + limit], meta))

    def watch(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            while (event := self.cluster.events.get()) is not None:
                self.chunk(json.dumps(event).encode() + b"\n")
            self.chunk(b"")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_words: object) -> None:
        pass


def listed(items: list[dict[str, Any]], meta: dict[str, str]) -> dict[str, Any]:
    return {"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items}


@dataclass(frozen=True)
class Running:
    cluster: Cluster
    server: str
    ca: Path
    token: Path
    """Files as the service account's mount has them."""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Running]:
    """Serve a cluster on loopback over TLS; its files are in ``folder``."""
    cluster = Cluster()
    authority = Authority.create()
    authority.issue("localhost", folder)
    (folder / "ca.crt").write_bytes(authority.pem())
    (folder / "token").write_text(cluster.token + "\n")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "localhost.pem", folder / "localhost.key")
    handler = type("Served", (Answers,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    address = f"https://localhost:{server.server_address[1]}"
    try:
        yield Running(cluster, address, folder / "ca.crt", folder / "token")
    finally:
        cluster.events.put(None)
        server.shutdown()
        thread.join()
        server.server_close()

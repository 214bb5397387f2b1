"""The daemon's settings file -> Settings. Says what is wrong with the file; starts nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from milecastle import shipped
from milecastle.model import Problem
from milecastle.yamldoc import (
    Field,
    Mapping,
    Node,
    Report,
    Scalar,
    Shape,
    choice,
    compose,
    flag,
    number,
    one_or_many,
    record,
    sequence,
    text,
)

type Capture = Literal["redacted", "metadata", "full"]
type PodSource = Literal["api", "kubelet"]

AUTO = "auto"
STATE_DIR = Path("/var/lib/milecastle")
RUN_DIR = Path("/run/milecastle")
POLICY = Path("/etc/milecastle/policy.yaml")
OVERRIDES = "policy.d"
"""The folder of the files that are laid over the policy."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the token and the CA of its cluster."""
LONGEST_RUN_DIR = 90
"""A socket's whole path must fit into 107 bytes (unix(7), sun_path)."""


@dataclass(frozen=True, slots=True)
class Intercept:
    """What is decrypted beside the services of the catalogue."""

    hosts: tuple[str, ...] = ()
    """Names, and ``*.name`` for every name below."""
    shape: bool = True
    """Whether only what looks like a call to a model is one there, or everything."""
    loopback: tuple[int, ...] = ()
    """Ports of model servers on this host."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Containers that are left alone: globs, of each kind one has to fit."""

    pod: tuple[str, ...] = ()
    """``namespace/name``."""
    container: tuple[str, ...] = ()
    """The container's id."""
    cgroup: tuple[str, ...] = ()
    """The cgroup's path, as /proc/PID/cgroup has it."""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Where the names and labels of this node's pods come from."""

    source: PodSource
    node: str = ""
    """This node's name; "" where the daemon's environment tells."""
    server: str = ""
    """``https://host:port``; "" where the daemon's environment tells."""
    token: Path = SERVICE_ACCOUNT / "token"
    ca: Path = SERVICE_ACCOUNT / "ca.crt"


@dataclass(frozen=True, slots=True)
class Settings:
    """How milecastled runs. Every path is absolute."""

    policy: Path
    cgroup: str = AUTO
    state_dir: Path = STATE_DIR
    run_dir: Path = RUN_DIR
    upstream_ca: tuple[Path, ...] = ()
    workers: int = 1
    capture: Capture = "redacted"
    catalogue: tuple[Path, ...] = ()
    intercept: Intercept = Intercept()
    rules: tuple[Path, ...] = ()
    """Files and folders of detection rules; the usual folder where there are none."""
    namespaces: tuple[Exclusion, ...] = ()
    """Network namespaces that are left alone, by what runs in them."""
    kubernetes: Kubernetes | None = None

    @property
    def overrides(self) -> Path:
        """The folder beside the policy file; for the shipped one, that of /etc/milecastle."""
        return overrides_of(self.policy)


def overrides_of(policy: Path) -> Path:
    """Return the folder of the files that are laid over a policy file."""
    own = POLICY if policy == shipped.path("config", "policy.yaml") else policy
    return own.parent / OVERRIDES


def path() -> Shape[Path]:
    """A path of the file system; a relative one counts from the settings file's folder."""
    written = text("a path", limit=1024)

    def read(node: Node, report: Report) -> Path | None:
        value = written.read(node, report)
        if value is not None and "\0" in value:
            report.at(node, "a path holds no NUL")
            return None
        return None if value is None else Path(report.file).absolute().parent / value

    return Shape(read, written.schema)


def run_dir() -> Shape[Path]:
    """A folder whose path leaves room for the names of the sockets in it."""

    def read(node: Node, report: Report) -> Path | None:
        value = path().read(node, report)
        if value is not None and len(bytes(value)) > LONGEST_RUN_DIR:
            report.at(node, f"over {LONGEST_RUN_DIR} bytes", "unix sockets need a short path")
            return None
        return value

    return Shape(read, path().schema)


def cgroup() -> Shape[str]:
    """``auto``, or an absolute path below the mount of cgroup2."""
    return text("auto or the path of a cgroup2 folder", "auto|/.*", hint="it begins with /")


def exclusion() -> Shape[Exclusion]:
    """One entry of ``exclude``: at least one key, and all of them have to fit."""
    written = record(Exclusion, EXCLUSION)

    def read(node: Node, report: Report) -> Exclusion | None:
        if isinstance(node, Mapping) and not node.entries:
            report.at(node, "an empty entry would leave every namespace alone", "name what it is")
            return None
        return written.read(node, report)

    return Shape(read, {**written.schema, "minProperties": 1})


def globs(what: str, pattern: str = "", hint: str = "") -> Shape[tuple[str, ...]]:
    """One word with wildcards or several; ``*`` crosses ``/``."""
    return one_or_many(text(what, pattern, hint=hint, limit=1024), limit=256)


def excluded(exclude: tuple[Exclusion, ...] = ()) -> tuple[Exclusion, ...]:
    """Return what the one key of ``namespaces`` holds."""
    return exclude


def local_port() -> Shape[int]:
    """A port that a server of this host may have, and that is not looked at for its names."""
    written = number(1, 65535)

    def read(node: Node, report: Report) -> int | None:
        value = written.read(node, report)
        if value in (80, 443):
            report.at(node, "80 and 443 are no ports of a model server", "name it in hosts")
            return None
        return value

    return Shape(read, written.schema)


HOST = text(
    "a host name, or *. and one",
    r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)+",
    hint="lower case, at least two labels, no port, no path; *. stands for every name below",
    limit=253,
)
INTERCEPT: dict[str, Field] = {
    "hosts": Field(sequence(HOST, limit=1000), "Further names to decrypt."),
    "loopback": Field(sequence(local_port(), limit=100), "Ports of servers on this host."),
    "shape": Field(flag(), "true: there, only what looks like a call to a model is one."),
}
EXCLUSION: dict[str, Field] = {
    "pod": Field(
        globs("a pod", "[^/]+/[^/]+", "namespace/name, such as kube-system/*"),
        "Its pod, as namespace/name; known where `kubernetes` is set.",
    ),
    "container": Field(globs("a container's id", "[0-9a-f*?\\[\\]-]+"), "The container's id."),
    "cgroup": Field(globs("a cgroup's path", "[/*].*", "it begins with /"), "The cgroup's path."),
}
NAMESPACES: dict[str, Field] = {
    "exclude": Field(
        sequence(exclusion(), limit=256), "Network namespaces that go direct, never decrypted."
    ),
}
KUBERNETES: dict[str, Field] = {
    "source": Field(choice("api", "kubelet"), "Who is asked for this node's pods.", required=True),
    "node": Field(text("a node's name", "[a-z0-9.-]{1,253}"), "This node's name."),
    "server": Field(
        text("an address", r"https://[A-Za-z0-9.:\[\]-]{1,255}", hint="https://host:port"),
        "Where it listens; always TLS, always verified.",
    ),
    "token": Field(path(), "The file with the bearer token; read again when it changes."),
    "ca": Field(path(), "PEM file of the CA that its certificate has to come from."),
}
KEYS: dict[str, Field] = {
    "cgroup": Field(cgroup(), "The cgroup2 folder to watch; auto is the root: the whole host."),
    "state_dir": Field(path(), "Where the database and the certificates are kept."),
    "run_dir": Field(run_dir(), "Where the sockets are made."),
    "policy": Field(path(), "The policy file."),
    "upstream_ca": Field(
        sequence(path()), "PEM files trusted for upstream servers, beside the system's store."
    ),
    "workers": Field(number(1, 64), "Inspecting processes."),
    "capture": Field(
        choice("redacted", "metadata", "full"), "What is kept of messages; metadata keeps no text."
    ),
    "catalogue": Field(sequence(path()), "Further catalogue files; later ones win."),
    "intercept": Field(record(Intercept, INTERCEPT), "What is decrypted beside the catalogue."),
    "rules": Field(
        sequence(path()), "Files of detection rules, and folders of them, beside the shipped ones."
    ),
    "namespaces": Field(record(excluded, NAMESPACES), "Containers and pods that are left alone."),
    "kubernetes": Field(record(Kubernetes, KUBERNETES), "Where pods' names and labels come from."),
}


def check(
    content: str, file: str, *, exists: Callable[[Path], bool] = Path.is_file
) -> tuple[Settings | None, list[Problem]]:
    """Return the settings and no problem, or None and every problem of the file.

    ``exists`` is asked about the usual policy file alone, where the key ``policy`` is not set.
    """
    tree, problems = compose(content, file)
    report = Report(file, problems)
    if isinstance(tree, Scalar) and tree.value is None:
        tree = Mapping({}, {}, tree.line, tree.column)
    if tree is None:
        return None, report.problems

    def make(policy: Path | None = None, **values: object) -> Settings:
        return Settings(policy or usual_policy(exists), **values)  # type: ignore[arg-type] # KEYS' shapes

    settings = record(make, KEYS).read(tree, report)
    if settings and settings.kubernetes is None and any(one.pod for one in settings.namespaces):
        report.at(tree, "`exclude` names pods", "set `kubernetes`, which says how they are called")
    return (None if report.problems else settings), report.problems


def usual_policy(exists: Callable[[Path], bool] = Path.is_file) -> Path:
    """Return the host's own policy file where there is one, else the shipped one."""
    return POLICY if exists(POLICY) else shipped.path("config", "policy.yaml")

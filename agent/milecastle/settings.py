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
    record,
    sequence,
    text,
)

type Capture = Literal["redacted", "metadata", "full"]

AUTO = "auto"
STATE_DIR = Path("/var/lib/milecastle")
RUN_DIR = Path("/run/milecastle")
POLICY = Path("/etc/milecastle/policy.yaml")
OVERRIDES = "policy.d"
"""The folder of the files that are laid over the policy."""
LONGEST_RUN_DIR = 90
"""A socket's whole path must fit into 107 bytes (unix(7), sun_path)."""


@dataclass(frozen=True, slots=True)
class Intercept:
    """What is decrypted beside the services of the catalogue."""

    hosts: tuple[str, ...] = ()
    """Names, and ``*.name`` for every name below."""
    shape: bool = True
    """Whether only what looks like a call to a model is one there, or everything."""


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


HOST = text(
    "a host name, or *. and one",
    r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)+",
    hint="lower case, at least two labels, no port, no path; *. stands for every name below",
    limit=253,
)
INTERCEPT: dict[str, Field] = {
    "hosts": Field(sequence(HOST, limit=1000), "Further names to decrypt."),
    "shape": Field(flag(), "true: there, only what looks like a call to a model is one."),
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
    return (None if report.problems else settings), report.problems


def usual_policy(exists: Callable[[Path], bool] = Path.is_file) -> Path:
    """Return the host's own policy file where there is one, else the shipped one."""
    return POLICY if exists(POLICY) else shipped.path("config", "policy.yaml")

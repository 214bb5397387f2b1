"""Pods as the Kubernetes API writes them (core/v1) -> rows for the daemon. Pure.

A row holds what tells one pod from another and what a policy can ask for; everything else of a pod
stays here. What is longer than Kubernetes allows is no pod.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from milecastle import wire
from milecastle.model import ParseError

type Row = dict[str, Any]
"""``uid``, ``alias``, ``namespace``, ``name``, ``labels`` (a mapping) and ``containers``, each
``[id, runtime, name]``. A static pod has two uids: ``alias`` is the one in its cgroup's path."""

MANIFEST_HASH = "kubernetes.io/config.hash"
"""The annotation with a static pod's other uid."""
STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
CONTAINER_ID = re.compile(r"(containerd|docker|cri-o|podman)://([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a list request."""

    rows: tuple[Row, ...]
    version: str
    """From where on a watch goes on."""
    rest: str
    """The token for the next page, "" on the last one."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch; of a bookmark only the version counts."""

    kind: str
    """``ADDED``, ``MODIFIED``, ``DELETED`` or ``BOOKMARK``."""
    version: str
    row: Row | None


def page(body: bytes) -> Page:
    """Read a PodList. ParseError where it is none; pods that are none are left out."""
    match decoded(body):
        case {"kind": "PodList", "items": list(items), "metadata": dict(meta)}:
            rows = tuple(row for item in items[: wire.MOST_PODS] if (row := read(item)))
            return Page(rows, version(meta), word(meta.get("continue") or "", 4096))
        case {"kind": "PodList", "items": None, "metadata": dict(meta)}:
            return Page((), version(meta), "")
    raise ParseError("the answer is not a list of pods")


def change(line: bytes) -> Change:
    """Read one line of a watch. ParseError where it is none, or says that the watch is over."""
    match decoded(line):
        case {"type": "BOOKMARK", "object": {"metadata": dict(meta)}}:
            return Change("BOOKMARK", version(meta), None)
        case {
            "type": "ADDED" | "MODIFIED" | "DELETED" as kind,
            "object": {"metadata": dict(meta)} as pod,
        }:
            return Change(kind, version(meta), read(pod))
        case {"type": "ERROR"}:
            raise ParseError("the watch has ended")  # 410 Gone: too old a version
    raise ParseError("the answer is not an event of a watch")


def read(pod: object) -> Row | None:
    """Return the row of one pod, None where it is not one."""
    match pod:
        case {"metadata": dict(meta), **rest}:
            return described(meta, rest.get("status"))
    return None


def described(meta: Mapping[str, Any], status: object) -> Row | None:
    """Return the row of a pod with this metadata and status."""
    try:
        annotations = meta.get("annotations")
        alias = annotations.get(MANIFEST_HASH) if isinstance(annotations, dict) else None
        return {
            "uid": word(meta.get("uid"), wire.LONGEST_UID),
            "alias": word(alias or "", wire.LONGEST_UID),
            "namespace": word(meta.get("namespace"), wire.LONGEST_NAME),
            "name": word(meta.get("name"), wire.LONGEST_NAME),
            "labels": labels(meta.get("labels")),
            "containers": [*containers(status)][: wire.MOST_CONTAINERS],
        }
    except ParseError:
        return None


def labels(written: object) -> dict[str, str]:
    """Return as many labels as a row has room for, by the alphabet."""
    kept: dict[str, str] = {}
    room = wire.LABEL_BYTES
    for key, value in sorted(written.items()) if isinstance(written, dict) else ():
        if isinstance(value, str) and (room := room - len(key.encode()) - len(value.encode())) >= 0:
            kept[key] = value
    return kept


def containers(status: object) -> Iterator[list[str]]:
    """Yield id, runtime and name of each container, also of those that were before a restart."""
    told = status if isinstance(status, Mapping) else {}
    listed = [told.get(kind) for kind in STATUSES]
    for each in chain.from_iterable(one for one in listed if isinstance(one, list)):
        match each:
            case {"name": str(name), **rest} if len(name) <= wire.LONGEST_NAME:
                ids = (rest.get("containerID"), former(rest.get("lastState")))
                for found in map(CONTAINER_ID.fullmatch, map(str, ids)):
                    if found:
                        yield [found[2], found[1], name]


def former(state: object) -> object:
    """Return the id of the container that was there before a restart."""
    match state:
        case {"terminated": {"containerID": found}}:
            return found
    return None


def decoded(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ParseError("the answer is not JSON") from None


def version(meta: Mapping[str, Any]) -> str:
    return word(meta.get("resourceVersion") or "", 128)


def word(value: object, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise ParseError("a name is missing or too long")
    return value

"""The recorded exchanges of ../shared, unpacked once; tests skip where they are absent."""

from __future__ import annotations

import base64
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from milecastle.model import RequestHead, ResponseHead

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "exchanges.tar.xz"


@dataclass(frozen=True)
class Recorded:
    file: str
    index: int
    head: RequestHead
    body: bytes | None
    answer_head: ResponseHead
    answer: bytes
    messages: tuple[tuple[str, str], ...] = ()
    """Of a WebSocket: ("send" | "receive", text)."""

    def __str__(self) -> str:
        return f"{self.file}[{self.index}]"


@cache
def folder() -> Path:
    if not ARCHIVE.exists():
        pytest.skip(f"the recorded exchanges are not at {ARCHIVE.name} beside the repository")
    target = Path(tempfile.mkdtemp(prefix="milecastle-exchanges-"))
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(target, filter="data")
    return target


@cache
def everything() -> tuple[Recorded, ...]:
    return tuple(
        _recorded(path.name, index, entry)
        for path in sorted(folder().rglob("*.har"))
        for index, entry in enumerate(json.loads(path.read_bytes())["log"]["entries"])
    )


def of(*files: str) -> Iterator[Recorded]:
    return (each for each in everything() if each.file in files)


def _recorded(file: str, index: int, entry: dict) -> Recorded:
    request, response = entry["request"], entry["response"]
    url = urlsplit(request["url"])
    path = url.path + (f"?{url.query}" if url.query else "")
    sent = (request.get("postData") or {}).get("text")
    content = response["content"]
    answer = (content.get("text") or "").encode()
    if content.get("encoding") == "base64":
        answer = base64.b64decode(answer)
    return Recorded(
        file,
        index,
        RequestHead(request["method"], url.netloc, path, _headers(request)),
        None if sent is None else sent.encode(),
        ResponseHead(response["status"], _headers(response)),
        answer,
        tuple((each["type"], each["data"]) for each in entry.get("_webSocketMessages", ())),
    )


def _headers(message: dict) -> dict[str, str]:
    return {each["name"].lower(): each["value"] for each in message["headers"]}

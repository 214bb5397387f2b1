"""The blocking client of `control.sock`: one request, one answer; after `tail`, events.

Speaks ``wire.CONTROL`` and nothing else. Whatever keeps it from an answer becomes one sentence
that says what to do: NoDaemonError where nobody answers, InputError where the daemon said no.
"""

from __future__ import annotations

import grp
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from milecastle import wire
from milecastle.cli.faults import InputError, NoDaemonError

RUN_DIR = Path("/run/milecastle")
TIMEOUT = 15.0
"""Seconds that an answer may take."""
CHUNK = 1 << 16


class Control:
    """A connection to the daemon."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "control.sock"
        self._decoder = wire.Decoder()
        self._arrived: list[wire.Frame] = []
        self._number = 0
        self._socket = self._connect()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(str(self._path))
        except PermissionError:
            connection.close()
            raise NoDaemonError(
                f"you may not use {self._path}: become root or {_allowed(self._path)}"
            ) from None
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            connection.close()
            raise NoDaemonError(
                f"no daemon listens at {self._path}: start one with 'make run' or "
                "'systemctl start milecastled', or name its directory with --run-dir"
            ) from None
        except OSError as error:
            connection.close()
            raise NoDaemonError(f"{self._path}: {error}") from None
        return connection

    def request(self, kind: str, **body: object) -> Any:  # noqa: ANN401 - the daemon's answer
        """Return the result of one request."""
        self._number += 1
        try:
            self._socket.sendall(wire.encode(wire.Frame(self._number, kind, body)))
            for frame in self._frames():
                if frame.id == self._number:
                    return _result(frame, self._path)
        except TimeoutError:
            raise NoDaemonError(
                f"the daemon at {self._path} did not answer within {TIMEOUT:.0f} s"
            ) from None
        except OSError as error:
            raise NoDaemonError(f"the daemon at {self._path} went away: {error}") from None
        raise NoDaemonError(f"the daemon at {self._path} closed the connection without an answer")

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield events, after ``tail``, until the daemon ends the connection."""
        self._socket.settimeout(None)
        try:
            for frame in self._frames():
                if frame.kind == "event" and isinstance(frame.body.get("event"), dict):
                    yield frame.body["event"]
        except OSError as error:
            raise NoDaemonError(f"the daemon at {self._path} went away: {error}") from None

    def _frames(self) -> Iterator[wire.Frame]:
        """Yield frames as they come. Those that nobody took yet come first."""
        while True:
            while self._arrived:
                yield self._arrived.pop(0)
            data = self._socket.recv(CHUNK)
            if not data:
                return
            try:
                self._arrived.extend(self._decoder.feed(data))
            except wire.WireError as error:
                raise NoDaemonError(
                    f"{self._path} does not speak this milecastle's language: {error}"
                ) from None


def _result(frame: wire.Frame, path: Path) -> Any:  # noqa: ANN401 - the daemon's answer
    match frame.kind, frame.body:
        case "ok", {"result": result}:
            return result
        case "error", {"code": "forbidden", "message": str(message)}:
            raise NoDaemonError(message)
        case "error", {"message": str(message)}:
            raise InputError(message)
    raise NoDaemonError(f"{path} gave an answer that this milecastle does not understand")


def _allowed(path: Path) -> str:
    """Say which group may use the socket."""
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (KeyError, OSError):
        group = "milecastle"
    return f"a member of the group {group!r}"

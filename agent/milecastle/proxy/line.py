"""One unix socket that speaks `wire`, from the asking side: requests, notifications, descriptors.

It never waits for a slow peer: what may be dropped is dropped over a bound and counted, what may
not ends the line. A peer that breaks the protocol ends it too; nothing is repaired.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from milecastle import wire

READ = 1 << 18
DESCRIPTORS = 253
"""Most that one message carries: SCM_MAX_FD of the kernel."""
OPEN_REQUESTS = 8192
SOFT_BACKLOG = 8 << 20
"""Bytes that may wait for the peer before droppable frames are dropped."""
HARD_BACKLOG = 32 << 20
"""Bytes after which the peer is taken for dead."""


class LineError(ConnectionError):
    """There is no peer, or none that speaks the protocol. The line is not usable any more."""


class RefusedError(Exception):
    """The peer understood the request and said no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and the descriptors that came with it."""

    result: wire.Body
    descriptors: list[int]


type Count = Callable[[wire.Body], int]


def no_descriptors(_result: wire.Body) -> int:
    """Most results come without any."""
    return 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that is not answered yet."""

    answer: asyncio.Future[Answer]
    descriptors: Count


class Line:
    """A connected socket. ``notice`` gets the peer's notifications, ``ended`` the reason of an end.

    Both are called from the event loop and must not block.
    """

    def __init__(
        self,
        sock: socket.socket,
        notice: Callable[[wire.Frame], None],
        ended: Callable[[LineError], None],
    ) -> None:
        sock.setblocking(False)
        self.dropped = 0
        self._sock = sock
        self._notice = notice
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._decoder = wire.Decoder()
        self._waiting: dict[int, Waiting] = {}
        self._outgoing = bytearray()
        self._descriptors: list[int] = []
        self._last_id = 0
        self._end: LineError | None = None
        self._loop.add_reader(sock, self._readable)

    async def ask(
        self, kind: str, body: wire.Body, timeout: float, descriptors: Count = no_descriptors
    ) -> Answer:
        """Send a request and return its answer. RefusedError, LineError or TimeoutError.

        ``descriptors`` says how many come with a result; they are the caller's to close.
        """
        if self._end is not None:
            raise self._end
        if len(self._waiting) >= OPEN_REQUESTS:
            raise TimeoutError("too many unanswered requests")
        self._last_id += 1
        waiting = Waiting(self._loop.create_future(), descriptors)
        self._waiting[self._last_id] = waiting
        self._send(wire.encode(wire.Frame(self._last_id, kind, body)))
        async with asyncio.timeout(timeout):
            return await waiting.answer

    def tell(self, kind: str, body: wire.Body, limit: int, *, droppable: bool = True) -> bool:
        """Send a notification of at most ``limit`` bytes; False where it had to be dropped.

        ValueError (UnicodeEncodeError, OverflowError among them): it can't be put into a frame.
        """
        data = wire.encode(wire.Frame(0, kind, body))
        if len(data) - wire.HEADER > limit:
            raise ValueError(f"a {kind} frame of {len(data)} bytes is over its limit")
        if self._end is not None or (droppable and len(self._outgoing) > SOFT_BACKLOG):
            self.dropped += 1
            return False
        self._send(data)
        return True

    def take_descriptors(self, count: int) -> list[int]:
        """Return the oldest descriptors that came; they are the caller's to close from now on.

        They travel with the first bytes of their frame, and frames are read in order: those of a
        frame that is whole are here, and none of a later frame stands before them.
        """
        if count > len(self._descriptors):
            raise wire.WireError(f"{len(self._descriptors)} descriptors, {count} were promised")
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def close(self) -> None:
        """End the line without a word to ``ended``."""
        if self._end is None:
            self._end = LineError("closed by us")
            self._release()

    def _send(self, data: bytes) -> None:
        if not self._outgoing:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                pass
            except OSError as error:
                self._stop(f"cannot write: {error.strerror}")
                return
            if not data:
                return
            self._loop.add_writer(self._sock, self._writable)
        self._outgoing += data
        if len(self._outgoing) > HARD_BACKLOG:
            self._stop("the peer does not read")

    def _writable(self) -> None:
        try:
            del self._outgoing[: self._sock.send(self._outgoing)]
        except BlockingIOError:
            return
        except OSError as error:
            self._stop(f"cannot write: {error.strerror}")
            return
        if not self._outgoing:
            self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        try:
            data = self._receive()
            if not data:
                self._stop("the peer has left")
                return
            for frame in self._decoder.feed(data):
                if frame.id:
                    self._settle(frame)
                else:
                    self._notice(frame)
        except BlockingIOError:
            return
        except wire.WireError as error:
            self._stop(str(error))
        except OSError as error:
            self._stop(f"cannot read: {error.strerror}")

    def _receive(self) -> bytes:
        """Read once; keep the descriptors that came along (unix(7), SCM_RIGHTS)."""
        descriptors = array.array("i")
        space = socket.CMSG_SPACE(DESCRIPTORS * descriptors.itemsize)
        data, ancillary, flags, _ = self._sock.recvmsg(READ, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) - len(payload) % 4])
        self._descriptors += descriptors
        if flags & socket.MSG_CTRUNC or len(self._descriptors) > 2 * DESCRIPTORS:
            raise wire.WireError("too many descriptors")
        return data

    def _settle(self, frame: wire.Frame) -> None:
        """Give an answer to whom it is for."""
        row, waiting = wire.ANSWERS.get(frame.kind), self._waiting.get(frame.id)
        if row is None or waiting is None:
            raise wire.WireError(f"an answer {frame.kind[:40]!r} that nobody waits for")
        if frame.size > row.limit:
            raise wire.WireError(f"{frame.kind!r} of {frame.size} bytes")
        wire.check_fields(frame, row)
        outcome: Answer | RefusedError
        if frame.kind == "error":
            outcome = RefusedError(frame.body["code"], frame.body["message"])
        else:
            result = frame.body["result"]
            if not isinstance(result, dict):
                raise wire.WireError("a result that is no map")
            outcome = Answer(result, self.take_descriptors(waiting.descriptors(result)))
        del self._waiting[frame.id]
        settle(waiting.answer, outcome)

    def _stop(self, why: str) -> LineError:
        if self._end is None:
            self._end = LineError(why)
            self._release()
            self._ended(self._end)
        return self._end

    def _release(self) -> None:
        assert self._end is not None
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        close(self._descriptors)
        self._descriptors = []
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(self._end)
                waiting.answer.exception()  # it may be that nobody waits any more
        self._waiting.clear()


def settle(waiting: asyncio.Future[Answer], outcome: Answer | RefusedError) -> None:
    """Give an outcome to whoever asked; where they have given up, see that nothing leaks."""
    if isinstance(outcome, Answer):
        if waiting.done():
            close(outcome.descriptors)
        else:
            waiting.set_result(outcome)
    elif not waiting.done():
        waiting.set_exception(outcome)


def close(descriptors: Iterable[int]) -> None:
    """Close descriptors that nobody wants."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


async def connect(
    path: Path, notice: Callable[[wire.Frame], None], ended: Callable[[LineError], None]
) -> Line:
    """Connect to a unix socket. LineError where nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, str(path))
    except OSError as error:
        sock.close()
        raise LineError(f"{path}: {error.strerror}") from None
    return Line(sock, notice, ended)

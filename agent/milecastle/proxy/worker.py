"""The worker's life: ready itself, say hello, serve, and end with the daemon."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mitmproxy.master import Master

from milecastle.model import ParseError
from milecastle.proxy import assembly, briefing, resolve, room, trust
from milecastle.proxy.certificates import Leaves, Signer
from milecastle.proxy.checkpoint import Checkpoint
from milecastle.proxy.claims import Claims
from milecastle.proxy.dns_stream import DnsStreams
from milecastle.proxy.knowledge import Knowledge
from milecastle.proxy.ledger import Ledger
from milecastle.proxy.lessons import Lessons
from milecastle.proxy.line import LineError
from milecastle.proxy.link import Link, Listener, PolicyFiles, Welcome
from milecastle.proxy.orders import Watch

log = logging.getLogger(__name__)

RECORDED_AFTER = 0.002
"""Seconds after the end of an exchange at which its record is made: the answer goes first."""
PACKETS_WAITING = 64
"""Captured packets that may wait for the parser; more are dropped and counted."""


class Worker:
    """Everything between the two sockets: owner of the link, and addon (`running`, `done`)."""

    def __init__(self, worker_socket: Path, signer_socket: Path) -> None:
        self._worker_socket = worker_socket
        self._signer = Signer(signer_socket)
        self._link = Link(self)
        self._early: list[Callable[[], None]] | None = []
        """What the daemon said before there was anything to do it with; None: there is."""
        self._parser = ThreadPoolExecutor(1, "packets")
        self._packets = 0
        self._dns = DnsStreams()
        self.dropped_packets = 0
        self._learning = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._end: LineError | None = None
        self._master: Master | None = None
        self._watch: Watch
        self._checkpoint: Checkpoint
        self._leaves: Leaves
        self._briefing: briefing.Briefing

    async def work(self) -> int:
        """Serve until told to stop (0) or until the daemon is gone (1)."""
        self._briefing = briefing.Briefing()
        welcome = await self._link.greet(self._worker_socket)
        master = self._master = self._assemble(welcome)
        early, self._early = self._early or [], None
        for act in early:
            act()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, master.shutdown)
        gc.collect()
        gc.freeze()  # what is here now stays: collections need not look at it again
        gc.set_threshold(20_000, 20, 20)  # an exchange makes thousands of objects, and few cycles
        if self._end is None:
            log.info("worker %d serves %d sockets", welcome.instance, len(welcome.listeners))
            await master.run()
        self._parser.shutdown(wait=False, cancel_futures=True)
        if self._end is not None:
            log.info("ended: %s", self._end)  # so it is at every end of the daemon
            return 1
        return 0

    def _assemble(self, welcome: Welcome) -> Master:
        link, loop = self._link, asyncio.get_running_loop()
        self._watch = Watch(self._briefing.orders(welcome, link.tools))
        self._leaves = Leaves(self._signer.sign, welcome.chain, time.time)
        self._lessons = Lessons(time.time)
        self._checkpoint = Checkpoint(welcome.listeners, link.attribute, link.dial)
        return assembly.assemble(
            self._watch,
            Ledger(
                link.record,
                time.time,
                os.urandom,
                lambda act: loop.call_later(RECORDED_AFTER, act),
                link.seen,
                Claims(self._briefing.clients, welcome.key),
            ),
            self._checkpoint,
            self._leaves,
            self,
            lessons=self._lessons,
            body_limit=welcome.body_limit,
            upstream_trust=trust.private_file(
                "milecastle-upstream", trust.merged(welcome.upstream_ca)
            ),
            room=room.Room(time.monotonic, room.allowed()),
            counter=link,
        )

    # --- mitmproxy says --------------------------------------------------------------------

    def running(self) -> None:
        """Begin what goes on beside the traffic: it is served now."""
        self._keep(self._link.beat(lambda: len(self._checkpoint.callers)))
        self._keep(resolve.for_ever(self._briefing.catalogue.exact_names(), self._link.names))

    def done(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()

    # --- the daemon says -------------------------------------------------------------------

    def policy(self, files: PolicyFiles) -> None:
        """Act on another policy from now on."""
        self._when_serving(lambda: self._obey(files))

    def knowledge(self, told: Knowledge) -> None:
        """Look for what these rules and indexes say from now on."""
        self._when_serving(lambda: self._keep(self._learn(told)))

    def sealed(self, server: str, seals: Mapping[str, str]) -> None:
        """Know these tools of a server from now on."""
        self._when_serving(lambda: self._briefing.continuity.seal(server, seals))

    def chain(self, pem: str) -> None:
        """Serve certificates of another CA from now on."""
        self._when_serving(lambda: self._renew(pem))

    def listen(self, listener: Listener) -> None:
        """Serve another network namespace."""
        self._when_serving(lambda: self._keep(self._serve(listener)))

    def unlisten(self, netns: int) -> None:
        """Serve a network namespace no longer."""
        self._when_serving(lambda: self._checkpoint.unlisten(netns))

    def packet(self, what: str, data: bytes, connection: int, at: int) -> None:
        """Read a captured packet, beside the traffic."""
        whole = self._dns.feed(connection, at, data) if what == "dns_stream" else [data]
        for message in whole:
            if self._packets >= PACKETS_WAITING:
                self.dropped_packets += 1
                continue
            self._packets += 1
            parsing = asyncio.get_running_loop().run_in_executor(self._parser, answers_in, message)
            parsing.add_done_callback(self._parsed)

    def ended(self, why: LineError) -> None:
        """End too."""
        self._end = why
        if self._master is not None:
            self._master.shutdown()

    def _when_serving(self, act: Callable[[], None]) -> None:
        if self._early is None:
            act()
        else:
            self._early.append(act)

    def _obey(self, files: PolicyFiles) -> None:
        try:
            self._watch.orders = briefing.with_policy(self._watch.orders, files)
        except ParseError as error:
            log.error("a policy that can't be read, the old one stays: %s", error)

    def _renew(self, pem: str) -> None:
        try:
            self._leaves.renew(pem)
            self._lessons.forget_clients()
        except ValueError as error:
            log.error("a certificate that can't be read, the old one stays: %s", error)

    async def _learn(self, told: Knowledge) -> None:
        """Compile beside the traffic; exchanges that began before keep the detectors they had."""
        async with self._learning:
            loop = asyncio.get_running_loop()
            engine = await loop.run_in_executor(None, self._briefing.engine, told)
            self._watch.orders = briefing.with_engine(self._watch.orders, engine)
            log.info("%d rules, %d indexes of documents", len(engine.rules), len(told.documents))

    async def _serve(self, listener: Listener) -> None:
        try:
            await self._checkpoint.listen(listener)
        except OSError as error:
            log.error("cannot serve port %d of another namespace: %s", listener.port, error)

    def _parsed(self, parsing: asyncio.Future[list[resolve.Answer]]) -> None:
        self._packets -= 1
        if parsing.cancelled():
            return
        if parsing.exception() is not None:
            log.error("the packet parser failed: %s", type(parsing.exception()).__name__)
        elif answers := parsing.result():
            self._link.names(answers)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def answers_in(data: bytes) -> list[resolve.Answer]:
    """Return the names that a captured DNS answer holds; nothing where it can't be read."""
    from milecastle import packets  # scapy takes 45 MB: only where a packet came

    try:
        return [(each.name, each.addresses, each.ttl) for each in packets.dns_answers(data)]
    except ParseError:
        return []

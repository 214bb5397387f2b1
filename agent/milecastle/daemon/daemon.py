"""The daemon put together: what is made, in which order, and how it is undone.

Everything is entered on one exit stack and left in reverse order, whatever happens: first the
hooks, so that the host is free, then the children, then the sockets. The part that matters for the
host's network needs no healthy process: the kernel removes the hooks with the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

from milecastle.catalogue import Catalogue, clients
from milecastle.daemon import (
    accounts,
    ceremony,
    cgroups,
    condition,
    preparing,
)
from milecastle.daemon.archive import Archive
from milecastle.daemon.attaching import attached
from milecastle.daemon.attribution import Attributor
from milecastle.daemon.checkpoint import follow_routes, open_listeners, open_unix
from milecastle.daemon.control import Answers, Clients
from milecastle.daemon.credibility import Credible, of_children, of_unit
from milecastle.daemon.exclusions import Exclusions
from milecastle.daemon.hashing import Hashing
from milecastle.daemon.knowledge import USUAL_RULES, Knowledge
from milecastle.daemon.ledger import Ledger
from milecastle.daemon.model_servers import ModelServers
from milecastle.daemon.names import HOSTS_FILE, Names
from milecastle.daemon.namespaces import Namespaces
from milecastle.daemon.notify import notify
from milecastle.daemon.peer import listen
from milecastle.daemon.pods import Pods
from milecastle.daemon.proving import prove
from milecastle.daemon.recognition import Recognition
from milecastle.daemon.recording import Recorder
from milecastle.daemon.refusals import Refusals
from milecastle.daemon.reload import Watch
from milecastle.daemon.restrictions import Restrictions
from milecastle.daemon.rules import Rules
from milecastle.daemon.sockets import Sockets, Told
from milecastle.daemon.status import Status
from milecastle.daemon.supervisor import Child
from milecastle.daemon.tasks import StartError, accept, cancel_tasks, in_words, leaves
from milecastle.daemon.tools import Offered
from milecastle.daemon.usage import Usage
from milecastle.daemon.welcome import configuration
from milecastle.daemon.workers import Shared, Workers, packet_frame
from milecastle.host import Census, Chronicle, ExecutableHashes, ProcessTable
from milecastle.host.pods import PodTable
from milecastle.kernel import Flow, Kernel, KernelUnavailable, Reason
from milecastle.model import Owner
from milecastle.settings import Settings
from milecastle.store import Hours, Register, Store, Tools

KEEP_DAYS = 30.0
KEEP_BYTES = 2 << 30
PRUNE_SECONDS = 3600.0
HOSTS_SECONDS = 300.0
UNREPORTED = ("flow_unreported", "record_unreadable")
"""Counters of connections that the kernel saw and could not tell of."""
PAST_SECONDS = 86_400.0
"""For how long an address is remembered across starts, for connections older than the daemon."""

type Announce = Callable[[dict[str, Any]], None]


class Daemon:
    """One run of `milecastled`."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        rules: Rules,
        *,
        external: bool = False,
        announce: Announce | None = None,
        ready: Callable[[Status], None] = lambda _status: None,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._rules = rules
        self._external = external
        self._announce = announce
        self._on_ready = ready
        self._stop = asyncio.Event()
        self._began = time.monotonic()
        self._hashes = ExecutableHashes()
        self._children: list[Child] = []
        self._kernel: Kernel
        self._status: Status

    def stop(self) -> None:
        """End the run; may be called from a signal handler of the event loop."""
        self._stop.set()

    async def run(self) -> None:
        """Begin, serve until `stop`, undo everything. StartError where it can't begin."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._begin(stack)
                self._on_ready(self._status)
                await self._stop.wait()
                self._status.stopping = True
                notify(STOPPING="1")
        except* (OSError, LookupError, StartError, KernelUnavailable) as group:
            reasons = dict.fromkeys(map(in_words, leaves(group)))
            raise StartError("; ".join(reasons)) from group

    # --- beginning -------------------------------------------------------------------------

    async def _begin(self, stack: contextlib.AsyncExitStack) -> None:
        """Make everything, one after the other, as the exit stack will undo it."""
        settings, run = self._settings, self._settings.run_dir
        who = accounts.find()
        watched = cgroups.resolve(settings.cgroup)
        preparing.folders(settings, who)
        stack.enter_context(preparing.only_one(run))
        extra = preparing.published_catalogue(settings)
        self._custody = ceremony.Custody(settings.state_dir, extra, accounts.SIGNER)
        await self._custody.take()
        archive = Archive(Store.open(settings.state_dir / "milecastle.db"), now=time.time)
        stack.callback(archive.close)
        register = Register.open(settings.state_dir / "ledger.db")
        ledger = Ledger(
            register,
            self._catalogue.match,
            lambda cookie: self._attributor.recall(cookie),
            keep_days=KEEP_DAYS,
        )
        stack.callback(ledger.close)
        tools = Tools.open(settings.state_dir / "tools.db")
        offered = Offered(tools, lambda kind, body: workers.tell(kind, body))
        stack.callback(offered.close)
        self._knowledge = Knowledge(settings.rules or (USUAL_RULES,), settings.state_dir)
        stack.callback(self._knowledge.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(cancel_tasks)
        base = cgroups.base_for_children(watched)
        worker_cgroup = stack.enter_context(cgroups.temporary(base, "worker"))
        test_cgroup = stack.enter_context(cgroups.temporary(watched, "selftest"))
        listeners = open_listeners()
        for listener in listeners:
            stack.callback(listener.socket.close)
        sockets = {
            "worker": open_unix(run / "worker.sock", 0o660, who.proxy_gid),
            "control": open_unix(run / "control.sock", 0o666, who.readers_gid),
        }
        pods = None
        if settings.kubernetes:
            reader = accounts.user(accounts.PODS)
            pods = Pods(settings.kubernetes, self._credible("pods", reader.pw_uid))
            sockets["pods"] = open_unix(run / "pods.sock", 0o660, reader.pw_gid)
        if not self._external:
            sockets["signer"] = open_unix(run / "signer.sock", 0o660, who.proxy_gid)
            signer = preparing.signer(settings, extra, sockets["signer"].fileno())
            worker = preparing.worker(settings, worker_cgroup)
            self._children = [Child(signer), *(Child(worker) for _ in range(settings.workers))]
            self._children += [Child(preparing.pods(settings))] if pods else []
        for name, sock in sockets.items():
            stack.callback((run / f"{name}.sock").unlink, missing_ok=True)
            stack.callback(sock.close)
        stack.push_async_callback(self._stop_children)
        for child in self._children:
            tasks.create_task(child.keep(), name=child.spec.name)

        # compiling takes a second, as long as the worker takes to import: both at once
        self._kernel = kernel = await attached(watched, sockets["control"], self._stop)
        stack.callback(kernel.close)
        kernel.exempt(cgroups.identity(worker_cgroup))
        for listener in listeners:
            kernel.vouch(listener.socket.fileno())
        ports = {listener.family: listener.port for listener in listeners}

        names = Names(kernel, self._catalogue, self._custody.covers)
        names.hand_over()
        chronicle = Chronicle(cgroups=cgroups.resolve("auto"))
        recognition = Recognition(clients.shipped())
        known_pods = pods.table if pods else PodTable()
        processes = ProcessTable(self._hashes)
        self._attributor = Attributor(
            processes,
            chronicle,
            self._service_of,
            recognition,
            known_pods.complete,
            lambda flow: self._servers.at(flow),
        )
        self._hashing = Hashing(self._hashes, self._attributor.add_hash)
        hours = Hours.open(settings.state_dir / "usage.db")
        stack.callback(hours.close)
        usage = Usage(hours, lambda: self._rules.policy)
        stack.callback(usage.flush)
        recorder = Recorder(
            archive,
            self._attributor,
            self._rules.standing,
            complete=recognition.complete,
            entered=ledger.called,
            usage=usage.take,
        )
        self._namespaces = Namespaces(
            kernel,
            cgroups.inside(watched),
            ports,
            added=lambda namespace: workers.listen(namespace),
            removed=lambda namespace: workers.tell("unlisten", {"netns": namespace.netns}),
            exclusions=Exclusions(settings.namespaces, known_pods.identify),
        )
        stack.callback(self._namespaces.close)
        self._servers = ModelServers(
            kernel,
            self._catalogue,
            self._attributor.present,
            lambda: self._namespaces.served,
            settings.intercept.loopback,
        )
        past = await ledger.write(lambda register: register.addresses(time.time() - PAST_SECONDS))
        self._sockets = Sockets(
            processes,
            lambda: [namespace.descriptor for namespace in self._namespaces.served],
            lambda address: self._service_of(kernel.service_at(address)) or past.get(address),
            lambda one: self._namespaces.watches(one.pid) and one.uid != who.proxy_uid,
            Told(self._shared, ledger.older),
        )
        shared = Shared(
            kernel=kernel,
            attributor=self._attributor,
            catch_up=self._kernel_events,
            names=names,
            recorder=recorder,
            listeners=listeners,
            namespaces=self._namespaces,
            standing=self._rules.standing,
            configuration=configuration(
                settings, self._rules, self._custody, self._knowledge, offered
            ),
            documents=lambda: self._knowledge.descriptors,
            tools=offered.learn,
            serving=self._progress,
            seen=ledger.seen,
        )
        workers = Workers(shared, self._credible("worker", who.proxy_uid, kernel.exempt))
        self._restrictions = restrictions = Restrictions(
            kernel, self._rules, Census(cgroups=cgroups.resolve("auto")), chronicle, self._hashes
        )
        await restrictions.begin()
        self._status = Status(
            settings, self._rules, kernel, workers, names, self._namespaces, recorder, archive,
            self._custody, self._children, self._began, ledger, self._knowledge, restrictions,
            self._attributor, self._servers, pods,
        )  # fmt: skip
        self._ledger = ledger
        self._refusals = Refusals(ledger, self._catalogue, self._rules, restrictions.enforce)
        answers = Answers(
            archive,
            recorder,
            self._status.report,
            self.reload,
            self.rotate,
            who.readers_gid,
            ledger,
            self._refusals,
            offered,
            usage,
            self._rules.standing,
            lambda: sum(kernel.counters()[name] for name in UNREPORTED),
        )
        loop = asyncio.get_running_loop()
        loop.add_reader(kernel.fileno(), self._kernel_events)
        stack.callback(loop.remove_reader, kernel.fileno())
        stack.callback(workers.close)

        def background(work: Coroutine[Any, Any, None]) -> None:
            """Run it beside the rest, and end it before the kernel's maps are closed."""
            stack.callback(tasks.create_task(work).cancel)

        tasks.create_task(accept(listen(sockets["worker"]), workers.take, tasks))
        if pods:
            tasks.create_task(accept(listen(sockets["pods"]), pods.take, tasks))
        tasks.create_task(accept(listen(sockets["control"]), Clients(answers).take, tasks))
        background(workers.watch(self._kill))
        background(self._housekeeping())
        files = [*self._rules.paths, HOSTS_FILE, *self._knowledge.watched]
        stack.callback(Watch(files, self._files_changed).close)
        background(self._namespaces.follow())
        background(self._servers.follow())
        background(follow_routes(kernel, ports))
        background(self._sockets.follow())

        await prove(self._status, self._catalogue, test_cgroup, self._stop)
        await self._refusals.begin()
        background(self._refusals.keep())
        background(ledger.keep())
        background(usage.keep())
        background(condition.follow(self._status.degraded, recorder.tell))
        names.learn_hosts_file()
        if self._announce is not None:
            recorder.follow(self, self._announce)
        self._progress()

    def _credible(
        self, name: str, uid: int, exempt: Callable[[int], None] = lambda _cgroup: None
    ) -> Credible:
        """Return what decides whether a peer is a child of this name."""
        if self._external:
            return of_unit(name, uid, exempt)
        return of_children(name, lambda: self._children)

    # --- running ---------------------------------------------------------------------------

    def reload(self) -> dict[str, Any]:
        """Read policy, rules and indexes again. A bad file changes nothing; problems are told."""
        changed = self._rules.reload()
        workers = self._status.workers
        if changed:
            self._refusals.apply()
            workers.tell("policy", self._rules.frame())
        if learned := self._knowledge.reload():
            workers.tell("knowledge", self._knowledge.told(), self._knowledge.descriptors)
        problems = map(str, (*self._rules.problems, *self._knowledge.problems))
        return {"changed": changed or learned, "problems": [*problems]}

    async def rotate(self) -> dict[str, Any]:
        """Put a new CA in place of the present one; signer and workers serve it from now on."""
        await self._custody.renew()
        ca = self._custody.ca
        self._status.workers.tell("chain", {"pem": ca.chain})
        self._status.names.hand_over()  # it may cover names that the old one did not
        self._status.names.learn_hosts_file()
        told = {"root": str(ca.certificate), "bundle": str(ca.bundle)}
        return {**told, "missing": sorted(ca.missing), "expires": ca.expires}

    def _kernel_events(self) -> None:
        """Take everything that the kernel has to tell, lives before the connections they made."""
        events, lives = list(self._kernel.events()), self._kernel.lives()
        self._attributor.witness(lives, self._kernel.lives_lost())
        self._restrictions.witness(lives)
        for event in events:
            if isinstance(event, Flow):
                self._connected(event)
            else:
                self._status.workers.tell_one("packet", packet_frame(event))

    def _shared(self, cookie: int, owners: tuple[Owner, ...]) -> None:
        self._attributor.add_owners(cookie, owners)
        self._ledger.shared(cookie, owners)

    def _connected(self, flow: Flow) -> None:
        if flow.reason is Reason.LOCAL and self._servers.at(flow) is None:
            return  # the same port in another namespace
        attribution = self._attributor.attribute(flow)
        self._ledger.opened(flow, attribution)
        self._sockets.opened(flow)
        process = attribution.process
        if process.exe and process.sha256 is None:
            self._hashing.want(flow.pid, flow.cookie)
        if flow.reason is Reason.NO_LISTENER:
            self._namespaces.meet(flow.pid)

    def _files_changed(self) -> None:
        self._status.names.learn_hosts_file()
        self.reload()

    async def _housekeeping(self) -> None:
        pruned = 0.0
        while True:
            self._files_changed()  # a folder that was not there when it was to be watched
            if (now := time.monotonic()) - pruned > PRUNE_SECONDS:
                self._status.archive.prune(KEEP_DAYS, KEEP_BYTES)
                pruned = now
            await asyncio.sleep(HOSTS_SECONDS)

    def _progress(self) -> None:
        serving = len(self._status.workers.serving)
        state = {"READY": "1"} if self._status.ready else {}
        notify(**state, STATUS=f"{serving} workers serve" if serving else "no worker serves")

    def _kill(self, pid: int) -> None:
        for child in self._children:
            if child.pid == pid:
                child.kill()

    def _service_of(self, number: int) -> str | None:
        service = self._catalogue.by_number(number)
        return service.id if service else None

    async def _stop_children(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._children))

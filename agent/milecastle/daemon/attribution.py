"""From what the kernel recorded at connect() to who that was.

The ring buffer tells of a connection within microseconds, and the process is looked up then: a
client that lives for some milliseconds is still there. The worker's question, which comes when the
connection has reached the checkpoint, is answered from what was remembered.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace

from milecastle.daemon.model_servers import Server
from milecastle.host import Biography, Chronicle, Image, ProcessTable
from milecastle.kernel import Flow, Life, LifeKind
from milecastle.model import Attribution, Connection, Endpoint, Grade, Owner, Process

REMEMBERED = 16384
"""Connections whose attribution is kept for their exchanges; the oldest goes first."""


class Attributor:
    """Answer who opened a connection, once, and remember it while exchanges may refer to it."""

    def __init__(
        self,
        processes: ProcessTable,
        chronicle: Chronicle,
        service_of: Callable[[int], str | None],
        recognise: Callable[[Process], Process] = lambda process: process,
        name_pod: Callable[[Process], Process] = lambda process: process,
        served_by: Callable[[Flow], Server | None] = lambda _flow: None,
    ) -> None:
        """``recognise`` completes a process with what it runs and which AI client it is;
        ``name_pod`` with what its pod is called, as far as that is known by then. ``served_by``
        returns the server of this host that a connection goes to.
        """
        self._served_by = served_by
        self._recognise = recognise
        self._name_pod = name_pod
        self._processes = processes
        self._chronicle = chronicle
        self._service_of = service_of
        self._known: OrderedDict[int, Attribution] = OrderedDict()
        self._lost = 0
        self._witnessed_ns = time.monotonic_ns()
        self.unattributed = 0
        """Connections at a checkpoint that the kernel remembered no more."""

    def attribute(self, flow: Flow) -> Attribution:
        """Return the attribution of a flow; who it is is found out once."""
        known = self._known.get(flow.cookie)
        if known is None or known.connection.opened_ns != flow.opened_ns:
            process, source = self._identify(flow.pid, flow.uid, flow.opened_ns)
            process = self._recognise(process) if process else None
            known = describe(flow, process, source, self._service_of(flow.service))
            if server := self._served_by(flow):
                known = replace(known, service=server.service, local=True, server=server.process)
            self._known[flow.cookie] = known
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._named(flow.cookie, known)

    def witness(self, lives: Iterable[Life], lost: int = 0) -> None:
        """Take down what became of processes, in order. ``lost`` is `Kernel.lives_lost`."""
        for life in lives:
            self._take_down(life)
        now = time.monotonic_ns()
        if lost != self._lost:
            self._chronicle.missed(self._witnessed_ns, now)
        self._lost, self._witnessed_ns = lost, now

    def _take_down(self, life: Life) -> None:
        who = Biography(
            life.pid, life.parent, life.started_ns, life.uid, life.loginuid, life.cgroup, ()
        )
        if life.kind is LifeKind.FORK:
            self._chronicle.forked(who)
        elif life.program is not None:
            program = life.program
            # of a script the interpreter is what runs; the script stands in the arguments
            marks = ("deleted",) if program.unlinked else ()
            image = Image(life.at_ns, life.comm, program.interpreter, program.argv, marks)
            self._chronicle.executed(who, image, (program.device, program.inode))

    def _identify(self, pid: int, uid: int, opened_ns: int) -> tuple[Process | None, str]:
        """Return the process and where that is known from: /proc, or the kernel's own reports."""
        if not self._chronicle.changed_since(pid, opened_ns):
            process = self._processes.identify(pid, uid, opened_ns)
            if process is not None:
                return process, "/proc"
        return self._chronicle.recall(pid, uid, opened_ns), "kernel records at exec()"

    def present(self, pid: int, uid: int) -> Process | None:
        """Return a process as it is now."""
        process = self._processes.identify(pid, uid, time.monotonic_ns())
        return self._name_pod(self._recognise(process)) if process else None

    def recall(self, cookie: int) -> Attribution | None:
        """Return what was found out about a connection, None if that is forgotten."""
        known = self._known.get(cookie)
        return self._named(cookie, known) if known else None

    def _named(self, cookie: int, known: Attribution) -> Attribution:
        """Complete what was remembered: a pod's first connection may be quicker than its name."""
        process = self._name_pod(known.process)
        if process is not known.process:
            known = self._known[cookie] = replace(known, process=process)
        return known

    def add_owners(self, cookie: int, owners: tuple[Owner, ...]) -> None:
        """Note that several processes hold a connection's socket."""
        known = self._known.get(cookie)
        if known is not None:
            self._known[cookie] = replace(known, owners=owners)

    def add_hash(self, cookie: int, sha256: str) -> None:
        """Note the executable's hash, which takes longer to find than everything else."""
        known = self._known.get(cookie)
        if known is not None:
            process = replace(known.process, sha256=sha256)
            self._known[cookie] = replace(known, process=process)


def describe(flow: Flow, process: Process | None, source: str, service: str | None) -> Attribution:
    """Join the kernel's record with what else is known, and grade it."""
    if process is None:
        grade, why = Grade.PARTIAL, "kernel record at connect(); the process ended unread"
        process = Process(pid=flow.pid, comm=flow.comm, uid=flow.uid)
    else:
        grade, why = Grade.EXACT, f"kernel record at connect(), {source}"
    connection = Connection(
        cookie=flow.cookie,
        destination=Endpoint(flow.address, flow.port),
        netns=flow.netns,
        cgroup_id=flow.cgroup,
        tid=flow.tid,
        opened_ns=flow.opened_ns,
    )
    return Attribution(connection, process, service, grade, why)

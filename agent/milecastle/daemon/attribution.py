"""From what the kernel recorded at connect() to who that was.

The ring buffer tells of a connection within microseconds, and the process is looked up then: a
client that lives for some milliseconds is still there. The worker's question, which comes when the
connection has reached the checkpoint, is answered from what was remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from milecastle.host import ProcessTable
from milecastle.kernel import Flow
from milecastle.model import Attribution, Connection, Endpoint, Grade, Process

REMEMBERED = 16384
"""Connections whose attribution is kept for their exchanges; the oldest goes first."""


class Attributor:
    """Answer who opened a connection, once, and remember it while exchanges may refer to it."""

    def __init__(self, processes: ProcessTable, service_of: Callable[[int], str | None]) -> None:
        self._processes = processes
        self._service_of = service_of
        self._known: OrderedDict[int, Attribution] = OrderedDict()

    def attribute(self, flow: Flow) -> Attribution:
        """Return the attribution of a flow, read from /proc the first time."""
        known = self._known.get(flow.cookie)
        if known is None or known.connection.opened_ns != flow.opened_ns:
            process = self._processes.identify(flow.pid, flow.uid, flow.opened_ns)
            known = describe(flow, process, self._service_of(flow.service))
            self._known[flow.cookie] = known
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known

    def recall(self, cookie: int) -> Attribution | None:
        """Return what was found out about a connection, None if that is forgotten."""
        return self._known.get(cookie)

    def add_hash(self, cookie: int, sha256: str) -> None:
        """Note the executable's hash, which takes longer to find than everything else."""
        known = self._known.get(cookie)
        if known is not None:
            process = replace(known.process, sha256=sha256)
            self._known[cookie] = replace(known, process=process)


def describe(flow: Flow, process: Process | None, service: str | None) -> Attribution:
    """Join the kernel's record with what /proc said, and grade it."""
    if process is None:
        grade, why = (
            Grade.PARTIAL,
            "kernel record at connect(); the process ended before /proc was read",
        )
        process = Process(pid=flow.pid, comm=flow.comm, uid=flow.uid)
    else:
        grade, why = Grade.EXACT, "kernel record at connect()"
    connection = Connection(
        cookie=flow.cookie,
        destination=Endpoint(flow.address, flow.port),
        netns=flow.netns,
        cgroup_id=flow.cgroup,
        tid=flow.tid,
        opened_ns=flow.opened_ns,
    )
    return Attribution(connection, process, service, grade, why)

"""A worker's and a client's end of the daemon's sockets, over a fake kernel and a real store."""

import asyncio
import contextlib
import socket

import pytest

from milecastle import catalogue, shipped, wire
from milecastle.daemon.archive import Archive
from milecastle.daemon.attribution import Attributor
from milecastle.daemon.ledger import Ledger
from milecastle.daemon.names import Names
from milecastle.daemon.peer import Peer
from milecastle.daemon.recording import Recorder
from milecastle.daemon.tools import Offered
from milecastle.daemon.usage import Usage
from milecastle.daemon.workers import Shared, WorkerSession
from milecastle.host import Chronicle, ExecutableHashes, ProcessTable
from milecastle.kernel.fake import FakeKernel
from milecastle.model import Standing
from milecastle.policy import Policy
from milecastle.store import Hours, Register, Store, Tools


@pytest.fixture(scope="session")
def services():
    loaded, _problems = catalogue.load(shipped.texts("config", "catalogue"))
    return loaded


@pytest.fixture
def kernel():
    fake = FakeKernel()
    yield fake
    fake.close()


@pytest.fixture
def archive(tmp_path):
    opened = Archive(Store.open(tmp_path / "milecastle.db"), now=lambda: 1e9)
    yield opened
    opened.close()


@pytest.fixture
def tools(tmp_path):
    opened = Tools.open(tmp_path / "tools.db")
    yield opened
    opened.close()  # twice, where somebody has closed it


@pytest.fixture
def offered(tools):
    kept = Offered(tools, lambda kind, body: kept.told.append((kind, body)), now=lambda: 1e9)
    kept.told = []
    yield kept
    kept.close()


@pytest.fixture
def usage(tmp_path):
    hours = Hours.open(tmp_path / "usage.db")
    yield Usage(hours, Policy, now=lambda: 1e9)
    hours.close()


class NoNamespaces:
    served = ()

    def dial(self, netns, family):
        raise LookupError("none")


@pytest.fixture
def ledger(tmp_path, services, shared):
    register = Register.open(tmp_path / "ledger.db")
    opened = Ledger(register, services.match, shared.attributor.recall, keep_days=30)
    yield opened
    opened.close()


@pytest.fixture
def shared(kernel, archive, services):
    def service_of(number):
        found = services.by_number(number)
        return found.id if found else None

    attributor = Attributor(ProcessTable(ExecutableHashes()), Chronicle(), service_of)
    return Shared(
        kernel=kernel,
        attributor=attributor,
        catch_up=lambda: None,
        names=Names(kernel, services, lambda _name: True),
        recorder=Recorder(archive, attributor, lambda _s: Standing.TOLERATED),
        listeners=(),
        namespaces=NoNamespaces(),
        standing=lambda _service: Standing.TOLERATED,
        configuration=lambda: {"policy": {"files": [["", ""]]}},
        serving=lambda: None,
    )


class End:
    """The other end of a session: says frames, hears answers."""

    def __init__(self, sock):
        self.sock = sock
        self._decoder = wire.Decoder()
        self._heard = []

    async def say(self, *frame):
        await self.raw(wire.encode(wire.Frame(*frame)))

    async def raw(self, data):
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def hear(self):
        """Return the next frame; None where the session was ended."""
        while not self._heard:
            try:
                data = await asyncio.wait_for(
                    asyncio.get_running_loop().sock_recv(self.sock, 1 << 16), 5
                )
            except ConnectionError:
                return None
            if not data:
                return None
            self._heard += self._decoder.feed(data)
        return self._heard.pop(0)


@pytest.fixture
async def pair():
    """Return (Peer, End) of a connected unix socket; a test may make several."""
    made = []

    def make():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        theirs.setblocking(False)
        peer = Peer(ours)
        made.append((peer, theirs))
        return peer, End(theirs)

    yield make
    for peer, sock in made:
        await peer.close()
        sock.close()


@pytest.fixture
async def worker(pair, shared):
    """Return a worker's end that has said hello, with its session."""
    peer, end = pair()
    session = WorkerSession(peer, shared)
    task = asyncio.create_task(session.serve())
    await end.say(1, "hello", {"version": wire.VERSION})
    assert (await end.hear()).kind == "ok"
    end.session = session
    yield end
    task.cancel()

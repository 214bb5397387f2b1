"""Sockets that are older than the hooks, or held by several; on real sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from milecastle.daemon.sockets import Sockets, Told
from milecastle.host import ExecutableHashes, ProcessTable, connections, holders
from milecastle.kernel.flows import Flow
from milecastle.kernel.layout import Outcome, Reason
from milecastle.model import Grade

SO_COOKIE = 57


def cookie(sock):
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request):
    """A connection over loopback: the client's end, and the server's port."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        port = server.getsockname()[1]
        with socket.create_connection((request.param, port)) as client:
            yield client, port


@pytest.fixture
def told():
    return {"shared": [], "older": []}


@pytest.fixture
def sockets(told, pair, monkeypatch):
    _, port = pair
    monkeypatch.setattr("milecastle.daemon.sockets.PORTS", {port})
    monkeypatch.setattr("milecastle.daemon.sockets.LEAST_SECONDS", 0.0)
    services = {}
    made = Sockets(
        ProcessTable(ExecutableHashes()),
        lambda: (),
        services.get,
        lambda process: process.uid == os.getuid(),
        Told(
            lambda *shared: told["shared"].append(shared),
            lambda *older: told["older"].append(older),
        ),
    )
    made.services = services
    return made


async def remembered(sockets):
    """What is there now is older than what comes."""
    from milecastle.daemon.sockets import PORTS, everything

    sockets._older = {
        held.cookie: held
        for held in (await sockets._in_a_thread(everything)).values()
        if held.port in PORTS
    }


def flow(sock):
    address, port = sock.getpeername()[:2]
    return Flow(cookie(sock), 1, 1, 1, address, port, os.getpid(), os.getpid(), 0, 0, "x", 1,
                Outcome.DIRECT, Reason.POLICY)  # fmt: skip


def test_the_kernel_lists_a_connection_with_its_cookie_and_inode(pair):
    client, _ = pair
    (held,) = [one for one in connections() if one.cookie == cookie(client)]
    assert (held.address, held.port) == client.getpeername()[:2]
    assert held.inode == os.fstat(client.fileno()).st_ino
    assert held.uid == os.getuid()


def test_every_holder_of_a_socket_is_found(pair):
    client, _ = pair
    inode = os.fstat(client.fileno()).st_ino
    with holder(client) as child:
        found = holders([inode, 12345])
        assert found.holders == {inode: tuple(sorted((os.getpid(), child.pid)))}
        assert found.whole
    assert holders([inode]).holders == {inode: (os.getpid(),)}


def test_a_search_out_of_time_says_so(pair):
    assert not holders([os.fstat(pair[0].fileno()).st_ino], seconds=-1).whole


class holder:  # noqa: N801 - a context
    """A process that holds a socket by inheritance."""

    def __init__(self, sock):
        self.child = subprocess.Popen(["sleep", "60"], pass_fds=[sock.fileno()])

    def __enter__(self):
        return self.child

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


async def test_a_connection_that_a_child_inherited_has_both_owners(sockets, pair, told):
    client, _ = pair
    sockets.opened(flow(client))
    with holder(client) as child:
        await sockets.look()
    ((number, owners),) = told["shared"]
    assert number == cookie(client)
    assert {owner.pid for owner in owners} == {os.getpid(), child.pid}
    assert {owner.exe for owner in owners} == {os.path.realpath("/bin/sleep"),
                                               os.path.realpath(sys.executable)}  # fmt: skip


async def test_a_socket_handed_over_by_scm_rights_has_both_owners(sockets, pair, told):
    client, _ = pair
    ours, theirs = socket.socketpair()
    receive = "import socket,sys; s=socket.socket(fileno=int(sys.argv[1]));" \
              "fds=socket.recv_fds(s,1,1)[1]; s.send(b'1'); s.recv(1)"  # fmt: skip
    command = [sys.executable, "-I", "-c", receive, str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as child:
        theirs.close()
        socket.send_fds(ours, [b"x"], [client.fileno()])
        ours.recv(1)
        sockets.opened(flow(client))
        await sockets.look()
        ours.send(b"1")
    ((_, owners),) = told["shared"]
    assert {owner.pid for owner in owners} == {os.getpid(), child.pid}


async def test_one_owner_is_nothing_to_tell(sockets, pair, told):
    sockets.opened(flow(pair[0]))
    await sockets.look()
    assert told == {"shared": [], "older": []}


async def test_a_connection_from_before_is_told_when_its_address_is_a_service_s(
    sockets, pair, told
):
    client, _ = pair
    await remembered(sockets)
    await sockets.look()
    assert told["older"] == []
    sockets.services[client.getpeername()[0]] = "openai"
    await sockets.look()
    ((held, attribution),) = told["older"]
    assert held.cookie == cookie(client)
    assert (attribution.grade, attribution.service) == (Grade.TUPLE, "openai")
    assert attribution.process.pid == os.getpid()
    assert [owner.pid for owner in attribution.owners] == [os.getpid()]
    assert "held by one process" in attribution.why
    await sockets.look()
    assert len(told["older"]) == 1


async def test_of_several_owners_the_oldest_is_the_process(sockets, pair, told):
    client, _ = pair
    await remembered(sockets)
    sockets.services[client.getpeername()[0]] = "openai"
    with holder(client) as child:
        await sockets.look()
    ((_, attribution),) = told["older"]
    assert attribution.process.pid == os.getpid()
    assert [owner.pid for owner in attribution.owners] == [os.getpid(), child.pid]
    assert "held by 2 processes" in attribution.why


async def test_one_that_was_seen_to_connect_is_not_older(sockets, pair, told):
    client, _ = pair
    await remembered(sockets)
    sockets.services[client.getpeername()[0]] = "openai"
    sockets.opened(flow(client))
    await sockets.look()
    assert told["older"] == []


async def test_a_process_that_is_not_watched_is_left_out(sockets, pair, told):
    await remembered(sockets)
    sockets.services[pair[0].getpeername()[0]] = "openai"
    sockets._counts = lambda process: False
    await sockets.look()
    assert told["older"] == []

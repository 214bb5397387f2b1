"""Which servers of this host are models, by what listens and where; what the kernel is told."""

import os
import socket
import time

import pytest

from milecastle.daemon import model_servers
from milecastle.daemon.model_servers import ModelServers
from milecastle.host import netns_cookie
from milecastle.host.holders import Search
from milecastle.host.sockdiag import ListeningSocket
from milecastle.kernel import Flow, Outcome, Reason
from milecastle.model import Process

OLLAMA = Process(pid=1, comm="ollama", uid=0, exe="/usr/bin/ollama", client="ollama")
VLLM = Process(pid=1, comm="python3", uid=0, script="-m vllm.entrypoints", client="vllm")
WEB = Process(pid=1, comm="python3", uid=0, script="-m http.server")
NEAR = "192.0.2.7"


@pytest.fixture
def own():
    with socket.socket() as sock:
        return netns_cookie(sock)


@pytest.fixture
def made(kernel, services, monkeypatch):
    """Return servers over one namespace in which a process listens."""

    def make(port=11434, process=WEB, address="0.0.0.0", intercepted=()):
        sockets = [ListeningSocket(address, port, 7)]
        monkeypatch.setattr(model_servers, "look", lambda _ns: (sockets, frozenset({NEAR})))
        found = Search({7: (os.getpid(),)})
        monkeypatch.setattr(model_servers, "holders", lambda _new: found)
        return ModelServers(kernel, services, lambda *_: process, list, intercepted)

    return make


def flow(own, port=11434, address="127.0.0.1"):
    return Flow(
        cookie=1, netns=own, cgroup=1, opened_ns=1, address=address, port=port, pid=5, tid=5,
        uid=5, gid=5, comm="x", service=1, outcome=Outcome.DIRECT, reason=Reason.LOCAL,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("port", "process", "service"),
    [
        (11434, WEB, "ollama"),  # nothing else uses that port
        (5555, OLLAMA, "ollama"),
        (8000, VLLM, "vllm"),
        (11434, VLLM, "vllm"),  # the program says more than the port
        (8000, WEB, None),
        (8080, WEB, None),
        (5555, WEB, None),
        (11434, None, "ollama"),
    ],
)
async def test_a_server_is_known_by_its_program_or_by_a_port_of_its_own(
    made, own, port, process, service
):
    servers = made(port, process)
    await servers.sweep()
    found = servers.at(flow(own, port))
    assert (found and found.service) == service
    assert found is None or found.process is process


async def test_the_kernel_is_told_every_address_and_redirects_only_what_the_settings_name(
    made, kernel, services
):
    number = services.number("ollama")
    await made().sweep()
    assert kernel.locals == {(None, 11434): (number, False), (NEAR, 11434): (number, False)}
    await made(intercepted=[11434]).sweep()
    assert kernel.locals == {(None, 11434): (number, True), (NEAR, 11434): (number, False)}
    await made(address="127.0.0.1").sweep()
    assert kernel.locals == {(None, 11434): (number, False)}


async def test_a_host_without_model_servers_tells_the_kernel_of_none(made, kernel):
    await made(8000, WEB).sweep()
    assert kernel.locals == {}


async def test_a_port_of_the_settings_counts_before_anything_was_seen(made, kernel, own, services):
    servers = made(intercepted=[11434, 9999])
    assert kernel.locals[None, 9999] == (services.number("local-ai"), True)
    assert servers.at(flow(own, 9999)).service == "local-ai"
    assert servers.at(flow(own, 11434)).service == "ollama"


async def test_the_same_port_in_another_namespace_is_nobody_s(made, own):
    servers = made()
    await servers.sweep()
    assert servers.at(flow(own + 1)) is None
    assert servers.at(flow(own + 1, address=NEAR)).service == "ollama"  # a container's client


async def test_a_server_that_ended_is_forgotten(made, kernel, own, monkeypatch):
    servers = made()
    await servers.sweep()
    monkeypatch.setattr(model_servers, "look", lambda _ns: ([], frozenset()))
    await servers.sweep()
    assert kernel.locals == {}
    assert servers.at(flow(own)) is None
    assert servers.servers == []


async def test_owners_are_looked_for_in_a_fiftieth_of_the_time(made, own, monkeypatch):
    scans = []

    def slow(new):
        scans.append(set(new))
        time.sleep(0.02)
        return Search()

    servers = made()
    monkeypatch.setattr(model_servers, "holders", slow)
    await servers.sweep()
    sockets = [ListeningSocket("127.0.0.1", 11434, inode) for inode in (7, 8)]
    monkeypatch.setattr(model_servers, "look", lambda _ns: (sockets, frozenset()))
    await servers.sweep()
    assert scans == [{7}]
    servers._rested = 0.0
    await servers.sweep()
    assert scans == [{7}, {8}]

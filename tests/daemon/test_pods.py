"""The session with milecastle-pods, and that process itself, from the cluster to the table."""

import asyncio
import os
import subprocess
from types import SimpleNamespace

import pytest
from tests.pods.cluster import EXAMPLES, NODE, running

from milecastle import wire
from milecastle.daemon import accounts
from milecastle.daemon.attribution import Attributor
from milecastle.daemon.checkpoint import open_unix
from milecastle.daemon.peer import listen
from milecastle.daemon.pods import Pods, question
from milecastle.daemon.preparing import pods as prepared
from milecastle.daemon.recording import attribution_record
from milecastle.daemon.supervisor import confined
from milecastle.host import Chronicle
from milecastle.host.pods import ListedPod, PodTable
from milecastle.model import (
    Attribution,
    Connection,
    Endpoint,
    Grade,
    Pod,
    Process,
    Standing,
)
from milecastle.proxy.link import read_process
from milecastle.settings import Kubernetes, Settings

PATH = EXAMPLES[3].path("main")
ROW = {
    "uid": "u-1",
    "alias": "",
    "namespace": "shop",
    "name": "web-1",
    "labels": {"app": "web"},
    "containers": [["ab" * 32, "containerd", "main"]],
}


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    return Kubernetes("api", NODE, "https://h:1", tmp_path / "token", tmp_path / "ca.crt")


@pytest.fixture
async def session(pair, settings):
    """Return Pods, and the other end of a session that has said hello."""
    known = Pods(settings, lambda _peer: True)
    peer, end = pair()
    task = asyncio.create_task(known.take(peer))
    await end.say(1, "hello", {"version": wire.VERSION})
    welcome = await end.hear()
    assert welcome.body["result"] == {
        "source": "api", "node": NODE, "server": "https://h:1", "token": "secret",
        "ca": "-----BEGIN CERTIFICATE-----\n",
    }  # fmt: skip
    yield known, end
    task.cancel()
    await asyncio.wait([task])


async def heard(known, holds):
    for _ in range(500):
        if holds(known):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(known.health)


async def test_rows_fill_the_table_and_trouble_is_shown_while_they_stay(session):
    known, end = session
    assert known.fault
    await end.say(0, "pods", {"rows": [ROW]})
    await heard(known, lambda k: len(k.table) == 1)
    assert known.fault is None
    await end.say(0, "trouble", {"what": "it answers 503"})
    await heard(known, lambda k: k.fault)
    assert known.fault == "no news from https://h:1: it answers 503"
    assert len(known.table) == 1
    await end.say(0, "pod", {"row": {**ROW, "uid": "u-2"}})
    await heard(known, lambda k: len(k.table) == 2)
    assert known.fault is None
    await end.say(0, "gone", {"uid": "u-1"})
    await heard(known, lambda k: len(k.table) == 1)


@pytest.mark.parametrize(
    "change",
    [
        {"uid": ""},
        {"uid": "u" * 65},
        {"name": 7},
        {"name": "n" * 254},
        {"labels": []},
        {"labels": {"a": 1}},
        {"labels": {"a": "v" * 5000}},
        {"containers": [["short", "containerd", "x"]]},
        {"containers": [["ab" * 32, "lxc", "x"]]},
        {"containers": [["ab" * 32, "containerd", "x"]] * 65},
    ],
)
async def test_a_row_that_is_none_ends_the_session(session, change):
    known, end = session
    await end.say(0, "pods", {"rows": [ROW, {**ROW, **change}]})
    assert await end.hear() is None
    assert len(known.table) == 0
    assert "makes no sense" in known.fault


async def test_too_many_pods_end_the_session(session):
    known, end = session
    await end.say(0, "pods", {"rows": [ROW] * (wire.MOST_PODS + 1)})
    assert await end.hear() is None
    assert len(known.table) == 0


async def test_an_unknown_pod_is_asked_for_once_a_second(session):
    known, end = session
    for _ in range(5):
        assert known.table.identify(PATH).name is None
    assert (await end.hear()).kind == "ask"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(end.hear(), 0.1)


async def test_a_new_token_is_handed_over(pair, settings, monkeypatch):
    monkeypatch.setattr("milecastle.daemon.pods.CREDENTIALS_SECONDS", 0.02)
    known = Pods(settings, lambda _peer: True)
    peer, end = pair()
    task = asyncio.create_task(known.take(peer))
    await end.say(1, "hello", {"version": wire.VERSION})
    await end.hear()
    settings.token.write_text("another\n")
    told = await end.hear()
    assert (told.kind, told.body["token"]) == ("credentials", "another")
    task.cancel()
    await asyncio.wait([task])


async def test_a_token_that_cannot_be_read_is_said(pair, settings):
    settings.token.unlink()
    known = Pods(settings, lambda _peer: True)
    peer, end = pair()
    task = asyncio.create_task(known.take(peer))
    await end.say(1, "hello", {"version": wire.VERSION})
    assert await end.hear() is None
    await task
    assert str(settings.token) in known.fault


async def test_nobody_else_is_believed(pair, settings):
    known = Pods(settings, lambda _peer: False)
    peer, end = pair()
    await known.take(peer)
    assert await end.hear() is None


@pytest.mark.parametrize(
    ("given", "environ", "server"),
    [
        ({"source": "api", "server": "https://h:6443"}, {}, "https://h:6443"),
        ({"source": "api"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "https://10.0.0.1:443"),
        ({"source": "api"}, {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "6443"},
         "https://[::1]:6443"),
        ({"source": "kubelet", "node": "n"}, {}, "https://n:10250"),
        ({"source": "kubelet", "node": "n"}, {"MILECASTLE_NODE_IP": "198.51.100.7"},
         "https://198.51.100.7:10250"),
    ],
)  # fmt: skip
def test_the_server_is_found_in_the_settings_or_the_environment(given, environ, server):
    assert question(Kubernetes(**given), environ).server == server


def test_what_is_missing_is_named():
    with pytest.raises(LookupError, match="set `server`"):
        question(Kubernetes("api", "n"), {})
    with pytest.raises(LookupError, match="set `node`"):
        question(Kubernetes("api"), {"MILECASTLE_NODE": "no node\n"})


def test_pods_that_ended_are_forgotten_in_the_end(monkeypatch):
    monkeypatch.setattr("milecastle.host.pods.ENDED", 2)
    table = PodTable()
    for number in range(5):
        table.replace([ListedPod(f"u-{number}", "shop", f"web-{number}", alias=f"a-{number}")])
    known = [table.identify(f"/kubepods/pod{kind}-{n}/x") for kind in "ua" for n in range(5)]
    assert [pod.name for pod in known] == [None, None, "web-2", "web-3", "web-4"] * 2


def test_a_pod_that_is_named_after_its_first_connection_is_still_named(kernel):
    table = PodTable()
    process = Process(7, "x", 0, cgroup=PATH, container="c", pod=Pod("u-3"))
    processes = SimpleNamespace(identify=lambda *_args: process)
    attributor = Attributor(processes, Chronicle(), lambda _n: None, name_pod=table.complete)
    kernel.learn("198.51.100.5", 7, 60)
    kernel.connect("198.51.100.5")
    (flow,) = kernel.events()
    assert attributor.attribute(flow).process.pod.name is None
    from milecastle.daemon.pods import checked
    from milecastle.pods import rows

    table.add(checked(rows.read(EXAMPLES[3].json())))
    assert attributor.recall(flow.cookie).process.pod.name == EXAMPLES[3].name
    assert attributor.recall(flow.cookie).process.pod.container == "main"
    assert attributor.present(7, 0).pod.name == EXAMPLES[3].name


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving up privileges needs root")
@pytest.mark.parametrize("kind", ["api", "kubelet"])
async def test_the_process_as_it_is_run_tells_of_every_pod(tmp_path, kind):
    reader = accounts.user(accounts.PODS)
    tmp_path.chmod(0o755)
    with running(tmp_path) as cluster:
        given = Kubernetes(kind, NODE, cluster.server, cluster.token, cluster.ca)
        cluster.token.chmod(0o600)
        known = Pods(given, lambda peer: peer.credentials.uid == reader.pw_uid)
        sock = open_unix(tmp_path / "pods.sock", 0o660, reader.pw_gid)

        async def serve():
            async for peer in listen(sock):
                await known.take(peer)

        serving = asyncio.create_task(serve())
        spec = prepared(Settings(tmp_path, run_dir=tmp_path))
        child = subprocess.Popen(confined(spec), stdin=subprocess.DEVNULL)
        try:
            await heard(known, lambda k: len(k.table) == len(EXAMPLES))
            for each in EXAMPLES:
                assert known.table.identify(each.path("main")).name == each.name
            status = open(f"/proc/{child.pid}/status").read()
            assert f"Uid:\t{reader.pw_uid}\t{reader.pw_uid}" in status
            assert "CapBnd:\t0000000000000000" in status
            assert cluster.cluster.token not in open(f"/proc/{child.pid}/environ").read()
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            sock.close()
            ended = await asyncio.to_thread(child.wait, 5)
    assert ended == 0, "it ends with the daemon"


def test_what_a_worker_is_told_of_a_process_holds_its_pod():
    pod = Pod("u-1", "burstable", "shop", "web-1", {"app": "web"}, "main")
    process = Process(7, "x", 0, cgroup=PATH, container="c", runtime="cri-o", pod=pod)
    connection = Connection(1, Endpoint("198.51.100.5", 443), 1, 1, 7, 1)
    known = Attribution(connection, process, "openai", Grade.EXACT, "kernel")
    for _ in range(2):  # the second one is remembered
        record = attribution_record(known, Standing.TOLERATED)
        (frame,) = wire.Decoder().feed(wire.encode(wire.Frame(1, "ok", {"result": record})))
        assert read_process(frame.body["result"]) == process

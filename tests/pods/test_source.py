"""Both sources over real TLS, and what is said where they fail."""

import threading
import time

import pytest

from milecastle.daemon.pods import checked
from milecastle.host.pods import PodTable
from milecastle.model import ParseError
from milecastle.pods import source
from milecastle.pods.source import Credentials, Source, SourceError, Told

from .cluster import EXAMPLES, NODE, Example, uid


class Table:
    """A table that a source fills, and the moment at which it has what a test waits for."""

    def __init__(self, served):
        self.table = PodTable()
        self.source = Source(
            served.server,
            Credentials(served.cluster.token, served.ca.read_text()),
            threading.Event(),
        )
        self.error = None

    def told(self):
        return Told(
            lambda rows: self.table.replace(map(checked, rows)),
            lambda row: self.table.add(checked(row)),
            self.table.end,
        )

    def follow(self, kind):
        def run():
            try:
                if kind == "api":
                    self.source.follow_api(NODE, self.told())
                else:
                    self.source.follow_kubelet(self.told())
            except (SourceError, ParseError) as error:
                self.error = error

        threading.Thread(target=run, daemon=True).start()

    def until(self, holds, seconds=5.0):
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"in vain; {len(self.table)} pods, {self.error}"
            time.sleep(0.01)


@pytest.fixture(params=["api", "kubelet"])
def filled(request, served):
    made = Table(served)
    made.follow(request.param)
    made.until(lambda: len(made.table) == len(EXAMPLES))
    return made


def test_each_process_of_fifty_pods_is_known_by_its_pod_and_container(filled):
    for each in EXAMPLES:
        for container in ("main", *(["proxy"] if each.number % 2 else [])):
            pod = filled.table.identify(each.path(container))
            assert (pod.uid, pod.namespace, pod.name) == (
                uid(each.number),
                each.namespace,
                each.name,
            )
            assert pod.labels == each.labels
            assert pod.container == container
            assert pod.qos == ("besteffort", "burstable", "guaranteed")[each.number % 3]
        assert filled.table.identify(each.path("pause")).container is None
        assert filled.table.identify(each.path("pause")).name == each.name


def test_a_watch_tells_of_pods_that_come_change_and_go(served):
    made, new, cluster = Table(served), Example(77), served.cluster
    made.follow("api")
    made.until(lambda: len(made.table) == 50)
    assert made.table.identify(new.path("main")).name is None
    cluster.events.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
    cluster.change("ADDED", new.json())
    made.until(lambda: made.table.identify(new.path("main")).name == new.name)
    relabelled = new.json()
    relabelled["metadata"]["labels"] = {"team": "other"}
    cluster.change("MODIFIED", relabelled)
    made.until(lambda: made.table.identify(new.path("main")).labels == {"team": "other"})
    cluster.change("DELETED", relabelled)
    made.until(lambda: len(made.table) == 50)
    assert made.table.identify(new.path("main")).name == new.name, "what it did is still written"


def test_a_watch_that_ends_goes_on_from_where_it_was(served, monkeypatch):
    monkeypatch.setattr(source, "SHORTEST_PAUSE", 0.01)
    made, cluster = Table(served), served.cluster
    made.follow("api")
    cluster.change("ADDED", Example(77).json())
    made.until(lambda: len(made.table) == 51)
    cluster.events.put(None)
    cluster.change("ADDED", Example(78).json())
    made.until(lambda: len(made.table) == 52)
    lists = [path for path in cluster.asked if "watch" not in path]
    assert len(lists) == 3, "a list of fifty is three pages, and it was asked for once"
    assert "resourceVersion=100077" in cluster.asked[-1]


def test_the_kubelet_is_asked_again_as_soon_as_somebody_misses_a_pod(served, monkeypatch):
    monkeypatch.setattr(source, "SHORTEST_PAUSE", 0.05)
    made, new = Table(served), Example(77)
    made.follow("kubelet")
    made.until(lambda: len(made.table) == 50)
    served.cluster.pods[uid(77)] = new.json()
    made.source.asked.set()
    made.until(lambda: made.table.identify(new.path("main")).name == new.name)


def failing(served, **changes):
    for name, value in changes.items():
        setattr(served.cluster, name, value)
    made = Table(served)
    with pytest.raises(SourceError) as caught:
        made.source.follow_api(NODE, made.told())
    return str(caught.value)


def test_a_refused_token_is_named(served):
    made = Table(served)
    made.source.credentials.token = "old"
    with pytest.raises(SourceError, match="401: it does not accept the token"):
        made.source.follow_kubelet(made.told())


def test_a_missing_grant_is_named(served):
    assert "10-rbac.yaml" in failing(served, status=403)


def test_a_server_that_fails_is_named(served):
    assert failing(served, status=503) == "it answers 503"


def test_a_server_of_another_authority_is_not_believed(served, tmp_path):
    from tests.lab.certificates import Authority

    made = Table(served)
    made.source.credentials.ca = Authority.create().pem().decode()
    with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
        made.source.follow_api(NODE, made.told())
    assert served.cluster.asked == [], "the token was not shown to it"


def test_a_server_that_is_not_there_is_said_to_be_not_there(served):
    made = Source("https://127.0.0.1:1", Credentials("x", served.ca.read_text()), threading.Event())
    with pytest.raises(SourceError, match="refused"):
        made.follow_api(NODE, Table(served).told())


def test_an_endless_answer_is_cut_off(served, monkeypatch):
    monkeypatch.setattr(source, "ANSWER_BYTES", 5000)
    assert failing(served).startswith("its answer is over")

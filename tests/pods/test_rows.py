"""Pods of the API, and what is no pod."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle import wire
from milecastle.model import ParseError
from milecastle.pods import rows

from .cluster import EXAMPLES, listed, uid

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
WORDS = ["metadata", "status", "uid", "name", "namespace", "labels", "annotations", "items"]
WORDS += ["kind", "type", "object", "containerStatuses", "lastState", "containerID", "ADDED"]
podlike = st.recursive(
    json_values | st.sampled_from(WORDS),
    lambda inner: st.dictionaries(st.sampled_from(WORDS), inner) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize("each", EXAMPLES[:12], ids=lambda each: each.name)
def test_a_pod_becomes_a_row(each):
    row = rows.read(each.json())
    assert (row["uid"], row["namespace"], row["name"]) == (
        uid(each.number),
        each.namespace,
        each.name,
    )
    assert row["labels"] == each.labels
    assert row["alias"] == (each.hash if each.static else "")
    found = {name: (number, runtime) for number, runtime, name in row["containers"]}
    assert found == {name: (number, each.runtime) for name, number in each.containers.items()}


def test_a_container_is_still_known_by_the_id_from_before_its_restart():
    pod = EXAMPLES[1].json()
    before = {"terminated": {"containerID": "containerd://" + "ab" * 32}}
    pod["status"]["containerStatuses"][0]["lastState"] = before
    assert ["ab" * 32, "containerd", "main"] in rows.read(pod)["containers"]


def test_labels_beyond_the_room_are_left_out():
    pod = EXAMPLES[1].json()
    pod["metadata"]["labels"] = {f"key-{number:04d}": "v" * 60 for number in range(500)}
    kept = rows.read(pod)["labels"]
    assert 50 < len(kept) < 100
    assert sum(len(key) + len(value) for key, value in kept.items()) <= wire.LABEL_BYTES


@pytest.mark.parametrize(
    "change",
    [{"uid": None}, {"uid": "u" * 65}, {"name": 5}, {"namespace": "n" * 254}, {"name": None}],
)
def test_what_has_no_proper_name_is_no_pod(change):
    pod = EXAMPLES[1].json()
    pod["metadata"] |= change
    assert rows.read(pod) is None
    body = json.dumps(listed([pod, EXAMPLES[2].json()], {})).encode()
    assert [row["name"] for row in rows.page(body).rows] == [EXAMPLES[2].name]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"not json", b"\xff", b'{"kind": "NodeList", "items": [], "metadata": {}}',
     b'{"kind": "PodList", "items": {}, "metadata": {}}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_list_is_said_to_be_none(body):
    with pytest.raises(ParseError):
        rows.page(body)


def test_an_empty_list_is_one():
    assert rows.page(b'{"kind": "PodList", "items": null, "metadata": {}}').rows == ()


def test_the_end_of_a_watch_is_an_error():
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "metadata": {}}}
    with pytest.raises(ParseError, match="ended"):
        rows.change(json.dumps(gone).encode())


@given(podlike)
def test_nothing_of_the_kind_raises_anything_else(value):
    body = json.dumps(value).encode()
    rows.read(value)
    for read in (rows.page, rows.change):
        with contextlib.suppress(ParseError):
            read(body)

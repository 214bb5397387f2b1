"""What the setting `namespaces: {exclude: ...}` covers."""

import pytest

from milecastle.daemon.exclusions import Exclusions
from milecastle.model import Pod
from milecastle.settings import Exclusion

ID, OTHER = "3f2a" * 16, "9bcd" * 16
DNS = f"/kubepods/burstable/pod11/{ID}"
WEB = f"/kubepods/burstable/pod22/{OTHER}"
NEW = f"/kubepods/burstable/pod33/{OTHER}"
PODS = {
    DNS: Pod("11", namespace="kube-system", name="coredns-x"),
    WEB: Pod("22", namespace="shop", name="web-1"),
    NEW: Pod("33"),
}


def cover(entry, *paths):
    return Exclusions([Exclusion(**entry)], PODS.get).cover(paths)


@pytest.mark.parametrize(
    ("entry", "path", "covered"),
    [
        ({"pod": ("kube-system/*",)}, DNS, True),
        ({"pod": ("kube-system/*", "shop/web-?")}, WEB, True),
        ({"pod": ("kube-system/*",)}, WEB, False),
        ({"pod": ("kube-system/*",)}, f"/docker/{ID}", False),
        ({"pod": ("kube-system/*",)}, NEW, None),
        ({"container": (ID,)}, DNS, True),
        ({"container": ("3f2a*",)}, f"/docker/{ID}/docker/{OTHER}", True),
        ({"container": ("3f2a*",)}, "/user.slice", False),
        ({"cgroup": ("/kubepods/*",)}, WEB, True),
        ({"cgroup": ("/kubepods",)}, WEB, False),
        ({"cgroup": ("/kubepods/*",), "pod": ("shop/*",)}, WEB, True),
        ({"cgroup": ("/kubepods/*",), "pod": ("shop/*",)}, DNS, False),
        ({"cgroup": ("/docker/*",), "pod": ("shop/*",)}, NEW, False),
    ],
)
def test_all_keys_of_an_entry_have_to_fit(entry, path, covered):
    assert cover(entry, path) is covered


def test_one_process_that_fits_is_enough_for_its_namespace():
    assert cover({"cgroup": ("/ci/*",)}, "/user.slice", "/ci/job") is True
    assert cover({"pod": ("shop/*",)}, NEW, WEB) is True
    assert cover({"pod": ("none/*",)}, NEW, WEB) is None


def test_without_entries_nobody_is_asked():
    assert not Exclusions([], PODS.get)

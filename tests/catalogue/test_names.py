import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.catalogue.names import expand, fault, normal, parents, subtrees


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "api.openai.com"),
        ("API.OpenAI.com", "api.openai.com"),
        ("api.openai.com.", "api.openai.com"),
        ("localhost", "localhost"),
        ("a_b.example.com", "a_b.example.com"),
        ("", None),
        (".", None),
        ("api.openai.com..", None),
        ("api..openai.com", None),
        (".openai.com", None),
        ("api.openai.com:443", None),
        ("api.openai.com\n", None),
        ("api.openai.com\x00.evil.example", None),
        ("-a.example.com", None),
        ("a" * 64 + ".com", None),
        ("a." * 127 + "a", None),
        ("api.open\u0430i.com", None),  # a Cyrillic letter
        ("api.openai.\u212aom", None),  # the Kelvin sign becomes an ASCII k in lower case
        ("*.openai.com", None),
        ("[::1]", None),
    ],
)
def test_only_real_host_names_have_a_normal_form(host, name):
    assert normal(host) == name


@given(st.text(max_size=300))
def test_no_text_breaks_normalising(host):
    name = normal(host)
    assert name is None or (name.isascii() and name == name.lower() and len(name) <= 253)


def test_parents_are_what_stands_behind_each_dot():
    assert list(parents("a.b.c")) == ["b.c", "c"]


def test_a_gap_makes_one_name_for_each_region():
    lists = {"aws": ["r1", "r2"], "x": ["1", "2"]}
    assert expand("bedrock.{aws}.amazonaws.com", lists) == [
        "bedrock.r1.amazonaws.com",
        "bedrock.r2.amazonaws.com",
    ]
    assert expand("{x}-{aws}.y.z", lists) == ["1-r1.y.z", "1-r2.y.z", "2-r1.y.z", "2-r2.y.z"]
    assert expand("plain.example", lists) == ["plain.example"]
    assert expand("none.{empty}.example", {"empty": []}) == []


@pytest.mark.parametrize(
    "pattern",
    [
        ".amazonaws.com",
        ".googleapis.com",
        ".com",
        ".co.uk",
        ".us-east-1.amazonaws.com",
        "UPPER.example.com",
        "host:443",
        "10.0.0.1",
        "left.{gap}.example",
    ],
)
def test_patterns_that_would_take_in_strangers_are_refused(pattern):
    assert fault(pattern, {"us-east-1"})


@pytest.mark.parametrize(
    "pattern",
    [".openai.azure.com", ".q.us-east-1.amazonaws.com", "sentry.io", ".tokyo.example.org"],
)
def test_patterns_of_one_owner_are_fine(pattern):
    assert not fault(pattern, {"us-east-1", "tokyo"})


def test_subtrees_drop_what_another_one_holds():
    assert subtrees(["api.x.ai", ".x.ai", "a.b.x.ai", "y.example", "box.ai"]) == (
        "box.ai",
        "x.ai",
        "y.example",
    )


labels = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)


@given(st.lists(labels, max_size=8))
def test_subtrees_hold_every_name_and_none_twice(names):
    kept = subtrees(names)
    for name in names:
        assert sum(name == each or name.endswith("." + each) for each in kept) == 1

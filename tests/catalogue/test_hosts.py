"""Hosts that are intercepted beside the catalogue."""

import pytest

from milecastle import shipped
from milecastle.catalogue import UNKNOWN, UNKNOWN_AI, hosts, load

SHIPPED = shipped.texts("config", "catalogue")


def catalogue(*names, shape=True):
    text = hosts.document(names, shape=shape)
    loaded, problems = load([*SHIPPED, ("intercept.hosts", text)])
    return loaded, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("llm.example.com", UNKNOWN_AI),
        ("a.models.example.com", UNKNOWN_AI),
        ("a.b.models.example.com", UNKNOWN_AI),
        ("models.example.com", None),
        ("www.example.com", None),
    ],
)
def test_a_name_and_every_name_below_one_are_an_unknown_service(host, service):
    loaded, problems = catalogue("llm.example.com", "*.models.example.com")
    assert problems == []
    found = loaded.match(host)
    assert (found and found.id) == service


def test_what_the_catalogue_knows_and_decrypts_stays_what_it_is():
    loaded, _ = catalogue("api.openai.com", "api.github.com", "*.anthropic.com")
    assert loaded.match("api.openai.com").id == "openai"
    assert loaded.match("api.anthropic.com").id == "anthropic"
    opened = loaded.match("api.github.com")  # shipped as not to be decrypted
    assert (opened.id, opened.decrypt) == (UNKNOWN_AI, True)


def test_the_ca_has_to_cover_them():
    loaded, _ = catalogue("llm.example.com", "*.models.example.com")
    assert {"llm.example.com", "models.example.com"} <= set(loaded.domains())


def test_without_shape_all_that_is_said_there_is_a_call():
    assert catalogue("x.example.com")[0].match("x.example.com").category == UNKNOWN
    assert catalogue("x.example.com", shape=False)[0].match("x.example.com").category != UNKNOWN


@pytest.mark.parametrize("host", ["*.amazonaws.com", "*.co.uk", "192.0.2.7"])
def test_what_belongs_to_everybody_is_a_problem(host):
    loaded, (problem,) = catalogue(host)
    assert problem.startswith("intercept.hosts:")
    assert loaded.match(host.replace("*", "x")) is None or host == "192.0.2.7"

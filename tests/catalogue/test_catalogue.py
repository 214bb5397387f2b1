import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.catalogue import SELFTEST, Catalogue, Entry, load, shipped
from milecastle.model import Service


def entry(id_, *domains, decrypt=True, ports=()):
    service = Service(id_, id_, "Vendor", "model_api", decrypt)
    return Entry(service, "documented", domains, ports)


CATALOGUE = Catalogue(
    [
        entry("api", "api.example.com", "x.deep.example.com"),
        entry("rest", ".example.com", decrypt=False),
        entry("deep", ".deep.example.com"),
        entry("local", ports=(8080,)),
        entry("other", ports=(8080, 1234)),
    ]
)


def matched(host):
    service = CATALOGUE.match(host)
    return service and service.id


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("api.example.com", "api"),
        ("API.example.COM.", "api"),
        ("www.example.com", "rest"),
        ("a.b.c.example.com", "rest"),
        ("a.deep.example.com", "deep"),
        ("x.deep.example.com", "api"),
        ("y.x.deep.example.com", "deep"),
        ("deep.example.com", "rest"),
        ("example.com", None),
        ("notexample.com", None),
        ("example.com.evil.test", None),
        ("com", None),
        ("", None),
    ],
)
def test_the_longest_pattern_counts_on_label_boundaries(host, service):
    assert matched(host) == service


@given(st.text(max_size=300))
def test_any_text_may_be_matched(host):
    assert CATALOGUE.match(host) is None or "example.com" in host.lower()


def test_numbers_run_from_one_and_lead_back():
    numbers = sorted(CATALOGUE.number(id_) for id_ in CATALOGUE.services)
    assert numbers == list(range(1, len(CATALOGUE.services) + 1))
    for id_, service in CATALOGUE.services.items():
        assert CATALOGUE.by_number(CATALOGUE.number(id_)) == service
    assert CATALOGUE.by_number(0) is None
    assert CATALOGUE.by_number(len(CATALOGUE.services) + 1) is None
    with pytest.raises(KeyError):
        CATALOGUE.number("nobody")


def test_the_self_test_is_always_there_and_is_not_looked_up():
    empty = Catalogue([])
    assert empty.match("selftest.milecastle.invalid") == SELFTEST
    assert empty.exact_names() == ()
    assert empty.domains() == ("selftest.milecastle.invalid",)


def test_an_operator_cannot_take_the_self_test_s_name():
    taken, _ = load(
        [
            (
                "f",
                "services:\n- {id: thief, name: T, vendor: T, category: mcp, "
                "domains: [selftest.milecastle.invalid]}\n",
            )
        ]
    )
    assert taken.match("selftest.milecastle.invalid") == SELFTEST


def test_a_later_entry_has_the_names_that_it_claims_even_where_it_replaces_an_earlier_one():
    both = Catalogue([entry("a", "one.test"), entry("b", "two.test"), entry("a", "two.test")])
    assert both.match("two.test").id == "a"
    assert both.match("one.test") is None


def test_only_what_may_be_decrypted_is_in_the_ca():
    assert CATALOGUE.domains() == (
        "api.example.com",
        "deep.example.com",
        "selftest.milecastle.invalid",
    )


def test_local_servers_are_known_by_their_ports():
    assert [service.id for service in CATALOGUE.on_port(8080)] == ["local", "other"]
    assert CATALOGUE.on_port(80) == ()


def test_names_say_whether_they_are_suffixes():
    rows = {(name.name, name.suffix): name.service for name in CATALOGUE.names()}
    assert rows["example.com", True] == "rest"
    assert rows["api.example.com", False] == "api"
    assert len(rows) == 5


def test_a_look_up_costs_microseconds_however_hostile_the_name():
    catalogue = shipped()
    deepest, endless = "a." * 126 + "a", "a" * 10**6
    assert timeit.timeit(lambda: catalogue.match("api.openai.com"), number=2000) / 2000 < 20e-6
    assert timeit.timeit(lambda: catalogue.match(deepest), number=2000) / 2000 < 200e-6
    assert timeit.timeit(lambda: catalogue.match(endless), number=2000) / 2000 < 20e-6

from hypothesis import given
from hypothesis import strategies as st

from milecastle.catalogue import load

GOOD = """\
regions:
  lab: [r1, r2]
services:
  - id: lab-api
    name: Lab
    vendor: Lab
    category: model_api
    domains: ["api.{lab}.lab.test", .models.lab.test]
    calls:
      - format: openai-chat
        paths: [/v1/chat/completions]
"""


def problems(text):
    return [str(problem) for problem in load([("extra.yaml", text)])[1]]


def test_an_operators_file_adds_services():
    catalogue, found = load([("extra.yaml", GOOD)])
    assert not found
    assert catalogue.entries["lab-api"].domains == (
        "api.r1.lab.test",
        "api.r2.lab.test",
        ".models.lab.test",
    )
    assert catalogue.entries["lab-api"].calls[0].format == ("openai-chat",)


def test_a_later_file_replaces_a_service_takes_its_names_and_adds_regions():
    later = """\
regions: {lab: [r3]}
services:
  - {id: lab-api, name: Ours, vendor: Us, category: gateway, domains: [ours.test]}
  - {id: thief, name: T, vendor: T, category: gateway, domains: ["x.{lab}.test"]}
"""
    catalogue, found = load([("a.yaml", GOOD), ("b.yaml", later)])
    assert not found
    assert catalogue.services["lab-api"].name == "Ours"
    assert catalogue.match("api.r1.lab.test") is None
    assert catalogue.match("x.r1.test").id == "thief"
    assert catalogue.match("x.r3.test").id == "thief"


def test_every_problem_is_listed_with_its_line_and_a_hint():
    assert problems(
        """\
service: []
services:
  - id: Not A Slug
    name: A
    vendor: A
    category: model_api
  - id: b
    name: B
    vendor: B
    categroy: model_api
  - id: c
    name: C
    vendor: C
    category: model_api
    verified: documentd
    decrypt: "yes"
    ports: [0]
    domains: [.amazonaws.com, "x.{wsa}.test"]
regions:
  aws: [r1]
"""
    ) == [
        "extra.yaml:1:1: unknown key 'service' (did you mean 'services'?)",
        "extra.yaml:3:9: 'Not A Slug' is not a slug (lower-case letters, digits and dashes)",
        "extra.yaml:10:5: unknown key 'categroy' (did you mean 'category'?)",
        "extra.yaml:7:5: 'category' is missing here "
        "(model_api, coding_assistant, consumer_chat, ...)",
        "extra.yaml:15:15: one of documented, suffix, unverified is wanted here, "
        "this is the text 'documentd' (did you mean 'documented'?)",
        "extra.yaml:16:14: true or false is wanted here, this is the text 'yes'",
        "extra.yaml:17:13: 0 is not between 1 and 65535",
    ]


def test_names_that_cannot_be_used_are_problems_of_the_name_s_own_line():
    many = ", ".join(f"m{n}" for n in range(50))
    found = problems(
        f"regions: {{aws: [r1], many: [{many}]}}\n"
        """\
services:
  - id: c
    name: C
    vendor: C
    category: model_api
    domains:
      - .amazonaws.com
      - "x.{wsa}.test"
      - .r1.amazonaws.com
      - 10.1.2.3
      - "{many}.{many}.test"
      - fine.test
  - id: d
    name: D
    vendor: D
    category: model_api
    domains: [fine.test]
  - {id: d, name: D, vendor: D, category: model_api}
"""
    )
    assert [line.split(": ", 1)[0] for line in found] == [
        f"extra.yaml:{at}" for at in ("8:9", "9:9", "10:9", "11:9", "12:9", "18:15", "19:5")
    ]
    assert "did you mean 'aws'?" in found[1]
    assert "belongs to 'c' already" in found[5]


def test_the_rest_of_a_broken_file_is_still_used():
    catalogue, found = load([("f", GOOD + "  - {id: broken}\n")])
    assert len(found) == 3
    assert catalogue.match("a.models.lab.test").id == "lab-api"


def test_an_empty_file_is_an_empty_catalogue_and_a_list_is_a_problem():
    assert problems("") == problems("# nothing yet\n") == []
    assert problems("- a\n") == [
        "extra.yaml:1:1: a mapping is wanted here, this is a list (its keys are regions, services)"
    ]


@given(st.text(alphabet="services:rgn-[]{}id,\n \"'.0#&*!", max_size=120))
def test_garbage_gives_problems_and_never_an_exception(text):
    load([("garbage", text)])

from dataclasses import dataclass

import pytest

from milecastle.yamldoc import (
    Field,
    Report,
    choice,
    compose,
    flag,
    mapping,
    nearest,
    number,
    one_or_many,
    record,
    sequence,
    text,
)


@dataclass
class Gate:
    name: str
    width: int = 3
    open: bool = True
    except_: tuple[str, ...] = ()


GATE = record(
    Gate,
    {
        "name": Field(text("a name", "[a-z]+"), "Its name.", required=True),
        "width": Field(number(1, 9), "In metres."),
        "open": Field(flag(), "Whether it is open."),
        "except": Field(one_or_many(choice("carts", "legions")), "Who has to wait."),
    },
)


def read(shape, document):
    tree, problems = compose(document, "f")
    report = Report("f", problems)
    return shape.read(tree, report), [str(each) for each in report.problems]


def test_a_record_is_made_of_what_is_written_and_of_defaults():
    assert read(GATE, "{name: north, except: carts}") == (Gate("north", except_=("carts",)), [])


def test_a_record_lists_every_problem_and_is_not_made():
    made, problems = read(GATE, "nam: x\nwidth: 12\nopen: yes\nexcept: [legion]\n")
    assert made is None
    assert problems == [
        "f:1:1: unknown key 'nam' (did you mean 'name'?)",
        "f:2:8: 12 is not between 1 and 9",
        "f:3:7: true or false is wanted here, this is the text 'yes'",
        "f:4:10: one of carts, legions is wanted here, this is the text 'legion' "
        "(did you mean 'legions'?)",
        "f:1:1: 'name' is missing here (Its name.)",
    ]


@pytest.mark.parametrize(
    ("shape", "document", "value"),
    [
        (text(), "a b", "a b"),
        (text(), "'5'", "5"),
        (text(), "5", None),
        (text(), "''", None),
        (text(), "[a]", None),
        (text(limit=3), "long", None),
        (number(0, 5), "5", 5),
        (number(0, 5), "true", None),
        (number(0, 5), "1.0", None),
        (sequence(number(0, 5)), "[1, x, 3]", (1, 3)),
        (sequence(number(0, 5), limit=1), "[1, 2]", None),
        (sequence(number(0, 5)), "[]", ()),
        (one_or_many(number(0, 5)), "1", (1,)),
        (one_or_many(number(0, 5)), "[]", None),
        (one_or_many(number(0, 5)), "x", None),
        (mapping(text("k", "[a-z]"), number(0, 5)), "{a: 1, bb: 2, c: x}", {"a": 1}),
        (mapping(text(), flag()), "[a]", None),
        (choice("1"), "1", "1"),
    ],
)
def test_a_value_is_read_or_is_a_problem(shape, document, value):
    read_value, problems = read(shape, document)
    assert read_value == value
    whole = value is not None and document not in {"[1, x, 3]", "{a: 1, bb: 2, c: x}"}
    assert (problems == []) is whole


def test_an_unquoted_number_where_text_is_wanted_is_told_to_take_quotes():
    assert "put it in quotes" in read(text(), "5")[1][0]


def test_a_suggestion_is_close_or_a_short_list_or_nothing():
    assert nearest("enforec", ["enforce", "monitor"]) == "did you mean 'enforce'?"
    assert nearest("xyz", ["b", "a"]) == "one of a, b"
    assert nearest("xyz", [str(n) for n in range(99)]) == ""
    assert nearest("x" * 10**6, ["a"]) == "one of a"


def test_the_schema_says_what_the_reader_reads():
    assert GATE.schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {
                "description": "Its name.",
                "type": "string",
                "minLength": 1,
                "maxLength": 4096,
                "pattern": "^(?:[a-z]+)$",
            },
            "width": {"description": "In metres.", "type": "integer", "minimum": 1, "maximum": 9},
            "open": {"description": "Whether it is open.", "type": "boolean"},
            "except": {
                "description": "Who has to wait.",
                "anyOf": [
                    {"enum": ["carts", "legions"]},
                    {
                        "type": "array",
                        "items": {"enum": ["carts", "legions"]},
                        "maxItems": 10_000,
                        "minItems": 1,
                    },
                ],
            },
        },
    }


def test_a_report_stops_at_a_bound():
    _, problems = read(sequence(flag()), "[" + "x, " * 5000 + "]")
    assert len(problems) == 100

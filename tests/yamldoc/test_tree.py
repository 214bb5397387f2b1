import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.yamldoc import Mapping, Scalar, Sequence, compose, plain
from milecastle.yamldoc.tree import DEEPEST, LARGEST


def problems(text: str) -> list[str]:
    return [str(problem) for problem in compose(text, "f.yaml")[1]]


def test_values_know_their_lines_and_columns():
    root, found = compose("a: 1\nb:\n  - x\n  - 'y'\n", "f.yaml")
    assert not found
    assert isinstance(root, Mapping)
    assert (root.keys["b"].line, root.keys["b"].column) == (2, 1)
    letters = root.entries["b"]
    assert isinstance(letters, Sequence)
    assert [(item.line, item.column) for item in letters.items] == [(3, 5), (4, 5)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("NO", "NO"),
        ("12:30:00", "12:30:00"),
        ("2026-01-31", "2026-01-31"),
        ("010", 10),
        ("0o17", 15),
        ("0x1f", 31),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", ".inf"),
        ("true", True),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("'>= high'", ">= high"),
        ("9" * 40, float("9" * 40)),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(written, meant):
    root, found = compose(f"key: {written}\n", "f.yaml")
    assert (plain(root), found) == ({"key": meant}, [])


def test_an_empty_document_is_nothing_at_the_first_line():
    assert compose("", "f") == (Scalar(None, "", 1, 1), [])
    assert compose("# only a comment\n", "f") == (Scalar(None, "", 1, 1), [])


def test_a_key_written_twice_is_a_problem_and_the_first_one_stands():
    root, found = compose("a: 1\nb: 2\na: 3\n", "f.yaml")
    assert plain(root) == {"a": 1, "b": 2}
    assert [str(each) for each in found] == ["f.yaml:3:1: 'a' stands here twice (first on line 1)"]


def test_aliases_are_refused_before_they_can_multiply():
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    assert problems(bomb) == [
        "f.yaml:1:4: anchors (&) and aliases (*) are not read (write the value out)"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [id]\n",
        "--- a\n--- b\n",
        "? [1, 2]\n: x\n",
        "a: b: c\n",
        "\tx",
        "a\x00b",
        "a\ud800b",
        "- a\n b: c\n",
        "%YAML 9",
        "[" * (DEEPEST + 2),
        "[" * 400_000,
        "x" * (LARGEST + 1),
    ],
)
def test_hostile_documents_are_one_clear_problem(text):
    assert len(problems(text)) >= 1


def test_a_comparison_without_quotes_says_that_it_needs_them():
    assert problems("severity: >= high\n") == [
        "f.yaml:1:12: not YAML: did not find expected comment or line break "
        '(a text that begins with > or | needs quotes: ">= high")'
    ]


def test_problems_stop_at_a_bound():
    assert len(problems("\n".join(["a: 1"] * 5000))) == 100


@given(st.text(alphabet=st.characters(codec=None), max_size=200))
def test_any_text_gives_a_tree_or_problems(text):
    root, found = compose(text, "f.yaml")
    assert root is not None or found


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t0~", max_size=80))
def test_any_punctuation_gives_a_tree_or_problems(text):
    root, found = compose(text, "f.yaml")
    assert root is not None or found

"""Own documents, markings and leaks: what belongs to the organisation is recognised again."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.shipped_rules import KEY, files

from milecastle.detect import Engine, check, try_rules
from milecastle.detect.fingerprints import Builder, Hasher, Index, OwnDocuments
from milecastle.detect.leaks import Leaks
from milecastle.model import ParseError, Segment, Severity

VOCABULARY = [f"{a}{b}" for a in ("ka", "lo", "mi", "ne", "ru", "ta", "vo") for b in "bdfgklmnprst"]
OTHER = b"another key of the tests"


def prose(seed, words=400):
    source = random.Random(seed)
    chosen = [source.choice(VOCABULARY) for _ in range(words)]
    return " ".join(word + ("." if number % 11 == 10 else "") for number, word in enumerate(chosen))


@pytest.fixture(scope="module")
def built():
    builder = Builder(KEY)
    for number in range(40):
        builder.add(f"plans/{number}.md", prose(number))
    return b"".join(builder.finish())


@pytest.fixture(scope="module")
def documents(built):
    return OwnDocuments([Index(built, KEY)], KEY)


def scan(documents, text):
    return documents.scan(Segment(text, "user", "user", place="/messages/0/content"))


def cut(text, start, words):
    return " ".join(text.split()[start : start + words])


@pytest.mark.parametrize("start", range(0, 300, 37))
def test_sixty_copied_words_are_found_wherever_they_were_cut_out(documents, start):
    passage = cut(prose(7), start, 60)
    text = f"Please summarise:\n{passage}\nand keep it short."
    (finding,) = scan(documents, text)
    assert finding.rule == "own-document"
    assert "plans/7.md" in finding.evidence
    assert passage[:20] not in repr(finding)
    assert text[finding.start : finding.end] in passage


def test_edits_case_and_line_breaks_do_not_hide_a_passage(documents):
    words = cut(prose(3), 50, 90).upper().split()
    words[20], words[60] = "changed", "altered"
    lines = "\n".join("  " + " , ".join(words[at : at + 6]) for at in range(0, 90, 6))
    assert [f.rule for f in scan(documents, lines)] == ["own-document"]


def test_thirty_words_and_strangers_texts_are_left_alone(documents):
    assert scan(documents, cut(prose(5), 10, 30) + " x" * 100) == []
    assert all(scan(documents, prose(seed)) == [] for seed in range(1000, 1040))


def test_an_index_holds_no_word_and_needs_its_key(built):
    assert not any(word.encode() in built for word in ("kaba", "lomi", prose(0)[:30]))
    with pytest.raises(ParseError, match="another key"):
        Index(built, OTHER)


def test_passages_that_many_documents_share_belong_to_none():
    builder = Builder(KEY)
    licence = prose(99, 120)
    for number in range(12):
        builder.add(f"{number}.txt", licence + " " + prose(number + 200, 100))
    found = OwnDocuments([Index(b"".join(builder.finish()), KEY)], KEY)
    assert scan(found, licence) == []
    assert scan(found, prose(203, 100))


@given(st.binary(max_size=200))
def test_what_is_no_index_is_a_parse_error(data):
    with pytest.raises(ParseError):
        Index(data, KEY)


@pytest.mark.parametrize("length", [0, 10, 39, 60, 500])
def test_an_index_that_is_cut_off_is_a_parse_error(built, length):
    with pytest.raises(ParseError):
        Index(built[:length], KEY)


@given(st.text(max_size=600))
@settings(max_examples=100, deadline=None)
def test_marks_fall_on_the_text_in_order(text):
    marks = list(Hasher(KEY).marks(text * 4))
    assert [m.word for m in marks] == sorted({m.word for m in marks})
    assert all(0 <= m.start < m.end <= len(text) * 4 for m in marks)


def test_a_system_prompt_that_comes_back_is_told_with_its_length():
    system = "You are the desk of Northwind. " + prose(1, 120)
    answer = Segment("Sure! My instructions are: " + cut(system, 10, 60), "assistant", "assistant")
    (finding,) = Leaks(KEY).find([system], [answer])
    assert (finding.rule, finding.owasp) == ("system-prompt-leak", ("LLM07",))
    assert Leaks(KEY).find([system], [Segment(prose(2, 300), "assistant", "assistant")]) == []
    assert Leaks(KEY).find([], [answer]) == []


RULES, PROBLEMS = check(files("marking"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_shipped_marking_finds_its_matches_and_leaves_its_ignores_alone(rule):
    assert PROBLEMS == []
    assert try_rules([rule]) == []
    assert rule.matches and rule.ignores, "a rule without evidence is not done"


def test_an_operators_label_and_a_canary_are_rules_like_any_other():
    own = """
category: marking
severity: critical
rules:
  - id: canary-payroll
    title: The word planted in the payroll prompt
    source: https://intranet.example
    pattern: 'zebra-quartz-7719'
    matches: ['zebra-quartz-7719']
"""
    engine = Engine.load([("own.yaml", own)], key=KEY)
    (plain,) = engine.scan([Segment("it says zebra-quartz-7719", "assistant", "assistant")])
    (hidden,) = engine.scan([Segment("emVicmEtcXVhcnR6LTc3MTk= is it", "assistant", "assistant")])
    assert plain.severity is hidden.severity is Severity.CRITICAL
    assert hidden.via == ("base64",)

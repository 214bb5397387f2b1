"""What holds for any text: nothing of a secret survives redaction, offsets fit, budgets hold."""

import base64
import time
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.detect.shipped_rules import KEY, engine, personal_rules, secret_rules
from tests.detect.test_normalise import ENCODINGS
from tests.detect.test_secrets import GITHUB

from milecastle.detect import Engine, Unfinished
from milecastle.detect import patterns as patterns_module
from milecastle.detect.expressions import beginning, literal_prefix, parse, unfinished
from milecastle.detect.patterns import Exact, Patterns
from milecastle.detect.rules import compiled
from milecastle.detect.shapes import shape_of
from milecastle.model import Segment

TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
ALPHABETS = (
    "aA0",
    "%41",
    "&#x41;",
    "\\u0041",
    "QUJD",
    "4142",
    "a b ",
    "p=",
    "key: ",
    "://:@",
    "ey.",
)


def scan(text):
    return engine().scan([Segment(text, "user", "user")])


def redacted(text):
    for finding in sorted(scan(text), key=lambda f: f.start, reverse=True):
        text = f"{text[: finding.start]}[REDACTED:{finding.rule}]{text[finding.end :]}"
    return text


@settings(max_examples=300, deadline=None)
@given(before=TEXT, after=TEXT)
def test_redaction_leaves_nothing_of_a_token_whatever_stands_around_it(before, after):
    text = f"{before} {GITHUB} {after}"
    left = redacted(text)
    assert not any(GITHUB[at : at + 8] in left for at in range(len(GITHUB) - 7))


@settings(max_examples=150, deadline=None)
@given(before=TEXT, after=TEXT, encoding=st.sampled_from(sorted(ENCODINGS)))
def test_offsets_always_fall_on_the_original(before, after, encoding):
    text = f"{before} {ENCODINGS[encoding](GITHUB)} {after}"
    try:
        found = scan(text)
    except Unfinished as error:
        found = list(error.findings)
    for finding in found:
        assert 0 <= finding.start < finding.end <= len(text)
        assert GITHUB[5:20] not in repr(finding)
    ordered = sorted((f.category, f.start, f.end) for f in found)
    for (category, _, end), (other, start, _) in pairwise(ordered):
        assert category != other or end <= start, "two findings on one character"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(
    parts=st.lists(st.sampled_from([*ALPHABETS, "\n", " ", "=", "x", "\u200b", "é"]), max_size=12),
    times=st.integers(200, 4_000),
)
def test_no_text_takes_more_than_its_time(parts, times):
    text = ("".join(parts) * times)[:60_000]
    before = time.process_time()
    with suppress(Unfinished):
        scan(text)
    assert time.process_time() - before < 4, "over 60 us a character"


@pytest.mark.parametrize("seed", ALPHABETS)
def test_time_grows_with_the_text_and_not_with_its_square(seed):
    def took(size, mark):
        text = (seed * size)[:size]
        before = time.process_time()
        with suppress(Unfinished):
            scan(text + mark)  # new to the memory of segments
        return time.process_time() - before

    took(20_000, "a")
    assert took(160_000, "b") < 24 * max(took(20_000, "c"), 0.004)


@pytest.mark.parametrize("at", [0, 4_050, 4_096, 8_000, 8_192, 30_000])
def test_in_a_long_text_a_secret_is_found_wherever_a_block_ends(at):
    prose = "the quick brown fox jumps over the lazy dog. " * 1_000
    text = (
        f"{prose[:at]} the password is 'R7tk-Pq9Lwz' {prose[at : at + 400]} {GITHUB} {prose[at:]}"
    )
    found = {text[f.start : f.end] for f in scan(text)}
    assert found == {"R7tk-Pq9Lwz", GITHUB}


NUMBERS = {
    "table": lambda n: f"{n * 7919 % 10**9}, {n * n % 10**12}, ",
    "blocks": lambda n: f"{n * 7919 % 10**4:04} ",
    "hexadecimal": lambda n: f"{n * 2654435761 % 2**32:08x}",
    "decimals": lambda n: f"-0.{n * 2654435761 % 10**9:09}, ",
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_do_not_multiply_the_automatons_states(kind):
    rules = (*secret_rules(), *personal_rules())
    patterns = Patterns(rules, KEY)
    data = "".join(map(NUMBERS[kind], range(20_000)))[:100_000].encode()
    before = time.process_time()
    patterns.triggered(data)
    assert time.process_time() - before < 0.5, "under 0.2 MB a second"


def test_an_exhausted_automaton_is_unfinished_and_not_clean(monkeypatch):
    class Exhausted:
        def Match(self, data):  # noqa: N802 - re2's name
            return None

    patterns = Patterns(secret_rules()[:3], KEY)
    monkeypatch.setattr(patterns._shapes, "_set", Exhausted())
    with pytest.raises(Unfinished):
        patterns.scan(Segment("plain", "user", "user"))


def test_too_many_candidates_are_unfinished_and_carry_what_was_found(monkeypatch):
    monkeypatch.setattr(patterns_module, "CANDIDATES", 50)
    text = "\n".join(f"password_{n} = 'R7tkPq9Lwz{n}'" for n in range(100))
    with pytest.raises(Unfinished) as raised:
        Engine(secret_rules(), key=KEY).scan([Segment(text, "user", "user")])
    assert len(raised.value.findings) == 50


def test_the_memory_of_segments_is_bounded():
    fresh = Engine(secret_rules()[:1], key=KEY)
    for number in range(5_000):
        fresh.scan([Segment(f"text {number}", "user", "user")])
    assert len(fresh._memory) <= 4_096


def test_lone_surrogates_do_no_harm():
    text = f"\ud800 \\ud800\\u0041 {GITHUB} \udfff"
    (finding,) = scan(text)
    assert text[finding.start : finding.end] == GITHUB


@pytest.mark.parametrize("rule", [*secret_rules(), *personal_rules()], ids=lambda rule: rule.id)
def test_a_rule_can_be_streamed_and_its_trigger_is_in_every_match(rule):
    parse(rule.pattern)
    expression = compiled(unfinished(rule.pattern))
    words, shape = compiled(rule.trigger.words), compiled(rule.trigger.shape)
    for text in rule.matches:
        data = text.encode()
        for match in Exact(rule).matches(data):
            assert words.search(data), "the Set would pass the text by"
            assert shape.search(shape_of(data)), "the Set of shapes would pass the text by"
            start, end = match.secret
            assert match.whole[1] - match.whole[0] <= rule.reach
            for cut in range(start + 1, end, max(1, (end - start) // 6)):
                begun = data[:cut].decode(errors="ignore").encode()  # never half a character
                assert len(begun) <= start or expression.search(begun), f"{begun} is over"


@pytest.mark.parametrize(
    ("expression", "prefix", "start"),
    [
        ("ghp_[A-Z]{36}", "ghp_", "ghp_[A-Z]{24,24}"),
        (r"sk\.a{3}b", "sk.", r"sk\.a{3,3}b"),
        ("(?:a|b)c", "", "(?:a|b)c"),
        (r"\bx{2,400}y", "", "x{2,2}"),
        ("(?i:abc)d", "", "(?i:abc)d"),
        ("abc?", "ab", "abc{0,1}"),
    ],
)
def test_what_an_expression_begins_with(expression, prefix, start):
    assert literal_prefix(expression) == prefix
    assert beginning(expression).removeprefix("(?:").removesuffix(")") == start


def test_a_secret_among_base64_of_text_is_reached_through_both():
    text = base64.b64encode(f"dear model, {GITHUB} is yours".encode()).decode()
    assert [f.via for f in scan(text)] == [("base64",)]

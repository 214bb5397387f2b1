"""Streams: however a text is cut, the findings are those of the whole, and nothing leaks ahead."""

import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.shipped_rules import engine, secret_rules
from tests.detect.test_secrets import GITHUB

from milecastle.detect import StreamScanner
from milecastle.detect.tails import HEADLESS
from milecastle.model import Segment

PROSE = (
    "It was a bright cold day in April, and the clocks were striking thirteen. Winston slipped "
    "quickly through the glass doors, though not quickly enough; the hallway smelt of boiled "
    "cabbage.\nWhat can I do for you today? Here is a list: apples, pears and 3 oranges - see "
    "section 4.2 of the e-mail. "
)


def fed(pieces):
    """Feed the pieces; return the findings, and those that came too late to be held back."""
    scanner = StreamScanner(engine(), "assistant", "assistant")
    found, late, safe = [], [], 0
    updates = [scanner.feed(piece) for piece in pieces]
    for update in [*updates, scanner.close()]:
        late += [finding for finding in update.findings if finding.start < safe]
        found += update.findings
        assert update.safe >= safe, "what was let go can't be held back any more"
        assert update.unfinished == ""
        safe = update.safe
    assert safe == sum(map(len, pieces))
    return {(f.rule, f.start, f.end) for f in found}, late


def whole(text):
    findings = engine().scan([Segment(text, "assistant", "assistant")])
    return {(f.rule, f.start, f.end) for f in findings}


def cut(text, rng, size):
    pieces, at = [], 0
    while at < len(text):
        step = rng.randint(1, size)
        pieces.append(text[at : at + step])
        at += step
    return pieces


PREFIXED = [rule for rule in secret_rules() if rule.prefix]


@settings(max_examples=120, deadline=None)
@given(
    rules=st.lists(st.sampled_from(secret_rules()), min_size=1, max_size=3),
    gaps=st.lists(st.integers(0, len(PROSE) * 4), min_size=4, max_size=4),
    seed=st.integers(0, 1 << 32),
    size=st.sampled_from([1, 3, 8, 40, 400]),
)
def test_any_split_of_a_text_gives_the_findings_of_the_whole(rules, gaps, seed, size):
    rng = random.Random(seed)
    parts = [(PROSE * 4)[: gaps[-1]]]
    for rule, gap in zip(rules, gaps, strict=False):
        parts += ["\n", rng.choice(rule.matches), "\n", (PROSE * 4)[:gap]]
    text = "".join(parts)
    found, _ = fed(cut(text, rng, size))
    assert found == whole(text)


@settings(max_examples=100, deadline=None)
@given(
    rule=st.sampled_from(PREFIXED),
    seed=st.integers(0, 1 << 32),
    size=st.sampled_from([1, 2, 7, 30]),
)
def test_what_is_let_go_never_belongs_to_a_later_finding(rule, seed, size):
    assert not HEADLESS.match(rule.pattern)
    rng = random.Random(seed)
    text = f"{PROSE}{rng.choice(rule.matches)} {PROSE}"
    found, late = fed(cut(text, rng, size))
    assert found
    assert late == []


def test_a_key_split_across_two_pieces_is_found_as_soon_as_it_ends():
    scanner = StreamScanner(engine(), "assistant", "assistant")
    assert scanner.feed(f"the key is {GITHUB[:10]}").safe == len("the key is ")
    assert scanner.feed(GITHUB[10:]).findings == ()
    update = scanner.feed(" and")
    (finding,) = update.findings
    assert (finding.rule, finding.start, finding.end) == ("github-pat", 11, 51)


def test_only_the_unfinished_candidate_is_held_back():
    scanner = StreamScanner(engine(), "assistant", "assistant")
    text = "Here you are. Your password is hun"
    assert scanner.feed(text).safe == len(text) - len("hun")
    assert scanner.feed("gry wolves, they say.").safe >= len(text)


def test_ordinary_prose_is_hardly_ever_held_back():
    rng = random.Random(7)
    scanner = StreamScanner(engine(), "assistant", "assistant")
    fed_so_far, held = 0, []
    for piece in cut(PROSE * 8, rng, 6):
        fed_so_far += len(piece)
        held.append(fed_so_far - scanner.feed(piece).safe)
    assert statistics.median(held) == 0
    assert max(held) <= 40


def test_an_encoded_secret_in_a_stream_is_found():
    text = "Run this: " + "".join(f"%{ord(char):02X}" for char in GITHUB) + " and then go on."
    found, late = fed(cut(text, random.Random(1), 4))
    assert {rule for rule, _, _ in found} == {"github-pat"}
    assert late == []


def test_a_private_key_that_arrives_line_by_line_is_one_finding():
    rule = next(rule for rule in secret_rules() if rule.id == "private-key")
    text = f"Here:\n{rule.matches[0]}\nDone, keep it safe.\n"
    found, late = fed(text.splitlines(keepends=True))
    assert found == whole(text)
    assert late == []


def test_what_is_kept_is_bounded_however_long_the_stream():
    scanner = StreamScanner(engine(), "assistant", "assistant")
    for _ in range(400):
        scanner.feed(PROSE)
    assert len(scanner._text) < 4_000


def test_a_run_without_end_is_let_go_and_called_unfinished():
    scanner = StreamScanner(engine(), "assistant", "assistant")
    whys = [scanner.feed("aGk5" * 500).unfinished for _ in range(20)]
    assert any(whys)


@pytest.mark.parametrize("piece", ["", "\ud800", "\0", "é", "\U000e0067"])
def test_odd_pieces_do_no_harm(piece):
    fed([piece, "plain", piece])

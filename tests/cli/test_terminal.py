"""Nothing that came from the network reaches a terminal as anything but text."""

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.cli import escaping
from milecastle.cli.terminal import Column, Terminal, clock, duration, fit, size, wrap

HOSTILE = [
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "a\rb",
    "\x7f\x08\x08",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\u200bhidden",
    "\U000e0041\U000e0042",
    "\ud800",
    "\x00",
    "\u2028line",
    "e" + "\u0301" * 500,
]


def harmless(text):
    """Only printable characters and line ends."""
    return all(character == "\n" or character.isprintable() for character in text)


@pytest.mark.parametrize("text", HOSTILE)
def test_control_sequences_are_shown_and_not_obeyed(text):
    escaped = escaping.line(text)
    assert harmless(escaped)
    assert escaped
    assert "\n" not in escaped


@given(st.text(alphabet=st.characters()))
def test_no_text_at_all_gets_through_unescaped(text):
    assert harmless(escaping.line(text))
    assert all(harmless(line) for line in escaping.lines(text))


@given(st.text(), st.integers(2, 40))
def test_cut_text_fits(text, width):
    escaped = escaping.line(text)
    assert escaping.cells(escaping.cut(escaped, width)) <= width
    assert escaping.cells(escaping.padded(escaped, width)) == width


@given(st.text(), st.integers(20, 60))
def test_wrapped_lines_fit_and_lose_nothing_but_spaces(text, width):
    escaped = escaping.line(text)
    lines = wrap(escaped, width)
    assert all(escaping.cells(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == escaped.replace(" ", "")


def test_ordinary_text_of_all_scripts_stays_as_it_is():
    for text in ("plain", "Grüße", "日本語", "Привет", "😀", "é"):
        assert escaping.line(text) == text


def test_marks_do_not_pile_up():
    escaped = escaping.line("e" + "\u0301" * 500)
    longest = max(len(run) for run in re.findall("[\u0301]+", escaped))
    assert longest <= escaping.MARKS


def test_wide_characters_take_two_cells():
    assert escaping.cells("日本") == 4
    assert escaping.cut("日本語", 5) == "日本…"
    assert escaping.cells(unicodedata.normalize("NFD", "é")) == 1


def a_terminal(width=80, colours=False):
    return Terminal(io.StringIO(), width, colours)


def test_a_table_is_never_wider_than_the_terminal():
    terminal = a_terminal(60)
    columns = [
        Column("ONE"),
        Column("TWO", least=5),
        Column("THREE", least=5),
        Column("N", right=True),
    ]
    rows = [("id", "m" * 100, "日本語" * 30, 7), ("x", "\x1b[31m", None, 12345)]
    terminal.table(columns, rows)
    lines = terminal.out.getvalue().splitlines()
    assert all(escaping.cells(line) <= 60 for line in lines)
    assert lines[1].endswith("7")
    assert "\\e[31m" in lines[2]


def test_the_widest_column_gives_first():
    columns = [Column("A", least=3), Column("B", least=3)]
    assert fit(columns, [("a" * 10, "b" * 30)], 21) == ([10, 10], " ")


def test_colours_are_for_people_at_terminals(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    assert Terminal.of(Screen()).colours
    assert not Terminal.of(io.StringIO()).colours
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Terminal.of(Screen()).colours
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not Terminal.of(Screen()).colours


def test_json_is_ascii_so_that_not_even_c1_controls_get_through():
    terminal = a_terminal()
    terminal.json({"model": "gpt\x9b31m\x7f\u202e\ud800日"})
    out = terminal.out.getvalue()
    assert out.isascii()
    assert harmless(out)


@pytest.mark.parametrize("command", [("sessions",), ("show", "a"), ("explain", "a"), ("tail",)])
def test_a_hostile_session_is_printed_harmlessly(cli, daemon, command):
    evil = "\x1b]0;owned\x07\x9b2J\u202e\r\n\x00"
    process = {"pid": 7, "comm": evil, "exe": evil, "argv": [evil], "user": evil,
               "ancestry": [{"pid": 1, "comm": evil}], "container": evil}  # fmt: skip
    part = {"type": "text", "content": evil}
    call = {"type": "tool_call", "name": evil, "arguments": {evil: evil}}
    result = {"type": "tool_call_response", "response": [evil]}
    other = {"type": evil, "uri": evil}
    finding = {"category": evil, "rule": evil, "severity": evil, "where": evil, "excerpt": evil}
    exchange = {
        "id": evil, "started": 1.0, "ended": 2.0, "host": evil, "path": evil, "method": evil,
        "gen_ai.request.model": evil, "gen_ai.operation.name": evil, "error.type": evil,
        "gen_ai.system_instructions": [part],
        "gen_ai.input.messages": [{"role": evil, "parts": [part, call, result, other]}],
        "findings": [finding], "failures": {evil: evil}, "service": evil,
        "verdict": {"action": "block", "rule": evil, "reason": evil},
        "steps": [{"rule": evil, "matched": True, "why": evil, "action": evil}],
        "attribution": {"grade": evil, "why": evil, "process": process, "standing": evil,
                        "connection": {"destination": {"address": evil}}},
    }  # fmt: skip
    session = {
        "id": evil, "started": 1.0, "ended": 2.0, "service": evil, "host": evil, "model": evil,
        "process": process, "user": evil, "grade": evil, "standing": evil, "sanctioned": False,
        "findings": 1, "action": "block",
    }  # fmt: skip
    whole = {**session, "exchanges": [exchange]}
    line = {**session, "session": evil, "status": evil, "rules": [evil], "operation": evil}
    daemon(sessions=[{**session, "exchanges": 1}], show=whole, explain=whole, tail=[line])
    code, out, _ = cli(*command)
    assert code in (0, 3)
    assert "\\e]0;owne" in out
    assert harmless(out)
    assert "\r" not in out


def test_times_lengths_and_sizes_read_well():
    assert duration(3725) == "1 h 2 min"
    assert duration(90) == "1 min 30 s"
    assert duration(2.25) == "2.2 s"
    assert duration(200_000) == "2 d 7 h"
    assert size(0) == "0 B"
    assert size(5_500_000) == "5.2 MB"
    assert clock(None) == "-"
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock(1000.0, 1000.0))
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d", clock(1000.0, 1e9))

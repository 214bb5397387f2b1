"""A parser in C that crashes takes the worker with it: each is tried in a process of its own."""

import subprocess
import sys

import pytest
from tests.detect.hostile_child import PARSERS

from milecastle.detect.tools import shell

SECONDS = "0.7"
PLANES = "".join(chr(plane << 16 | 0xC000) for plane in range(17)) + "éß\u4e00"


@pytest.mark.parametrize("parser", sorted(PARSERS))
def test_a_parser_lives_through_hostile_input(parser):
    command = [sys.executable, "-m", "tests.detect.hostile_child", parser, "7", SECONDS]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr[-2_000:]
    assert int(child.stdout) > 10


def test_the_shell_parser_is_given_nothing_but_ascii(monkeypatch):
    given = []

    class Listening:
        def parse(self, data):
            given.append(data)
            return real.parse(data)

    real = shell.parser()
    monkeypatch.setattr(shell, "parser", Listening)
    found = list(shell.parse(f"echo {PLANES}\0\ud800 > Übersicht"))
    assert found[0].commands[0].words == ("echo", f"{PLANES}\0\ud800")
    assert found[0].commands[0].writes == ("Übersicht",)
    assert given
    for data in given:
        assert data.isascii()
        assert b"\0" not in data


def test_places_are_characters_whatever_stands_before():
    source = "echo '\U0010ffffß' ; rm -rf ~/größe"
    second = list(shell.parse(source))[1]
    assert source[second.start : second.end] == "rm -rf ~/größe"

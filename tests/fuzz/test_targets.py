"""Each fuzz target over its seeds and over seeds that hypothesis has damaged; no atheris needed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.targets import NAMES, SEEDS, target

FOUND = Path(__file__).parent / "found"


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a seed with one run of bytes replaced by others."""
    seed = draw(st.sampled_from(SEEDS))
    start = draw(st.integers(0, len(seed)))
    end = draw(st.integers(start, min(len(seed), start + 12)))
    return seed[:start] + draw(st.binary(max_size=12)) + seed[end:]


@pytest.mark.parametrize("file", sorted(FOUND.iterdir()), ids=lambda file: file.name)
def test_what_was_found_once_is_read_or_refused_at_once(file: Path):
    """Each file is named for its target: ``openai-chat.what-it-is``."""
    began = time.process_time()
    target(file.name.partition(".")[0])(file.read_bytes())
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", NAMES)
def test_a_format_parses_or_refuses(name: str):
    run = target(name)
    for seed in SEEDS:
        for choice in range(24):
            run(bytes([choice]) + seed[1:])

    @settings(
        max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(damaged())
    def whatever_comes(data: bytes) -> None:
        run(data)

    whatever_comes()

"""Each fuzz target over its seeds and over seeds that hypothesis has damaged; no atheris needed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.targets import NAMES, SEEDS, target


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a seed with one run of bytes replaced by others."""
    seed = draw(st.sampled_from(SEEDS))
    start = draw(st.integers(0, len(seed)))
    end = draw(st.integers(start, min(len(seed), start + 12)))
    return seed[:start] + draw(st.binary(max_size=12)) + seed[end:]


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

"""One lab for the whole run; the agents of a module share its life."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.lab import Lab, missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the lab, which needs root: say so once, in one sentence."""
    sentence = missing()
    for item in items:
        if "/e2e/" not in str(item.path):
            continue
        item.add_marker(pytest.mark.root)
        item.add_marker(pytest.mark.lab)
        if sentence:
            item.add_marker(pytest.mark.skip(reason=sentence))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab.up() as lab:
        yield lab


@pytest.fixture(autouse=True)
def _fresh_journal(request: pytest.FixtureRequest) -> None:
    """Each test sees only its own requests upstream."""
    if "lab" in request.fixturenames or "agent" in request.fixturenames:
        request.getfixturevalue("lab").clear_journal()

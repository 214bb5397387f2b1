"""One lab for the whole run; a module's tests share its agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.scenarios import ENFORCE
from tests.lab import Agent, Lab, missing


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


@pytest.fixture(scope="module")
def monitor(lab: Lab) -> Iterator[Agent]:
    """An agent with the policy that milecastle ships."""
    with Agent.up(lab, name="monitor") as agent:
        yield agent


@pytest.fixture(scope="module")
def enforce(lab: Lab) -> Iterator[Agent]:
    """An agent that redacts credentials and blocks one kind of them."""
    with Agent.up(lab, name="enforce", policy=ENFORCE) as agent:
        yield agent


@pytest.fixture(autouse=True)
def fresh_journal(lab: Lab) -> None:
    """Each test sees only its own requests upstream."""
    lab.clear_journal()

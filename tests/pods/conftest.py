import pytest

from .cluster import running


@pytest.fixture
def served(tmp_path):
    with running(tmp_path) as cluster:
        yield cluster

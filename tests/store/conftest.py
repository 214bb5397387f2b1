import pytest

from milecastle.store import Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "milecastle.db"


@pytest.fixture
def store(path):
    opened = Store.open(path)
    yield opened
    opened.close()

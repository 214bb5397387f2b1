import stat

import pytest

from milecastle.daemon import preparing
from milecastle.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(policy=tmp_path / "policy.yaml", state_dir=tmp_path)


def test_the_hosts_key_is_made_once_and_stays(settings):
    made = preparing.key(settings)
    assert len(made) == 32
    assert preparing.key(settings) == made


def test_the_hosts_key_is_readable_by_nobody_else(settings, tmp_path):
    preparing.key(settings)
    assert stat.S_IMODE((tmp_path / "digest.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("left", [b"", b"half"])
def test_a_piece_of_a_key_is_replaced(settings, tmp_path, left):
    (tmp_path / "digest.key").write_bytes(left)
    made = preparing.key(settings)
    assert len(made) == 32
    assert preparing.key(settings) == made

"""What there is on this host, by number."""

import os
import pwd
import shutil
import subprocess

import pytest

from milecastle.host import Census
from milecastle.host.census import FOLDERS


@pytest.fixture
def census(tmp_path):
    made = Census(cgroups=tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    made.take(made.survey())
    return made


def test_users_programs_and_cgroups_are_found(census, tmp_path):
    assert census.users[pwd.getpwnam("nobody").pw_uid] == "nobody"
    shell = os.stat(os.path.realpath("/bin/sh"))
    assert census.programs[shell.st_dev, shell.st_ino].path == os.path.realpath("/bin/sh")
    assert census.cgroups[(tmp_path / "a" / "b").stat().st_ino] == "/a/b"
    assert census.cgroups[tmp_path.stat().st_ino] == "/"
    assert FOLDERS


def test_what_runs_from_anywhere_is_found(census, tmp_path):
    tool = tmp_path / "tool"
    shutil.copy("/bin/sleep", tool)
    with subprocess.Popen([tool, "60"]) as child:
        census.take(census.survey())
        child.kill()
    status = tool.stat()
    assert census.programs[status.st_dev, status.st_ino].path == str(tool)


def test_a_number_that_is_another_program_s_now_forgets_the_first(census):
    assert census.met((1, 2), "/old", "abc")
    assert not census.met((1, 2), "/old")
    assert census.programs[1, 2].sha256 == "abc"
    assert census.met((1, 2), "/new")
    assert (census.programs[1, 2].path, census.programs[1, 2].sha256) == ("/new", None)


def test_what_is_remembered_is_bounded(census, monkeypatch):
    monkeypatch.setattr("milecastle.host.census.PROGRAMS", 10)
    for number in range(50):
        census.met((9, number), f"/{number}")
    assert len(census.programs) == 10


@pytest.mark.parametrize("user", ["no-such-user", "9" * 30, ""])
def test_a_user_that_there_is_not_is_passed_over(census, user):
    census.look_up(user)

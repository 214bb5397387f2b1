"""Who may not use a service though others may: refused at connect(), on the real kernel."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from milecastle.kernel import Restriction
from milecastle.kernel.restrictions import table

from .conftest import SERVICE
from .lab import SERVICE4, SERVICE6, entering, sub_cgroup

USER = "nobody"
UID = pwd.getpwnam(USER).pw_uid
PYTHON = Path("/usr/bin/python3").resolve()
TCP = {"do": "tcp", "to": SERVICE4}


def program_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def identity(cgroup: Path) -> int:
    return cgroup.stat().st_ino


@pytest.fixture
def restricted(gate):
    """Say who may not use the service; nobody is forbidden it afterwards."""

    def say(*restrictions, redirect=False, **flags):
        gate.watch(redirect=redirect, **flags)
        gate.kernel.restrict(restrictions)
        return gate

    yield say
    gate.kernel.restrict(())


def said(results: list[dict]) -> list[str]:
    return [one.get("error") or one.get("said") for one in results]


@pytest.mark.root
def test_a_user_is_refused_and_others_are_not(restricted):
    gate = restricted(Restriction(SERVICE, refuse=True, uid=UID))
    both = TCP, {**TCP, "to": SERVICE6}
    assert said(gate.run(*both, user=USER)) == ["EPERM", "EPERM"]
    assert said(gate.run(*both)) == ["service", "service"]


@pytest.mark.root
def test_root_can_be_refused_too(restricted):
    gate = restricted(Restriction(SERVICE, refuse=True, uid=0))
    assert said(gate.run(TCP)) == ["EPERM"]
    assert said(gate.run(TCP, user=USER)) == ["service"]


@pytest.mark.root
def test_a_program_is_refused_under_every_name_and_its_copy_is_another(restricted, tmp_path):
    gate = restricted(Restriction(SERVICE, refuse=True, program=program_of(PYTHON)))
    assert said(gate.run(TCP)) == ["EPERM"]
    copy = tmp_path / "innocent"
    shutil.copy(PYTHON, copy)
    assert connects_as(gate, copy) == "connected"
    link = tmp_path / "link"
    link.symlink_to(PYTHON)
    assert connects_as(gate, link) == "EPERM"


CONNECT = f"""
import errno, socket
try:
    socket.create_connection(({SERVICE4!r}, 443), 5)
    print("connected")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def connects_as(gate, executable: Path) -> str:
    command = [str(executable), "-I", "-S", "-c", CONNECT]
    environment = {"PYTHONHOME": "/usr"}
    done = subprocess.run(
        entering(gate.cgroup, gate.lab.near, command),
        capture_output=True, text=True, timeout=10, check=True, env=os.environ | environment,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.root
def test_a_cgroup_is_refused_and_those_below_it_only_where_that_is_meant(restricted):
    gate = restricted()
    with sub_cgroup(gate.cgroup) as inner:
        for below, expected in ((False, "service"), (True, "EPERM")):
            gate.kernel.restrict(
                [Restriction(SERVICE, refuse=True, cgroup=identity(gate.cgroup), below=below)]
            )
            assert said(gate.run(TCP)) == ["EPERM"]
            assert said(gate.lab.run(inner, TCP)) == [expected]


@pytest.mark.root
def test_all_that_one_asks_for_has_to_fit(restricted):
    gate = restricted()
    asked = {
        "uid": (UID, 54321),
        "program": (program_of(PYTHON), program_of(Path("/bin/sh").resolve())),
        "cgroup": (identity(gate.cgroup), 1),
    }
    for size in (2, 3):
        for keys in itertools.combinations(asked, size):
            fitting = {key: asked[key][0] for key in keys}
            gate.kernel.restrict([Restriction(SERVICE, refuse=True, **fitting)])
            assert said(gate.run(TCP, user=USER)) == ["EPERM"], keys
            gate.kernel.restrict(
                [
                    Restriction(SERVICE, refuse=True, **{**fitting, key: asked[key][1]})
                    for key in keys
                ]
            )
            assert said(gate.run(TCP, user=USER)) == ["service"], keys


@pytest.mark.root
def test_another_service_is_not_meant(restricted):
    gate = restricted(Restriction(SERVICE + 1, refuse=True, uid=0))
    assert said(gate.run(TCP)) == ["service"]


@pytest.mark.root
def test_closed_means_the_checkpoint_while_a_worker_lives_and_else_nowhere(restricted):
    gate = restricted(Restriction(SERVICE, closed=True, uid=UID), redirect=True)
    assert said(gate.run(TCP, user=USER)) == ["checkpoint"]
    gate.kernel.beat(0)
    assert said(gate.run(TCP, user=USER)) == ["EPERM"]
    assert said(gate.run(TCP)) == ["service"]


@pytest.mark.root
@pytest.mark.parametrize("connected", [True, False])
def test_quic_is_refused_to_the_same_callers(restricted, connected):
    gate = restricted(Restriction(SERVICE, refuse=True, uid=UID))
    ping = {"do": "udp", "to": SERVICE4, "connected": connected}
    assert said(gate.run(ping, user=USER)) == ["EPERM"]
    assert said(gate.run(ping)) == ["pong"]


@pytest.mark.root
def test_a_restriction_ends_with_the_next_word(restricted):
    gate = restricted(Restriction(SERVICE, refuse=True, uid=UID))
    gate.kernel.restrict([Restriction(SERVICE, refuse=True, uid=54321)])
    assert said(gate.run(TCP, user=USER)) == ["service"]
    gate.kernel.set_service(SERVICE, False, False, False)  # leaves restrictions as they are
    gate.kernel.restrict([Restriction(SERVICE, refuse=True, uid=UID)])
    assert said(gate.run(TCP, user=USER)) == ["EPERM"]


def test_a_restriction_of_nobody_is_refused():
    with pytest.raises(ValueError, match="has to name"):
        table([Restriction(SERVICE, refuse=True)])


def test_two_words_on_one_caller_are_one_entry():
    both = [Restriction(3, refuse=True, uid=1), Restriction(3, closed=True, uid=1)]
    assert list(table(both).values()) == [6]

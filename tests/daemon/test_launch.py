"""The confinement of children, tried on real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from milecastle.daemon.launch import TMP, covered_folders
from milecastle.shipped import PACKAGE

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="confining a process needs root")
needs_account = pytest.mark.skipif(
    subprocess.run(["id", "milecastle-proxy"], capture_output=True).returncode != 0,
    reason="the account milecastle-proxy is missing: run make setup",
)


def confined(script, *options):
    needs = [f"--need={path}" for path in {sys.prefix, sys.base_prefix, str(PACKAGE)}]
    return subprocess.run(
        [
            sys.executable, "-I", str(PACKAGE / "daemon" / "launch.py"),
            "--parent", str(os.getpid()), "--user", "milecastle-proxy", *needs, *options,
            "--", sys.executable, "-I", "-c", script,
        ],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def printed(script, *options):
    result = confined(script, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@needs_root
@needs_account
class TestAConfinedChild:
    def test_has_no_capability_and_can_gain_none(self):
        status = printed("print(open('/proc/self/status').read())")
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert f"{name}:\t{0:016x}" in status
        assert "NoNewPrivs:\t1" in status

    def test_can_make_no_call_that_only_an_attack_needs(self):
        script = """
import ctypes, errno, os, socket, threading
libc = ctypes.CDLL(None, use_errno=True)
def refused(what, *arguments):
    assert libc.syscall(what, *arguments) == -1
    return errno.errorcode[ctypes.get_errno()]
def family(number):
    try: socket.socket(number, socket.SOCK_DGRAM)
    except OSError as error: return errno.errorcode[error.errno]
for step in (lambda: os.unshare(os.CLONE_NEWUSER), lambda: family(socket.AF_NETLINK),
             lambda: family(38), lambda: libc.ptrace(0, 0, 0, 0) and None):
    try: print(step())
    except OSError as error: print(errno.errorcode[error.errno])
print(errno.errorcode[ctypes.get_errno()])
CLONE = {'x86_64': 56, 'aarch64': 220}[os.uname().machine]
print(refused(CLONE, 0x10000000 | 17, 0, 0, 0, 0))
thread = threading.Thread(target=print, args=('a thread',)); thread.start(); thread.join()
print(os.waitstatus_to_exitcode(os.spawnv(os.P_WAIT, '/bin/true', ['true']) << 8))
print([line for line in open('/proc/self/status') if line.startswith('Seccomp:')][0].split()[1])
"""
        refused = ["EPERM", "EPERM", "EPERM", "None", "EPERM", "EPERM"]
        assert printed(script).split("\n") == [*refused, "a thread", "0", "2"]

    def test_is_its_user_and_nothing_else(self):
        found = printed("import os; print(*{*os.getresuid()}, 0 in os.getgroups())")
        import pwd

        assert found == f"{pwd.getpwnam('milecastle-proxy').pw_uid} False"

    def test_can_write_nowhere_but_in_its_own_tmp(self, tmp_path):
        tmp_path.chmod(0o777)
        script = f"""
import pathlib
pathlib.Path('/tmp/mine').write_text('x')
try: pathlib.Path({str(tmp_path)!r}, 'x').write_text('x')
except OSError as error: print(error.errno)
"""
        assert printed(script) in ("30", "2")  # read-only, or below the covered /tmp
        assert not Path("/tmp/mine").exists()

    def test_may_write_to_the_one_folder_it_was_given(self, tmp_path):
        folder = Path("/var/tmp/milecastle-test-write")
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        try:
            script = f"open('{folder}/x', 'w').write('y'); print('done')"
            assert printed(script, f"--write={folder}") == "done"
            assert (folder / "x").read_text() == "y"
        finally:
            subprocess.run(["rm", "-r", str(folder)], check=True)

    def test_sees_of_a_closed_folder_only_what_it_needs(self):
        outer = Path("/var/tmp/milecastle-test-closed")
        (outer / "open").mkdir(parents=True, exist_ok=True)
        (outer / "secret").write_text("no")
        (outer / "open" / "file").write_text("yes")
        outer.chmod(0o700)
        try:
            script = f"import os; print(os.listdir('{outer}'), open('{outer}/open/file').read())"
            assert printed(script, f"--need={outer}/open") == "['open'] yes"
        finally:
            subprocess.run(["rm", "-r", str(outer)], check=True)

    def test_without_a_network_has_not_even_loopback(self):
        script = """
import socket
try: socket.create_connection(('127.0.0.1', 9), 1)
except OSError as error: print(error.errno)
"""
        assert printed(script, "--no-network") == "101"

    def test_inherits_no_variable_that_could_betray_it(self, monkeypatch):
        monkeypatch.setenv("SSLKEYLOGFILE", "/tmp/keys")
        monkeypatch.setenv("LD_PRELOAD", "")
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        names = printed("import os; print(*sorted(os.environ))").split()
        assert set(names) <= {"LANG", "LC_ALL", "LC_CTYPE", "PATH", "PYTHONDONTWRITEBYTECODE", "TZ"}

    def test_leaves_no_core(self):
        assert printed("import resource as r; print(r.getrlimit(r.RLIMIT_CORE))") == "(0, 0)"

    def test_ends_with_its_parent(self):
        middle = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, '-I', {str(PACKAGE / "daemon" / "launch.py")!r},
    '--parent', str(os.getpid()), '--', '/bin/sleep', '60'], stdout=subprocess.DEVNULL)
import time; time.sleep(1)
print(child.pid, open(f'/proc/{{child.pid}}/comm').read().strip())
"""
        result = subprocess.run(
            [sys.executable, "-c", middle], capture_output=True, text=True, timeout=30
        )
        pid, comm = result.stdout.split()
        assert comm == "sleep"
        deadline = 100
        while Path(f"/proc/{pid}").exists() and deadline:
            subprocess.run(["sleep", "0.05"], check=True)
            deadline -= 1
        assert deadline, "the child outlived its parent"

    def test_does_not_start_for_a_daemon_that_is_gone(self):
        result = subprocess.run(
            [sys.executable, "-I", str(PACKAGE / "daemon" / "launch.py"),
             "--parent", "1", "--", "/bin/true"],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert result.returncode == 1
        assert "cannot confine /bin/true" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.fixture
def outside_tmp():
    folder = Path("/var/tmp/milecastle-test-covered")
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    subprocess.run(["rm", "-r", str(folder)], check=True)


def test_only_folders_that_others_may_not_enter_are_covered(outside_tmp):
    closed = outside_tmp / "closed"
    (closed / "a" / "b").mkdir(parents=True)
    (outside_tmp / "open").mkdir()
    closed.chmod(0o700)
    found = covered_folders([closed / "a", closed / "a" / "b", outside_tmp / "open"])
    assert found == {TMP: [], closed: [closed / "a"]}


def test_what_is_needed_below_tmp_stays_there(tmp_path):
    assert covered_folders([tmp_path]) == {TMP: [tmp_path.resolve()]}


@needs_root
@needs_account
def test_a_checkout_below_tmp_is_still_readable(tmp_path):
    (tmp_path / "file").write_text("here")
    tmp_path.chmod(0o755)
    assert printed(f"print(open('{tmp_path}/file').read())", f"--need={tmp_path}") == "here"

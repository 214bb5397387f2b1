"""Set-up: which Python is taken, what is found missing, and what the sentences say."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


def script(name: str) -> ModuleType:
    """Load a module of scripts/ under a name that shadows nothing."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interpreters = script("interpreters")
needs = script("needs")
setup = script("setup")

HOST = {
    "/home/u/.pyenv/shims": ["python3.12", "python3"],
    "/usr/bin": ["python3", "python3.11", "python3.14"],
    "/opt/bin": ["python3.13", "python3.12"],
    "/home/u/.pyenv/versions": ["3.11.7", "3.13.0", "3.12.1", "3.12.10", "3.13t-dev", "pypy3.12"],
}


def found(path, pyenv=("/home/u/.pyenv",)):
    def listing(folder):
        return HOST.get(str(folder), [])

    names = interpreters.candidates(list(map(Path, path)), list(map(Path, pyenv)), listing)
    return [str(name) for name in names]


def test_the_most_tested_version_on_path_comes_first_wherever_it_lies():
    assert found(["/usr/bin", "/opt/bin"], pyenv=()) == [
        "/opt/bin/python3.12",
        "/opt/bin/python3.13",
        "/usr/bin/python3.14",
        "/usr/bin/python3",
    ]


def test_pyenv_comes_after_path_and_the_latest_patch_first():
    assert found(["/nowhere"]) == [
        "/home/u/.pyenv/versions/3.12.10/bin/python3",
        "/home/u/.pyenv/versions/3.12.1/bin/python3",
        "/home/u/.pyenv/versions/3.13.0/bin/python3",
    ]


def test_the_same_pyenv_named_twice_is_searched_once():
    assert len(found([], pyenv=("/home/u/.pyenv", "/home/u/.pyenv"))) == 3


def test_a_host_without_any_has_no_candidates():
    assert found(["/nowhere"], pyenv=("/nowhere",)) == []


def test_a_dead_shim_and_an_old_python_are_passed_over():
    answers = {
        "/shims/python3.12": None,
        "/usr/bin/python3": interpreters.Interpreter("/usr/bin/python3", (3, 11, 2), True),
        "/new/python3": interpreters.Interpreter("/new/python3", (3, 15, 0), True),
    }
    taken = interpreters.first_usable(map(Path, answers), lambda path: answers[str(path)])
    assert str(taken) == "Python 3.15.0 (/new/python3)"
    assert interpreters.first_usable([], lambda path: None) is None


def test_the_probe_sees_through_a_virtual_environment():
    taken = interpreters.ask(Path(sys.executable))
    assert taken.version == sys.version_info[:3]
    assert not taken.path.startswith(sys.prefix) or sys.prefix == sys.base_prefix


@pytest.mark.parametrize("body", ["exit 127", "echo '[]'", "echo nonsense"])
def test_what_is_no_python_answers_nothing(tmp_path, body):
    fake = tmp_path / "python3.12"
    fake.write_text(f"#!/bin/sh\n{body}\n")
    fake.chmod(0o755)
    assert interpreters.ask(fake) is None
    assert interpreters.ask(tmp_path / "absent") is None


CGROUP2 = "cgroup /sys/fs/cgroup/pids cgroup rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"


@pytest.mark.parametrize(
    ("release", "mounts", "btf", "bpf", "expected"),
    [
        ("6.1.0-28-amd64", CGROUP2, True, 0, ""),
        ("5.15.0-1-generic", CGROUP2, True, 0, ""),
        ("5.10.0-8-amd64", CGROUP2, True, 0, "too old"),
        ("6.1.0", "cgroup /sys/fs/cgroup/pids cgroup rw 0 0\n", True, 0, "no cgroup2"),
        ("6.1.0", CGROUP2, False, 0, "CONFIG_DEBUG_INFO_BTF"),
        ("6.1.0", CGROUP2, True, errno.ENOSYS, "CONFIG_BPF_SYSCALL"),
        ("6.1.0", CGROUP2, True, errno.EPERM, "CAP_BPF"),
    ],
)
def test_one_sentence_says_what_the_kernel_lacks(release, mounts, btf, bpf, expected):
    sentence = needs.kernel_lacks(release, mounts, btf, lambda: bpf)
    assert (expected in sentence) if expected else sentence == ""
    assert "\n" not in sentence


def test_a_need_is_met_by_a_command_or_a_file(tmp_path, monkeypatch):
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    pattern = str(tmp_path / "to?l").lstrip("/")
    met = [needs.Need("a", command="tool"), needs.Need("b", files=pattern)]
    unmet = [needs.Need("c", command="no-such-tool"), needs.Need("d", files=pattern + "x")]
    assert needs.missing([*met, *unmet]) == ["c", "d"]


def test_pypis_bcc_is_nowhere_asked_for():
    listed = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1]
    assert not re.search(r'"bcc[">=]', listed)
    assert "python3-bpfcc" in [need.package for need in needs.AGENT]


def test_without_root_the_sentence_names_what_is_missing_and_the_way():
    sentence = setup.sentences_without_root("run", ["python3-bpfcc"], ["milecastle-proxy"])
    assert sentence == [
        "this host lacks python3-bpfcc, milecastle-proxy, and adding that takes root: "
        "run 'sudo make run'"
    ]
    assert setup.sentences_without_root("test", [], []) == []
    assert "root" in setup.sentences_without_root("run", [], [])[0]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Reading...\nE: Unable to locate package x\n", "E: Unable to locate package x"),
        ("a\n  FileNotFoundError: gone\nnote: see above\n", "FileNotFoundError: gone"),
        ("just this\n\n", "just this"),
        ("", ""),
    ],
)
def test_the_gist_of_a_failure_is_the_line_that_names_it(output, expected):
    assert setup.gist(output) == expected


class Fake:
    """The commands that set-up would run, and a checkout in a temporary folder."""

    def __init__(self, tmp_path, monkeypatch):
        self.commands = []
        self.root = tmp_path
        (tmp_path / "pyproject.toml").write_text("[project]\n")
        monkeypatch.setattr(setup, "ROOT", tmp_path)
        monkeypatch.setattr(setup, "VENV", tmp_path / ".venv")
        monkeypatch.setattr(setup, "STAMP", tmp_path / ".venv" / ".setup.json")
        monkeypatch.setattr(setup, "command", self.command)
        self.python = interpreters.Interpreter("/usr/bin/python3.12", (3, 12, 3), True)
        monkeypatch.setattr(setup, "on_this_host", lambda: self.python)
        monkeypatch.setattr(interpreters, "ask", lambda path: self.python)

    def command(self, arguments, what):
        self.commands.append(what)
        if what == "python -m venv":
            binaries = self.root / ".venv" / "bin"
            binaries.mkdir(parents=True, exist_ok=True)
            (binaries / "python").write_text("#!/bin/sh\n")
            (binaries / "python").chmod(0o755)
        return ""

    def make(self, extras):
        self.commands.clear()
        setup.environment(extras)
        return self.commands


@pytest.fixture
def fake(tmp_path, monkeypatch):
    return Fake(tmp_path, monkeypatch)


def test_the_environment_is_made_once_and_then_left_alone(fake):
    assert fake.make("") == ["python -m venv", "pip install"]
    assert fake.make("") == []
    assert fake.make("dev") == ["pip install"]
    assert fake.make("") == [], "what has the extras is enough for a run"
    assert fake.make("dev") == []


def test_a_changed_pyproject_brings_it_up_to_date_and_keeps_the_extras(fake):
    fake.make("dev")
    (fake.root / "pyproject.toml").write_text("[project]\ndependencies = ['x']\n")
    assert fake.make("") == ["pip install"]
    assert json.loads((fake.root / ".venv" / ".setup.json").read_text())["extras"] == "dev"


def test_a_moved_checkout_and_a_vanished_interpreter_make_a_new_one(fake):
    fake.make("")
    stamp = fake.root / ".venv" / ".setup.json"
    stamp.write_text(stamp.read_text().replace(str(fake.root), "/elsewhere"))
    assert fake.make("") == ["python -m venv", "pip install"]
    (fake.root / ".venv" / "bin" / "python").unlink()
    assert fake.make("") == ["python -m venv", "pip install"]


def test_a_damaged_stamp_is_no_stamp(fake):
    fake.make("")
    (fake.root / ".venv" / ".setup.json").write_text("{")
    assert fake.make("") == ["pip install"]


def test_where_no_python_can_be_had_one_sentence_says_so(fake, monkeypatch):
    fake.python = None
    for source in ("from_uv", "from_apt", "from_own_uv"):
        monkeypatch.setattr(setup, source, lambda: None)
    with pytest.raises(setup.Stop, match=r"no Python 3\.12 or newer .* run this again"):
        fake.make("")


def test_set_up_does_nothing_where_all_is_there():
    if not (ROOT / ".venv" / ".setup.json").exists():
        pytest.skip("this .venv was not made by scripts/setup")
    for said in (None, ""):  # the first run may still have something to do
        done = subprocess.run(
            [SCRIPTS / "setup"], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        assert said is None or done.stderr == said


def test_the_scripts_run_on_the_systems_python():
    system = Path("/usr/bin/python3")
    if not system.exists():
        pytest.skip("no /usr/bin/python3")
    command = [system, "-B", "-c", "import needs, interpreters, setup"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    subprocess.run(command, env=environment, check=True, timeout=60)

"""Real processes, seen through to what they run."""

import subprocess
import sys
import time

import pytest

from milecastle.catalogue import clients
from milecastle.daemon.recognition import Recognition
from milecastle.host import ExecutableHashes, ProcessTable

WAIT = "import sys\nprint(flush=True)\nsys.stdin.read()\n"


@pytest.fixture
def recognised():
    """Start a command that says a line and waits, and return what is recognised of it."""
    children = []
    recognise = Recognition(clients.shipped())

    def run(*argv, cwd=None):
        child = subprocess.Popen(
            argv, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": "/usr/bin"}
        )
        children.append(child)
        child.stdout.readline()
        process = ProcessTable(ExecutableHashes()).identify(child.pid, 0, time.monotonic_ns())
        return recognise(process)

    yield run
    for child in children:
        child.communicate()


def test_a_script_run_by_its_path_is_part_of_who_it_is(recognised, tmp_path):
    script = tmp_path / "bin" / "aider"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\n{WAIT}")
    script.chmod(0o755)
    process = recognised(str(script))
    assert process.script == str(script)
    assert (process.client, process.client_evidence) == ("aider", f"script {script}")


def test_a_relative_script_is_told_with_its_folder(recognised, tmp_path):
    (tmp_path / "ask.py").write_text(WAIT)
    process = recognised(sys.executable, "ask.py", cwd=tmp_path)
    assert process.script == str(tmp_path / "ask.py")
    assert process.client is None


def test_a_module_is_told_as_one(recognised, tmp_path):
    (tmp_path / "aider.py").write_text(WAIT)
    process = recognised(sys.executable, "-m", "aider", cwd=tmp_path)
    assert (process.script, process.client) == ("-m aider", "aider")


def test_a_shell_with_a_line_is_told_without_the_line(recognised):
    process = recognised("sh", "-c", "echo; read hush")
    assert (process.script, process.client) == ("-c", None)


def test_a_copy_of_an_executable_under_an_agents_path_is_known_by_its_path(recognised, tmp_path):
    copy = tmp_path / ".opencode" / "bin" / "opencode"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(open("/bin/sh", "rb").read())
    copy.chmod(0o755)
    process = recognised(str(copy), "-c", "echo; read x")
    assert process.client == "opencode"
    assert process.client_evidence == f"exe {copy}"


@pytest.mark.parametrize(
    ("known", "told", "expected"),
    [
        (None, {"id": "openai-python", "evidence": "user agent x"}, "openai-python"),
        ("vscode", {"id": "github-copilot", "evidence": "user agent x"}, "github-copilot"),
        ("aider", {"id": "openai-python", "evidence": "user agent x"}, "aider"),
        (None, {"id": "made-up", "evidence": "x"}, None),
        (None, {"id": 5, "evidence": "x"}, None),
        (None, "openai-python", None),
        (None, None, None),
    ],
)
def test_a_request_s_own_word_completes_a_process_and_never_overrules_it(known, told, expected):
    process = {"client": known, "client_evidence": ""}
    Recognition(clients.shipped()).complete(process, told)
    assert process["client"] == expected

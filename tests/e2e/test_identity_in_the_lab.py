"""What a process really runs: scripts, modules, preloads, programs without a file, AI clients."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from tests.e2e.scenarios import OPENAI, chat, curl
from tests.lab import Agent
from tests.lab.patience import until

# what is preloaded is read while a process lives: they stay for a moment, as who talks TLS does
PYTHON = """\
import socket, time
with socket.create_connection(('api.openai.com', 443), 5):
    time.sleep(0.3)
"""
NODE = """\
const s = require('net').connect(443, 'api.openai.com', () => setTimeout(() => s.end(), 300))
"""
FROM_MEMORY = """\
import os, shutil
fd = os.memfd_create("nobody", 0)
os.write(fd, open(os.path.realpath(shutil.which("curl")), "rb").read())
os.execv(f"/proc/self/fd/{fd}", ["curl", "-m", "5", "https://api.openai.com/"])
"""
DELETED = """\
import os, shutil, tempfile
path = shutil.copy(os.path.realpath(shutil.which("curl")), tempfile.mkdtemp())
fd = os.open(path, os.O_RDONLY)
os.set_inheritable(fd, True)
shutil.rmtree(os.path.dirname(path))
os.execv(f"/proc/self/fd/{fd}", ["curl", "-m", "5", "https://api.openai.com/"])
"""
SECRET = "/tmp/a-value-that-nobody-is-told"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "caller.py").write_text(PYTHON)
    (folder / "caller.js").write_text(NODE)
    agent = folder / "node_modules" / "@anthropic-ai" / "claude-code"
    agent.mkdir(parents=True)
    (agent / "cli.js").write_text(NODE)
    return folder


def process_of(
    agent: Agent, argv: list[str], env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a client and return the process of its connection, as `milecastle connections` has it."""
    environment = {**agent.any_env(), **(env or {})}
    child = agent.lab.popen(argv, env=environment, cgroup=agent.cgroup, stdin=-3)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 0, errors
    found: list[dict[str, Any]] = []

    def look() -> bool:
        rows = agent.objects("connections", "-n", "100")
        found[:] = [row["process"] for row in rows if row["process"]["pid"] == child.pid]
        return bool(found)

    assert until(look, 5)
    return found[0]


PROGRAMS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str], str]] = {
    "a module": ((sys.executable, "-m", "caller"), {"PYTHONPATH": "{here}"}, "-m caller"),
    "a script": ((sys.executable, "-I", "{here}/caller.py"), {}, "{here}/caller.py"),
    "text": ((sys.executable, "-c", PYTHON), {}, "-c"),
    "node": (("node", "{here}/caller.js"), {"NODE_OPTIONS": "--no-warnings"}, "{here}/caller.js"),
    "preloads": (
        (sys.executable, "{here}/caller.py"),
        {"LD_PRELOAD": "libc.so.6", "PYTHONPATH": SECRET, "BUN_OPTIONS": "x"},
        "{here}/caller.py",
    ),
    "an empty variable": ((sys.executable, "{here}/caller.py"), {"LD_PRELOAD": ""}, "{here}/"),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_an_interpreter_is_seen_through_and_what_it_loads_is_marked(
    monitor: Agent, here, what: str
):
    argv, env, script = PROGRAMS[what]
    process = process_of(
        monitor,
        [word.replace("{here}", str(here)) for word in argv],
        {name: value.replace("{here}", str(here)) for name, value in env.items()},
    )
    assert process["script"].startswith(script.replace("{here}", str(here)))
    assert set(process["marks"]) == {f"env:{name}" for name, value in env.items() if value}
    assert SECRET not in json.dumps(process)


@pytest.mark.parametrize(("program", "mark"), [(FROM_MEMORY, "memfd"), (DELETED, "deleted")])
def test_a_program_without_a_file_is_marked(monitor: Agent, program: str, mark: str):
    process = process_of(monitor, [sys.executable, "-c", program])
    assert mark in process["marks"]
    assert (process["comm"], process["script"]) != ("python", "-c")


def test_an_ai_client_is_recognised_with_the_evidence_everywhere(monitor: Agent, here):
    script = f"{here}/node_modules/@anthropic-ai/claude-code/cli.js"
    process = process_of(monitor, ["node", script])
    assert (process["client"], process["client_evidence"]) == ("claude-code", f"script {script}")
    assert process["loginuid"] is None or process["loginuid"] >= 0


def test_a_session_says_which_client_it_was_and_by_what(monitor: Agent):
    argv = curl(OPENAI, chat("hello"), "-A", "codex_cli_rs/0.21.0 (Linux)")
    child = monitor.lab.popen(argv, env=monitor.any_env(), cgroup=monitor.cgroup, stdin=-3)
    child.communicate(timeout=30)
    assert monitor.exchanges_of(child.pid)
    (session,) = [one for one in monitor.sessions() if one["process"]["pid"] == child.pid]
    assert (session["client"], session["client_evidence"]) == (
        "codex",
        "user agent codex_cli_rs/0.21.0 (Linux)",
    )

import os
import shlex
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.host import ExecutableHashes, ProcessTable
from milecastle.host.environment import LOADING, marks
from milecastle.host.programs import TEXT, script_of

RUN = [
    ("/usr/bin/python3.12", "python3 ask.py --fast", "/home/ada/ask.py"),
    ("/usr/bin/python3.12", "python3 -u -W ignore ../ask.py", "/home/ask.py"),
    ("/usr/bin/python3.12", "python3 -m aider --model x", "-m aider"),
    ("/usr/bin/python3.12", "python3 -Xdev -m http.server", "-m http.server"),
    ("/usr/bin/python3.12", "python3 -c 'print(1)' x.py", TEXT),
    ("/usr/bin/python3.12", "python3 -Ic 'print(1)'", TEXT),
    ("/usr/bin/python3.12", "python3 -", None),
    ("/usr/bin/python3.12", "python3", None),
    ("/usr/bin/python3.12", "/usr/bin/python3 /usr/bin/aider", "/usr/bin/aider"),
    ("/usr/bin/node", "node --import tsx -r dotenv/config app.js x", "/home/ada/app.js"),
    ("/usr/bin/node", "node --max-old-space-size=4096 /opt/cli.js", "/opt/cli.js"),
    ("/usr/bin/node", "node -e 'fetch(x)'", TEXT),
    ("/usr/bin/node", "claude", None),
    ("/usr/bin/bun", "bun run --watch src/main.ts", "/home/ada/src/main.ts"),
    ("/usr/bin/deno", "deno run --allow-net main.ts", "/home/ada/main.ts"),
    ("/usr/bin/java", "java -Xmx4g -cp a:b -Dx=y com.example.Main arg", "com.example.Main"),
    ("/usr/bin/java", "java -jar server.jar", "-jar server.jar"),
    ("/usr/bin/ruby3.1", "ruby -I lib bin/ask", "/home/ada/bin/ask"),
    ("/usr/bin/bash", "bash -e -o pipefail ./build.sh", "/home/ada/build.sh"),
    ("/usr/bin/dash", "sh -lc 'curl x'", TEXT),
    ("/usr/bin/bash", "-bash", None),
    ("/usr/bin/python3.12", "python3 -- -odd.py", "-odd.py"),
    ("/usr/bin/curl", "curl https://x", None),
    ("/opt/nodejs-tool", "nodejs-tool x.js", None),
    (None, "python3 x.py", None),
]


@pytest.mark.parametrize(("exe", "line", "expected"), RUN)
def test_the_program_behind_an_interpreter_is_seen(exe, line, expected):
    assert script_of(exe, shlex.split(line), "/home/ada") == expected


@given(
    st.sampled_from(["/usr/bin/python3", "/usr/bin/node", "/usr/bin/java", "/bin/sh"]),
    st.lists(st.text()),
    st.none() | st.text(),
)
def test_any_arguments_give_a_script_or_none(exe, argv, cwd):
    script = script_of(exe, argv, cwd)
    assert script is None or (isinstance(script, str) and script)


def started(*argv, **environment):
    """Start a program that waits for its input, and wait until it is really that program."""
    child = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **environment},
    )
    child.stdout.readline()
    return child


WAIT = "import sys; print(flush=True); sys.stdin.read()"


def test_variables_that_load_code_are_marked_by_name_and_never_by_value():
    child = started(
        sys.executable, "-c", WAIT, PYTHONPATH="/somewhere/hush", NODE_OPTIONS="--require x",
        LD_PRELOAD="", HOME="/root",
    )  # fmt: skip
    process = ProcessTable(ExecutableHashes()).identify(child.pid, 0, time.monotonic_ns())
    child.communicate()
    assert process.marks == ("env:NODE_OPTIONS", "env:PYTHONPATH")
    assert "hush" not in repr(process)


def test_an_environment_that_can_not_be_read_or_is_garbage_has_no_marks(tmp_path):
    assert marks(7, tmp_path) == ()
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "environ").write_bytes(
        b"\xff\0=\0LD_PRELOAD\0XLD_PRELOAD=a\0LD_AUDIT=\xff" + b"\0" * 9
    )
    assert marks(7, tmp_path) == ("env:LD_AUDIT",)
    (folder / "environ").write_bytes(b"A=b\0" * (1 << 20))
    assert marks(7, tmp_path) == ()


def test_the_variables_of_the_contract_are_looked_for():
    wanted = {"LD_PRELOAD", "NODE_OPTIONS", "BUN_OPTIONS", "PYTHONSTARTUP", "PYTHONPATH"}
    assert wanted <= set(LOADING)

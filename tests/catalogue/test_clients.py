import json
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle import catalogue
from milecastle.catalogue import clients
from milecastle.catalogue.clients import EVIDENCE, KINDS, load

KNOWN = clients.shipped()
DATA = Path(__file__).parents[3] / "shared" / "data"

PROCESSES = [
    ("/usr/bin/node", "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js", "", "claude-code"),
    ("/usr/bin/node", None, "claude", "claude-code"),
    ("/home/ada/.local/share/claude/versions/2.0.14", None, "", "claude-code"),
    ("/home/ada/.vscode/extensions/anthropic.claude-code-2.0.1/resources/native-binary/claude",
     None, "", "claude-code"),
    ("/usr/bin/node", "/opt/node_modules/@openai/codex/bin/codex.js", "", "codex"),
    ("/opt/node_modules/@openai/codex/vendor/x86_64-unknown-linux-musl/codex/codex", None, "",
     "codex"),
    ("/usr/bin/node", "/usr/lib/node_modules/@google/gemini-cli/dist/index.js", "", "gemini-cli"),
    ("/usr/bin/node", "/usr/lib/node_modules/@github/copilot/index.js", "", "copilot-cli"),
    ("/opt/py/bin/python3.12", "/opt/py/bin/aider", "", "aider"),
    ("/usr/bin/python3.12", "-m aider", "", "aider"),
    ("/home/ada/.opencode/bin/opencode", None, "", "opencode"),
    ("/usr/local/bin/ollama", None, "", "ollama"),
    ("/usr/bin/python3.12", "-m vllm.entrypoints.openai.api_server", "", "vllm"),
    ("/usr/bin/python3.12", "-m sglang.launch_server", "", "sglang"),
    ("/usr/bin/python3.12", "-m llama_cpp.server", "", "llama-cpp"),
    ("/opt/llama.cpp/llama-server", None, "", "llama-cpp"),
    ("/opt/tritonserver/bin/tritonserver", None, "", "triton"),
    ("/tmp/.mount_Jan-x/Jan", None, "", "jan"),
    ("/home/ada/.lmstudio/bin/lms", None, "", "lm-studio"),
    ("/usr/share/code/code", None, "", "vscode"),
    ("/home/ada/.vscode-server/bin/abc/node", "/home/ada/.vscode-server/x.js", "", "vscode"),
    ("/usr/share/cursor/cursor", None, "", "cursor"),
    ("/usr/lib/firefox-esr/firefox-esr", None, "", "firefox"),
    ("/opt/google/chrome/chrome", None, "", "chrome"),
    ("/snap/bin/chromium", None, "", "chromium"),
    ("/usr/bin/curl", None, "", None),
    ("/usr/bin/python3.12", "/home/ada/ask.py", "", None),
    ("/usr/bin/node", None, "node", None),
]  # fmt: skip

USER_AGENTS = [
    ("claude-cli/1.0.57 (external, cli)", "claude-code"),
    ("codex_cli_rs/0.21.0 (Debian 12; x86_64) xterm", "codex"),
    ("GeminiCLI/0.1.14 (linux; x64)", "gemini-cli"),
    ("GitHubCopilotChat/0.29.1", "github-copilot"),
    ("GithubCopilot/1.155.0", "github-copilot"),
    ("opencode/0.5.4", "opencode"),
    ("ollama/0.6.2 (amd64 linux) Go/go1.24.0", "ollama"),
    ("OpenAI/JS 5.10.1", "openai-node"),
    ("google-genai-sdk/1.52.0 gl-python/3.11.11", "google-genai"),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "firefox"),
    ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
     "Safari/537.36", "chrome"),
    ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
     "Safari/537.36 Edg/126.0.0.0", "edge"),
    ("Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Code/1.92.0 Chrome/124.0.6367.243 "
     "Electron/30.1.2 Safari/537.36", "vscode"),
    ("something/1.0", None),
    ("", None),
]  # fmt: skip


@pytest.mark.parametrize(("exe", "script", "title", "expected"), PROCESSES)
def test_a_process_is_recognised_and_the_evidence_named(exe, script, title, expected):
    found = KNOWN.of_process(exe, script, title)
    expected = "chrome" if expected == "chromium" else expected
    assert (found.id if found else None) == expected
    if found:
        kind, _, value = found.evidence.partition(" ")
        assert kind in EVIDENCE
        assert value in (exe, script, title)


@pytest.mark.parametrize(("user_agent", "expected"), USER_AGENTS)
def test_a_user_agent_is_recognised(user_agent, expected):
    found = KNOWN.of_user_agent(user_agent)
    assert (found.id if found else None) == expected


def test_an_agent_counts_before_the_editor_that_it_runs_in():
    script = "/home/ada/.vscode/extensions/x/node_modules/@anthropic-ai/claude-code/cli.js"
    assert KNOWN.of_process("/usr/share/code/code", script).id == "claude-code"


def test_of_two_alike_the_stronger_evidence_is_named():
    found = KNOWN.of_process("/opt/.claude/local/claude", "/x/bin/claude", "claude")
    assert found.evidence.startswith("exe ")


def test_every_client_has_a_vendor_a_kind_and_something_to_be_known_by():
    for client in KNOWN.clients.values():
        assert client.tests
        assert client.kind in KINDS
        assert client.vendor
    assert len(KNOWN.clients) >= 50


@given(st.text(), st.none() | st.text(), st.text(), st.lists(st.text()))
def test_anything_is_recognised_or_not_and_nothing_else(exe, script, title, argv):
    KNOWN.of_process(exe, script, title, argv)
    KNOWN.of_user_agent(exe)


def test_arguments_can_give_a_client_away():
    text = "clients: [{id: x, name: X, vendor: V, kind: agent, argv: --type=wall*}]"
    known, problems = load(text, "c.yaml")
    assert problems == []
    assert known.of_process("/bin/x", None, argv=["x", "--type=wall-walker"]).id == "x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clients: [{id: x, name: X, vendor: V, kind: agent}]", "nothing to be known by"),
        ("clients: [{id: x, name: X, vendor: V, kind: robot, exe: x}]", "robot"),
        ("clients: [{id: x, name: X, vendor: V, kind: sdk, exe: x, exec: y}]", "exec"),
        ("clients: [{id: x, name: X, vendor: V, kind: sdk, exe: x},"
         " {id: x, name: X, vendor: V, kind: sdk, exe: y}]", "twice"),
        ("clients: no", "list"),
        ("", ""),
        ("[", ""),
    ],
)  # fmt: skip
def test_every_problem_of_a_file_is_told(text, words):
    _, problems = load(text, "c.yaml")
    assert problems
    assert any(words in str(problem) for problem in problems)


def test_the_user_agents_of_recorded_traffic_are_known():
    archive = next(iter(sorted(DATA.glob("*exchanges*.tar*"))), None)
    if archive is None:
        pytest.skip(f"no recorded exchanges in {DATA}")
    said: dict[str, int] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.name.endswith(".har"):
                continue
            for entry in json.load(tar.extractfile(member))["log"]["entries"]:
                for header in entry["request"]["headers"]:
                    if header["name"].lower() == "user-agent" and re.match(
                        r"(Async|Azure|OpenAI|Anthropic|mistral|cohere|Groq|Boto3|ollama|google-genai)",
                        header["value"],
                    ):
                        said[header["value"]] = said.get(header["value"], 0) + 1
    missed = [each for each in said if KNOWN.of_user_agent(each) is None]
    assert said
    assert missed == []


def test_every_local_server_is_a_service_too():
    """The daemon knows a server of this host by its program."""
    services = catalogue.shipped().services
    servers = [one.id for one in KNOWN.clients.values() if one.kind == "local_server"]
    assert len(servers) > 10
    assert [one for one in servers if not {one, f"{one}-proxy"} & services.keys()] == []

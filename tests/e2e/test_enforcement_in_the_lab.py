"""What a policy says is done, and aimock's journal and nginx's log are the witnesses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.scenarios import (
    ANTHROPIC,
    BLOCKED_RULE,
    OPENAI,
    REDACTED_RULE,
    chat,
    curl,
    messages,
    planted,
    sdk,
)
from tests.lab import Agent, Lab
from tests.lab.agent import COMMANDS
from tests.lab.patience import until

SECRET = planted(REDACTED_RULE)
TOKEN = planted(BLOCKED_RULE)
MARK = f"[REDACTED:{REDACTED_RULE}]"
REASON = "This message holds a chat token."


def run(agent: Agent, argv: list[str]) -> tuple[int, str]:
    """Run a client in the watched cgroup; return its pid and what it printed."""
    child = agent.lab.popen(argv, env=agent.trust_env(), cgroup=agent.cgroup)
    out, err = child.communicate(timeout=30)
    assert out, err
    return child.pid, out


def upstream(lab: Lab) -> str:
    """Return everything that the provider's side has seen, once it has logged it."""
    lab.requests(at_least=1)
    return json.dumps(lab.requests()) + json.dumps(lab.journal())


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize(("url", "body"), [(OPENAI, chat), (ANTHROPIC, messages)])
def test_a_secret_reaches_the_provider_as_a_mark(
    lab: Lab, enforce: Agent, url: str, body: Any, version: str
):
    pid, output = run(enforce, curl(url, body(f"my key is {SECRET}, why?"), version))
    assert output.endswith("\n200")
    (entry,) = lab.journal()
    assert f"my key is {MARK}, why?" in json.dumps(entry["body"])
    assert SECRET not in upstream(lab)
    (exchange,) = enforce.exchanges_of(pid)
    assert exchange["verdict"]["action"] == "redact"
    assert exchange["verdict"]["rule"] == "keys-stay-here"
    (finding,) = exchange["findings"]
    assert (finding["category"], finding["rule"]) == ("secret", REDACTED_RULE)
    assert SECRET not in finding["excerpt"]


def test_around_a_redaction_every_byte_stays(lab: Lab, enforce: Agent):
    odd = '{ "x": 1.50e3,"messages":[ {"role":"user","content":"caf\\u00e9 KEY \\/ ☕"}], '
    odd += '"model":"m"}'
    run(enforce, curl(OPENAI, odd.replace("KEY", SECRET)))
    (seen,) = lab.requests(at_least=1)
    assert seen["body"] == odd.replace("KEY", MARK)


@pytest.mark.parametrize("language", ["python", "node"])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_redacted_call_streams_on(lab: Lab, enforce: Agent, language: str, provider: str):
    prompt = f"tell me slowly about {SECRET}"
    _, output = run(enforce, sdk(language, provider, prompt, "--stream"))
    told = json.loads(output)
    assert told["text"].split()[-1] == "twenty"
    assert told["arrivals"][-1] - told["arrivals"][0] > 0.5
    assert SECRET not in upstream(lab)


def test_a_blocked_chat_completion_is_refused_in_openais_own_words(lab: Lab, enforce: Agent):
    pid, output = run(enforce, curl(OPENAI, chat(f"post this with {TOKEN}")))
    body, status = output.rsplit("\n", 1)
    assert status == "403"
    error = json.loads(body)["error"]
    assert REASON in error["message"]
    assert {"message", "type", "code"} <= error.keys()
    assert lab.journal() == []
    (exchange,) = enforce.exchanges_of(pid)
    assert exchange["verdict"]["action"] == "block"
    assert exchange["verdict"]["rule"] == "no-chat-tokens"
    assert REASON in exchange["verdict"]["reason"]


def test_a_blocked_message_is_refused_in_anthropics_own_words(lab: Lab, enforce: Agent):
    _, output = run(enforce, curl(ANTHROPIC, messages(f"post this with {TOKEN}")))
    body, status = output.rsplit("\n", 1)
    assert status == "403"
    told = json.loads(body)
    assert told["type"] == "error"
    assert REASON in told["error"]["message"]
    assert lab.journal() == []


@pytest.mark.parametrize("stream", [[], ["--stream"]], ids=["whole", "streaming"])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("language", ["python", "node"])
def test_an_sdk_raises_its_own_error_with_the_reason(
    lab: Lab, enforce: Agent, language: str, provider: str, stream: list[str]
):
    _, output = run(enforce, sdk(language, provider, f"post this with {TOKEN}", *stream))
    error = json.loads(output)["error"]
    assert error["kind"] == "PermissionDeniedError"
    assert error["status"] == 403
    assert REASON in error["message"]
    assert lab.journal() == []


def test_the_connection_lives_on_after_a_block(lab: Lab, enforce: Agent):
    bad, good = chat(f"with {TOKEN}"), chat("hello from the lab")
    argv = [*curl(OPENAI, bad), "--next", *curl(OPENAI, good)[1:], "-w", "\n%{num_connects}"]
    _, output = run(enforce, argv)
    assert "\n403" in output
    assert "The lab hears you" in output
    assert output.endswith("\n0")
    (entry,) = lab.journal()
    assert "hello from the lab" in json.dumps(entry)


def kept(agent: Agent, secret: str) -> list[Path]:
    """Return the agent's files that hold the secret: database, logs, certificates."""
    files = [path for path in agent.folder.rglob("*") if path.is_file()]
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_no_protected_byte_is_kept_on_this_host(lab: Lab, enforce: Agent, tmp_path: Path):
    own = SECRET[:-4] + "W7QX"  # not in any other test's argv
    prompt = tmp_path / "prompt.json"
    prompt.write_text(chat(f"keep out of the store: {own}"))
    argv = curl(OPENAI, None, "-H", "content-type: application/json", "-d", f"@{prompt}")
    pid, output = run(enforce, argv)
    assert output.endswith("\n200")
    (exchange,) = enforce.exchanges_of(pid)
    assert exchange["findings"]
    assert own not in json.dumps(exchange)
    assert kept(enforce, own) == []


def test_a_secret_among_a_clients_arguments_is_not_kept_either(lab: Lab, enforce: Agent):
    own = SECRET[:-4] + "V5RZ"
    pid, _ = run(enforce, curl(OPENAI, chat(f"keep out of the store: {own}")))
    assert enforce.exchanges_of(pid)
    assert kept(enforce, own) == []


def test_a_policy_that_is_edited_counts_at_once(lab: Lab, enforce: Agent):
    before = enforce.policy_file.read_text()
    try:
        enforce.policy_file.write_text(before.replace("mode: enforce", "mode: monitor"))
        assert until(lambda: enforce.status()["mode"] == "monitor", 3)
        _, output = run(enforce, curl(OPENAI, chat(f"with {TOKEN}")))
        assert output.endswith("\n200")
    finally:
        enforce.policy_file.write_text(before)
    assert until(lambda: enforce.status()["mode"] == "enforce", 3)
    _, output = run(enforce, curl(OPENAI, chat(f"with {TOKEN}")))
    assert output.endswith("\n403")


HOST = """\
version: 1
disable: [no-chat-tokens]
rules:
  - id: few
    action: limit
    limit: {calls: 2, per: hour, by: host}
"""


def test_what_is_laid_over_a_policy_counts_at_once_limits_included(lab: Lab, enforce: Agent):
    folder = enforce.policy_file.parent / "policy.d"
    folder.mkdir()
    try:
        (folder / "10-host.yaml").write_text(HOST)
        assert until(lambda: bool(enforce.status()["policy"]["overrides"]), 3)
        ends = [run(enforce, curl(OPENAI, chat(f"with {TOKEN}")))[1] for _ in range(3)]
        assert [end[-3:] for end in ends] == ["200", "200", "429"]
        assert "few" in ends[-1]
        assert len(lab.journal()) == 2
    finally:
        shutil.rmtree(folder)
    assert until(lambda: not enforce.status()["policy"]["overrides"], 3)
    _, output = run(enforce, curl(OPENAI, chat(f"with {TOKEN}")))
    assert output.endswith("\n403")


def test_the_red_team_goes_through_the_real_proxy(lab: Lab, enforce: Agent):
    milecastle = [str(COMMANDS / "milecastle"), "--run-dir", str(enforce.run_dir)]
    attack = ["redteam", "--live", "https://api.openai.com", "--category", "LLM02"]
    disguises = ["--disguise", "plain", "--disguise", "base64", "--json"]
    child = lab.popen([*milecastle, *attack, *disguises], cgroup=enforce.cgroup)
    out, err = child.communicate(timeout=60)
    assert child.returncode in (0, 1), err
    told = {each["category"]: each for each in map(json.loads, out.splitlines())}
    assert told["LLM02"]["tried"] >= 14
    assert told["LLM02"]["replaced"] >= 12
    seen = upstream(lab)
    assert "AKIA" not in seen
    assert "ghp_" not in seen


BROKEN = """\
version: 1
mode: enforced
rules:
  - id: keys
    wen: {direction: request}
    action: redacted
  - id: keys
    action: block
"""
LINES = {2: "enforce", 5: "when", 6: "redact", 7: ""}
"""Where BROKEN is wrong, and what the hint has to say."""


def test_every_problem_of_a_policy_is_told_and_the_old_one_stays(lab: Lab, enforce: Agent):
    before = enforce.policy_file.read_text()
    try:
        enforce.policy_file.write_text(BROKEN)
        assert until(lambda: bool(enforce.status()["policy"]["problems"]), 3)
        problems = enforce.status()["policy"]["problems"]
        assert {2, 5, 6, 7} <= {
            int(str(told).split("policy.yaml:")[1].split(":")[0]) for told in problems
        }
        told = " ".join(map(str, problems))
        for hint in ("enforce", "when", "redact"):
            assert hint in told
        _, output = run(enforce, curl(OPENAI, chat(f"with {TOKEN}")))
        assert output.endswith("\n403")
        checked = enforce.cli("policy", "check", str(enforce.policy_file), "--json")
        assert checked.returncode == 2
        hints = {p["line"]: p["hint"] for p in json.loads(checked.stdout)["problems"]}
        for line, hint in LINES.items():
            assert hint in hints[line]
    finally:
        enforce.policy_file.write_text(before)
    assert until(lambda: not enforce.status()["policy"]["problems"], 3)


def test_explain_names_the_rule_that_decided_and_those_that_did_not(enforce: Agent):
    pid, _ = run(enforce, curl(OPENAI, chat(f"with {TOKEN}")))
    (exchange,) = enforce.exchanges_of(pid)
    done = enforce.cli("explain", exchange["id"])
    assert done.returncode == 0
    assert "no-chat-tokens" in done.stdout
    assert "keys-stay-here" in done.stdout
    assert TOKEN not in done.stdout


def test_another_user_sees_nothing_of_root(enforce: Agent):
    run(enforce, curl(OPENAI, chat("hello")))
    command = f"{os.fspath(Path(__file__).parents[2])}/.venv/bin/milecastle"
    done = enforce.lab.run_client(
        [command, "--run-dir", str(enforce.run_dir), "sessions", "--json"], user="nobody"
    )
    assert '"pid"' not in done.stdout

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from tests.cli.daemon import FakeDaemon, RefusedError
from tests.store.examples import A_FINDING, NOW, make_record

from milecastle.cli.main import main
from milecastle.store import Store


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch):
    for name in ("NO_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")


@pytest.fixture
def run_dir():
    # a socket's path may have 107 bytes, pytest's own directories are longer
    path = Path(tempfile.mkdtemp(prefix="mc", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def daemon(run_dir):
    started = []

    def start(**answers):
        fake = FakeDaemon(run_dir, **answers)
        started.append(fake)
        return fake

    yield start
    for fake in started:
        fake.close()


@pytest.fixture
def cli(run_dir, capsys):
    """Run a command against the fake daemon; return exit code, output and errors."""

    def run(*arguments):
        code = main(["--run-dir", str(run_dir), *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def cli_json(cli):
    """Run a command with --json; return the objects, one a line."""

    def run(*arguments, expect=0):
        code, out, err = cli(*arguments, "--json")
        assert code == expect, err
        return [json.loads(line) for line in out.splitlines()]

    return run


@pytest.fixture
def filled(daemon, tmp_path):
    """A daemon with a real store behind it: two exchanges of one session, one with a finding."""
    store = Store.open(tmp_path / "milecastle.db")
    first = store.add(make_record(started=NOW - 20, ended=NOW - 19), NOW)
    verdict = {
        "action": "redact",
        "applied": "redact",
        "rule": "no-secrets",
        "reason": "a secret in the prompt",
        "mode": "enforce",
    }
    record = make_record(
        findings=[A_FINDING],
        verdict=verdict,
        steps=[
            {"rule": "no-secrets", "matched": True, "action": "redact", "mode": "enforce",
             "why": "1 finding(s) fit", "direction": "request", "findings": ["aws-access-key"]},
            {"rule": "block-shadow", "matched": False, "action": "block", "mode": "enforce",
             "why": "standing is 'sanctioned', the rule wants unsanctioned"},
        ],
    )  # fmt: skip
    said = record["attributes"]
    said["gen_ai.system_instructions"] = [{"type": "text", "content": "Be brief."}]
    said["gen_ai.input.messages"] = [
        {"role": "user", "parts": [{"type": "text", "content": "Where is the wall?"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "In the north."}]},
        {
            "role": "user",
            "parts": [{"type": "text", "content": "My key is [REDACTED:aws-access-key]"}],
        },
    ]
    said["gen_ai.output.messages"] = [
        {"role": "assistant", "finish_reason": "tool_calls", "parts": [
            {"type": "reasoning", "content": "Let me look."},
            {"type": "tool_call", "id": "c1", "name": "look", "arguments": '{"at": "map"}'},
        ]},
    ]  # fmt: skip
    second = store.add(record, NOW)
    store.flush()

    def found(ask):
        def answer(body):
            try:
                return ask(next(iter(body.values())))
            except LookupError as error:
                raise RefusedError(str(error)) from None

        return answer

    fake = daemon(
        sessions=lambda body: store.sessions(body["limit"]),
        show=found(store.show),
        explain=found(store.explain),
        tail=lambda body: store.recent(body["history"]),
        status={
            "ready": True,
            "version": "0.1.0",
            "mode": "monitor",
            "uptime_s": 3725,
            "pid": 77,
            "state_dir": str(tmp_path),
            "selftest": {"passed": True, "what": "one exchange went through", "ms": 41.0},
            "policy": {"file": "/etc/milecastle/policy.yaml", "rules": 3, "problems": []},
            "workers": [{"pid": 80, "serving": True, "silent_ms": 3, "open": 1}],
            "children": [{"name": "worker 0", "pid": 80, "starts": 3}],
            "kernel": {"redirected": 12, "dropped": 0},
            "names": {"learned": 4, "refused": 0},
            "records": {"taken": 2, "refused": 1},
            "ca": {
                "certificate": str(tmp_path / "ca" / "root.pem"),
                "bundle": str(tmp_path / "ca" / "bundle.pem"),
            },
            "store": store.health(),
            "degraded": ["the CA does not cover 2 domains of the catalogue"],
        },
    )
    fake.events = [store.recent(1)[0]]
    fake.session, fake.exchange = first["session"], second["id"]
    yield fake
    store.close()


@pytest.fixture
def as_nobody():
    """Be an unprivileged user within the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    yield
    os.seteuid(0)
    os.setegid(0)
    os.setgroups(groups)

"""Canaries, fingerprints and tools: what commands write, what the daemon is asked."""

import base64
import codecs
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from milecastle.cli import indexing, reader, walking
from milecastle.cli.faults import InputError
from milecastle.detect import Engine
from milecastle.detect.fingerprints import Hasher, Index, OwnDocuments
from milecastle.model import Segment

KEY = b"k" * 32
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone keeps these files")


def prose(seed, words=200):
    source = random.Random(seed)
    letters = "abcdefghiklmnoprstuvw"
    return " ".join("".join(source.choices(letters, k=6)) for _ in range(words))


@pytest.fixture
def state():
    folder = Path(tempfile.mkdtemp(prefix="mcstate"))
    (folder / "digest.key").write_bytes(KEY)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def kept(cli, daemon, state):
    """Run a command beside a daemon that has this state directory."""
    fake = daemon(status={"state_dir": str(state)}, reload={"changed": True, "problems": []})
    cli.asked = lambda: [kind for kind, _ in fake.asked]
    return cli


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "Our Plans"
    (root / "deep").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "a.md").write_text(prose(1))
    (root / "deep" / "b.txt").write_bytes(prose(2).encode("utf-16"))
    (root / "short.txt").write_text("hello")
    (root / "binary.bin").write_bytes(b"\0" * 5_000)
    (root / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    (root / ".git" / "c.md").write_text(prose(3))
    (root / "link.md").symlink_to(root / "a.md")
    os.mkfifo(root / "pipe")
    return root


# --- fingerprints --------------------------------------------------------------------------


@needs_root
def test_a_folder_is_indexed_by_a_process_that_is_not_root(kept, folder, state):
    code, out, _ = kept("fingerprint", "add", folder, "--json")
    told = json.loads(out)
    assert (code, told["name"], told["files"]) == (0, "our-plans", 2)
    assert set(told["skipped"]) == {
        "no text", "can't be read", "symbolic links", "no regular files",
        "less than a passage of text",
    }  # fmt: skip
    assert kept.asked() == ["status", "reload"]
    file = state / "fingerprints" / "our-plans.idx"
    assert file.stat().st_mode & 0o777 == 0o600
    found = OwnDocuments([Index(file.read_bytes(), KEY)], KEY)
    for seed, name in ((1, "Our Plans/a.md"), (2, "Our Plans/deep/b.txt")):
        (finding,) = found.scan(Segment(f"look: {prose(seed)}", "user", "user"))
        assert name in finding.evidence
    assert found.scan(Segment(prose(3), "user", "user")) == []
    assert prose(1)[:30].encode() not in file.read_bytes()
    code, out, _ = kept("fingerprint", "list")
    assert "our-plans" in out
    assert kept("fingerprint", "remove", "our-plans")[0] == 0
    assert list((state / "fingerprints").iterdir()) == []


@needs_root
def test_who_reads_documents_has_neither_root_nor_network():
    with reader.Reader(KEY) as reads, tempfile.TemporaryFile() as file:
        file.write(prose(1).encode())
        file.flush()
        hashes, why = reads.hashes(file.fileno())
        assert (len(hashes) > 20, why) == (True, "")
        pid = reads._process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid")).split()[1:]
        assert "0" not in uids
        assert "CapEff:\t0000000000000000" in status
        networks = [os.readlink(f"/proc/{each}/ns/net") for each in (pid, "self")]
        assert networks[0] != networks[1]


@needs_root
def test_a_reader_that_dies_over_a_file_costs_that_file_alone(monkeypatch):
    with reader.Reader(KEY) as reads, tempfile.TemporaryFile() as file:
        file.write(prose(1).encode())
        file.flush()
        first, _ = reads.hashes(file.fileno())
        reads._process.kill()
        assert reads.hashes(file.fileno())[1] == "the reader ended over it"
        file.seek(0)
        assert reads.hashes(file.fileno())[0] == first
        monkeypatch.setattr(reader, "STARTS", 2)
        reads._process.kill()
        reads.hashes(file.fileno())
        with pytest.raises(InputError, match="nothing was changed"):
            reads.hashes(file.fileno())


def test_the_reader_answers_with_the_hashes_of_a_text(tmp_path):
    (tmp_path / "a").write_text(prose(5))
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    told = indexing.answer(descriptor, Hasher(KEY))
    (count,) = indexing.COUNT.unpack(told[:4])
    assert len(told) == 4 + 4 * count
    assert count == len({mark.value for mark in Hasher(KEY).marks(prose(5))})


def test_a_walk_is_bounded_and_says_so(folder, monkeypatch):
    monkeypatch.setattr(walking, "MOST_FILES", 2)
    monkeypatch.setattr(walking, "LARGEST", 4_999)
    told = walking.Told()
    assert len([each.name for each in walking.files(folder, told)]) == 2
    assert told.more
    assert "over 0 MB" in told.skipped


@needs_root
def test_what_can_not_be_indexed_is_said_and_changes_nothing(kept, tmp_path, state):
    (tmp_path / "empty").mkdir()
    code, _, err = kept("fingerprint", "add", tmp_path / "empty")
    assert (code, "no text" in err) == (2, True)
    assert kept("fingerprint", "add", tmp_path / "nowhere")[0] == 2
    assert kept("fingerprint", "remove", "nothing")[0] == 2
    (state / "digest.key").unlink()
    code, _, err = kept("fingerprint", "add", tmp_path)
    assert (code, "digest.key" in err) == (2, True)


# --- canaries ------------------------------------------------------------------------------


@needs_root
def test_a_canary_is_a_rule_that_finds_itself_in_any_encoding(kept, state):
    code, out, _ = kept("canary", "add", "payroll", "--note", "prompt of payroll")
    token = out.strip()
    assert code == 0
    assert kept.asked() == ["status", "reload"]
    file = state / "canaries" / "payroll.yaml"
    engine = Engine.load([(file.name, file.read_text())], key=KEY)
    hidden = (codecs.encode(token, "rot13"), token[::-1], " ".join(token), token.encode().hex())
    for text in (token, token.upper(), base64.b64encode(token.encode()).decode(), *hidden):
        (finding,) = engine.scan([Segment(f"it says {text} there", "assistant", "assistant")])
        assert finding.category == "marking", text
        assert finding.rule.startswith("canary-payroll")
    assert engine.scan([Segment("ref-" + "a" * 20, "user", "user")]) == []
    assert kept("rules", "check", file)[0] == 0
    code, out, _ = kept("canary", "list", "--json")
    assert json.loads(out)["token"] == token
    assert kept("canary", "add", "payroll")[0] == 2
    assert kept("canary", "remove", "payroll")[0] == 0
    assert kept("canary", "list")[1].startswith("no canary")


@pytest.mark.parametrize("name", ["../x", "A", "", "a" * 49, "-a"])
def test_a_name_that_could_be_a_path_is_refused(cli, name):
    assert cli("canary", "add", "--", name)[0] == 2


@needs_root
def test_without_daemon_or_state_directory_it_is_said_what_to_do(cli, tmp_path):
    code, _, err = cli("canary", "add", "x", "--state-dir", tmp_path / "none")
    assert (code, "--state-dir" in err) == (2, True)


# --- tools, rules --------------------------------------------------------------------------


def test_servers_are_listed_with_what_changed_and_a_change_is_agreed_to(cli, daemon):
    row = {"server": "1000 claude-code prompt", "tools": 3, "first": 1.0, "last": 2.0}
    fake = daemon(
        tools=[{**row, "changed": ["mcp__a__b\x1b[31m"]}],
        accept={"server": row["server"], "tools": ["mcp__a__b"]},
    )
    code, out, _ = cli("tools", "list")
    assert (code, "\x1b[31m" in out) == (0, False)
    assert "tools accept" in out
    assert "agreed to 1 tool" in cli("tools", "accept", row["server"])[1]
    assert fake.asked[-1] == ("accept", {"server": row["server"], "name": ""})


def test_own_rules_are_checked_beside_the_shipped_ones(cli, tmp_path):
    rule = """
category: secret
severity: high
rules:
  - id: {name}
    title: A token of ours
    source: https://docs.acme.example
    token: 'acme_[a-z]{{20}}'
    matches: ['{example}']
    ignores: ['acme_short']
"""
    good = "acme_qwhzxkvbnmplokjhgfds"
    (tmp_path / "own.yaml").write_text(rule.format(name="acme-token", example=good))
    assert cli("rules", "check", tmp_path)[0] == 0
    (tmp_path / "twice.yaml").write_text(rule.format(name="github-token", example="nothing"))
    code, out, _ = cli("rules", "check", tmp_path)
    assert code == 2
    assert "twice.yaml:5" in out

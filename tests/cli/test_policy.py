"""policy diff, learn and explain: over recordings, and over what a real store holds."""

import json

import pytest
import yaml
from tests.store.examples import NOW

from milecastle.cli import offline
from milecastle.policy import check

KEY = "AKIAQ3EGRKZP5WX7LM2D"
OLD = "version: 1\nmode: enforce\nservices: {default: sanctioned}\nrules:\n"
ALERT = "- {id: keys, action: alert, when: {finding: {category: secret}}}\n"
REDACT = "- {id: keys, action: redact, when: {finding: {category: secret}}}\n"
BLOCK = "- {id: ours, action: block, when: {service: mistral}}\n"


def har(url, body, started="2027-01-15T08:00:00Z"):
    return {
        "startedDateTime": started,
        "request": {
            "method": "POST",
            "url": url,
            "headers": [{"name": "content-type", "value": "application/json"}],
            "postData": {"mimeType": "application/json", "text": json.dumps(body)},
        },
        "response": {"status": 0},
    }


def said(text):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}


@pytest.fixture(autouse=True, scope="module")
def one_engine():
    """Load the detectors once for all commands."""
    engine, patch = offline.engine(), pytest.MonkeyPatch()
    patch.setattr(offline, "engine", lambda _folders=(): engine)
    yield
    patch.undo()


@pytest.fixture
def recording(tmp_path):
    file = tmp_path / "traffic.har"
    urls = {
        "https://api.openai.com/v1/chat/completions": f"deploy with {KEY} please",
        "https://api.mistral.ai/v1/chat/completions": "good morning",
        "https://api.anthropic.com/v1/messages": "good evening",
    }
    entries = [har(url, said(text)) for url, text in urls.items()]
    file.write_text(json.dumps({"log": {"entries": entries}}))
    return file


@pytest.fixture
def policies(tmp_path):
    def write(*texts):
        files = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(OLD + text)
        return files

    return write


def test_diff_tells_which_recorded_messages_would_be_judged_otherwise(cli, policies, recording):
    old, new = policies(ALERT, REDACT + BLOCK)
    code, out, _ = cli("policy", "diff", old, new, "--over", recording)
    assert code == 1
    assert "traffic.har:0" in out
    assert "redact by keys" in out
    assert "block by ours" in out
    assert "traffic.har:2" not in out
    assert "3 messages, 2 judged otherwise: 2 more strictly, 0 less, 0 by another" in out


def test_diff_as_json_is_one_message_a_line(cli_json, policies, recording):
    old, new = policies(REDACT, ALERT)
    (told,) = cli_json("policy", "diff", old, new, "--over", recording, expect=1)
    assert (told["exchange"], told["direction"], told["service"]) == (
        "traffic.har:0",
        "request",
        "openai",
    )
    assert told["findings"] == ["aws-access-key-id"]
    assert (told["old"]["applied"], told["new"]["applied"]) == ("redact", "alert")
    assert told["old"]["redacted"] == ["aws-access-key-id"]
    assert KEY not in json.dumps(told)


def test_policies_that_agree_differ_in_nothing(cli, policies, recording):
    old, new = policies(ALERT, ALERT)
    code, out, _ = cli("policy", "diff", old, new, "--over", recording)
    assert (code, "0 judged otherwise" in out) == (0, True)


def test_a_recording_is_judged_by_the_time_it_was_made(cli, policies, recording):
    base = "- {id: all, action: allow}\n"
    evening = base + "- {id: late, action: block, when: {time: {from: '20:00'}}}\n"
    morning = base + "- {id: early, action: block, when: {time: {to: '12:00'}}}\n"
    assert cli("policy", "diff", *policies(base, evening), "--over", recording)[0] == 0
    assert cli("policy", "diff", *policies(base, morning), "--over", recording)[0] == 1


def test_diff_over_the_daemon_s_sessions(filled, cli_json, policies):
    base = "- {id: all, action: allow}\n"
    block = "- {id: keys, action: block, when: {finding: {}, user: ada}}\n"
    old, new = policies(base, base + block)
    (told,) = cli_json("policy", "diff", old, new, "--over", "sessions", expect=1)
    assert told["exchange"] == filled.exchange
    assert (told["service"], told["user"], told["new"]["rule"]) == ("openai", "ada", "keys")


def test_diff_says_what_is_missing(cli, policies, recording, tmp_path):
    old, new = policies(ALERT, REDACT)
    assert cli("policy", "diff", old, tmp_path / "none.yaml", "--over", recording)[0] == 2
    assert cli("policy", "diff", old, new, "--over", tmp_path / "none.har")[0] == 2
    assert cli("policy", "diff", old, new)[0] == 2
    assert cli("policy", "diff", old, new, "--over", "sessions")[0] == 3


def test_explain_judges_a_recorded_exchange_by_another_policy(filled, cli, cli_json, policies):
    (file,) = policies("- {id: keys, action: block, when: {finding: {}, user: ada}}\n")
    request, response = cli_json("policy", "explain", filled.exchange, "--policy", file)
    assert (request["direction"], request["verdict"]["action"]) == ("request", "block")
    assert (response["direction"], response["verdict"]["action"]) == ("response", "allow")
    code, out, _ = cli("policy", "explain", filled.exchange)
    assert code == 0
    assert "no-secrets" in out  # the rule that judged it then


USE = {
    "service": "openai", "host": None, "user": "ada", "uid": 1000, "container": None,
    "process": {"exe": "/usr/bin/node", "script": "/opt/claude-code/cli.js",
                "client": "claude-code"},
    "first": NOW - 9e5, "last": NOW, "calls": 12, "tokens": {"input": 3000, "output": 400},
}  # fmt: skip


def test_learn_proposes_what_was_seen_with_its_evidence(cli, daemon):
    daemon(
        inventory=[USE, {**USE, "service": "mistral", "calls": 2}, {**USE, "service": "no-such"}]
    )
    code, out, _ = cli("policy", "learn", "--owner", "platform team", "--days", "30")
    assert code == 0
    assert "# claude-code of ada: 14 calls, 6800 tokens, 2027-01-04 to 2027-01-15" in out
    made, problems = check(out, "learned.yaml")
    assert problems == []
    assert made.mode == "monitor"
    assert [rule.id for rule in made.rules] == ["only-what-was-seen", "seen-claude-code-ada"]
    told = yaml.safe_load(out)
    assert told["services"]["sanctioned"] == ["mistral", "openai"]
    assert told["rules"][1]["when"] == {
        "service": ["mistral", "openai"],
        "user": "ada",
        "process": {"exe": "/usr/bin/node", "script": "/opt/claude-code/cli.js"},
    }
    assert told["rules"][1]["exception"]["owner"] == "platform team"


def test_learn_reads_what_inventory_printed(cli, cli_json, tmp_path):
    file = tmp_path / "seen"
    file.write_text(json.dumps(USE) + "\n")
    (told,) = cli_json("policy", "learn", "--from", file)
    assert told["rules"] == ["only-what-was-seen", "seen-claude-code-ada"]
    file.write_text("not json\n")
    code, _, err = cli("policy", "learn", "--from", file)
    assert code == 2
    assert f"{file}:1: not JSON" in err


def test_learn_without_anything_seen_or_without_a_daemon_says_so(cli, daemon):
    assert cli("policy", "learn")[0] == 3
    daemon(inventory=[])
    code, _, err = cli("policy", "learn")
    assert (code, "nothing was seen yet" in err) == (2, True)
    assert cli("policy", "learn", "--days", "0")[0] == 2


# --- redteam ----------------------------------------------------------------------------------


def test_redteam_counts_what_a_preset_keeps_out_by_category(cli, cli_json):
    code, out, _ = cli("redteam", "--preset", "balanced", "--category", "llm03")
    assert code == 1
    assert "KEPT OUT" in out
    assert "through: tool-poisoned" in out
    rows = cli_json("redteam", "--preset", "balanced", "--category", "LLM03", expect=1)
    told = {each["category"]: each for each in rows}
    assert set(told) == {"LLM03", "ASI04", "all"}
    one = told["LLM03"]
    assert one["tried"] == one["stopped"] + one["replaced"] + one["reported"] + one["through"]
    assert one["kept_out"] > 0.8
    assert len(one["lacking"]) == one["reported"] + one["through"]


def test_redteam_says_which_categories_there_are(cli):
    code, _, err = cli("redteam", "--category", "LLM09")
    assert code == 2
    assert "no attack is against LLM09; there are ASI01" in err
    code, _, err = cli("redteam", "--disguise", "beard")
    assert code == 2
    assert "no disguise is 'beard'; there are" in err


def test_redteam_live_wants_a_server_and_a_daemon(cli, daemon, tmp_path):
    assert cli("redteam", "--live", "http://llm.test.example")[0] == 2
    assert cli("redteam", "--live", "https://llm.test.example")[0] == 3
    daemon(status={"ready": False})
    code, _, err = cli("redteam", "--live", "https://llm.test.example")
    assert (code, "not ready" in err) == (3, True)


def test_what_the_daemon_recorded_is_matched_by_time():
    from milecastle.cli.live import matched, outcome
    from milecastle.model import Action

    events = [{"started": 10.5, "action": "redact"}, {"started": 12.0, "action": "block"},
              {"started": 14.2, "action": "coach"}]  # fmt: skip
    spans = [(10, 11), (11.9, 12.1), (13, 13.5), (14, 15)]
    actions = list(matched(events, spans))
    assert actions == [Action.REDACT, Action.BLOCK, None, Action.COACH]
    assert [outcome(each) for each in actions] == ["replaced", "stopped", "through", "reported"]

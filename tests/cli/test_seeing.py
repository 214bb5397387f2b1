"""status, sessions, show, tail, explain against a socket and a real store."""

import re

import pytest
from tests.cli.daemon import RefusedError
from tests.store.examples import A_FINDING

CONTRACT = {
    "id", "started", "service", "model", "process", "sanctioned", "exchanges", "findings", "action",
}  # fmt: skip


def test_status_says_that_it_is_ready_and_what_deserves_attention(cli, filled):
    code, out, _ = cli("status")
    assert code == 0
    assert "milecastle is ready" in out
    assert "up         1 h 2 min, pid 77" in out
    assert "the CA does not cover 2 domains" in out
    assert "worker 0 was restarted 2 times" in out
    assert "redirected 12" in out
    assert "dropped" not in out


def test_status_json_has_ready_and_all_that_the_daemon_says(cli_json, filled):
    (status,) = cli_json("status")
    assert status["ready"] is True
    assert status == filled.answers["status"]


def test_status_of_a_daemon_that_is_not_ready_or_says_little(cli, daemon):
    daemon(status={"ready": False, "version": "1", "mode": "enforce", "ca": {}})
    code, out, _ = cli("status")
    assert code == 0
    assert "not ready" in out


def test_sessions_have_the_shape_of_the_contract(cli_json, filled):
    (session,) = cli_json("sessions")
    assert session.keys() >= CONTRACT
    assert session["process"].keys() >= {"pid", "exe", "comm", "argv", "user", "ancestry"}
    assert session["exchanges"] == 2
    assert session["action"] == "redact"


def test_sessions_are_a_table(cli, filled):
    code, out, _ = cli("sessions")
    assert code == 0
    title, row = out.splitlines()
    assert title.startswith("SESSION")
    assert row.split()[0] == filled.session[:8]
    assert "python3[4711]" in row
    assert "!" not in row


def test_a_service_that_is_not_sanctioned_is_marked(cli, daemon):
    daemon(sessions=[{"id": "a", "service": "deepseek", "sanctioned": False, "action": "allow"}])
    _, out, _ = cli("sessions")
    assert "!deepseek" in out
    assert "not sanctioned" in out


def test_no_session_is_a_sentence_and_no_line_of_json(cli, cli_json, daemon):
    daemon(sessions=[])
    assert "no session yet" in cli("sessions")[1]
    assert cli_json("sessions") == []


def test_the_limit_is_passed_on_and_checked(cli, filled):
    cli("sessions", "-n", "7")
    assert filled.asked[-1] == ("sessions", {"limit": 7})
    code, _, err = cli("sessions", "-n", "0")
    assert (code, "from 1 on" in err) == (2, True)


def test_show_reads_as_a_conversation_in_which_each_message_stands_once(cli, filled):
    code, out, _ = cli("show", filled.session[:5])
    assert code == 0
    assert out.count("Where is the wall?") == 1
    assert out.count("In the north.") == 1
    assert "(2 messages as before)" in out
    assert "tool call   look" in out
    assert "reasoning   Let me look." in out
    assert "secret aws-access-key, critical, at" in out
    assert A_FINDING["excerpt"] in out
    assert "redact by rule no-secrets: a secret in the prompt" in out
    assert "systemd[1]" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_show_json_has_the_exchanges_with_flat_attributes(cli_json, filled):
    (session,) = cli_json("show", filled.session)
    exchange = session["exchanges"][1]
    assert exchange["gen_ai.request.model"] == "gpt-4o-mini"
    assert exchange["findings"][0].keys() >= {"category", "rule", "severity", "where", "excerpt"}
    assert exchange["verdict"].keys() >= {"action", "rule", "reason"}


def test_long_texts_are_cut_unless_they_are_asked_for_in_full(cli, daemon):
    text = "\n".join(f"line {number}" for number in range(50))
    message = {"role": "user", "parts": [{"type": "text", "content": text}]}
    daemon(show={"id": "a", "exchanges": [{"gen_ai.input.messages": [message]}]})
    _, out, _ = cli("show", "a")
    assert "42 more lines (--full shows them)" in out
    assert "line 49" not in out
    assert "line 49" in cli("show", "a", "--full")[1]


def test_a_person_may_say_yes_twice(cli, daemon):
    yes = {"role": "user", "parts": [{"type": "text", "content": "yes"}]}
    daemon(
        show={
            "id": "a",
            "exchanges": [
                {"gen_ai.input.messages": [yes]},
                {"gen_ai.input.messages": [yes, yes]},
            ],
        }
    )
    assert len(re.findall(r"user +yes", cli("show", "a")[1])) == 2


def test_an_unknown_id_is_a_sentence_and_exit_code_2(cli, filled):
    code, out, err = cli("show", "zzz")
    assert (code, out) == (2, "")
    assert err == "milecastle: no session has an id that begins with 'zzz'\n"


def test_explain_tells_rule_by_rule_and_how_the_process_is_known(cli, filled):
    code, out, _ = cli("explain", filled.exchange)
    assert code == 0
    assert "known       exact: recorded in connect()" in out
    assert "no-secrets (request) matched, redact" in out
    assert "block-shadow did not match" in out
    assert "198.51.100.3 port 443" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_explain_takes_a_session_too(cli, cli_json, filled):
    assert cli("explain", filled.session)[1].count("exchange 01J") == 2
    (told,) = cli_json("explain", filled.session)
    assert len(told["exchanges"]) == 2
    assert told["exchanges"][0]["attribution"]["grade"] == "exact"


def test_tail_prints_what_was_then_what_comes_and_ends_with_the_daemon(cli, filled):
    code, out, err = cli("tail", "-n", "5")
    assert filled.asked[-1] == ("tail", {"history": 5})
    lines = out.splitlines()
    assert len(lines) == 3  # two past ones, one event
    assert "python3[4711] openai gpt-4o-mini redact aws-access-key 200 11>5 tokens" in lines[-1]
    assert (code, err) == (3, "milecastle: the daemon ended\n")


def test_tail_json_is_one_object_a_line(cli_json, filled):
    *_, event = cli_json("tail", expect=3)
    assert event["rules"] == ["aws-access-key"]


@pytest.mark.parametrize("command", [("sessions",), ("show", "a"), ("explain", "a"), ("tail",)])
def test_a_refusal_of_the_daemon_is_told_in_its_words(cli, daemon, command):
    def refuse(_body):
        raise RefusedError("the store can't be read")

    daemon(sessions=refuse, show=refuse, explain=refuse, tail=refuse)
    code, _, err = cli(*command)
    assert (code, err) == (2, "milecastle: the store can't be read\n")

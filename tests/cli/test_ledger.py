"""connections, inventory, coverage, refuse and permit, over a real register."""

import pytest
from tests.cli.daemon import RefusedError
from tests.store.examples import NOW

from milecastle.model import Process
from milecastle.store import Register, coverage, listing
from milecastle.store.entries import Account, Called, Noted, Opened

NASTY = Process(
    pid=4711,
    comm="py\x1b[31m",
    uid=1000,
    user="a-user-with-a-rather-long-name",
    exe="/opt/" + "deep/" * 30 + "python3",
    script="/home/ada/a-very-long-name-of-a-script-that-nobody-would-write.py",
    argv=("python3", "--api-key=[MASKED]"),
    container="ab" * 32,
)


@pytest.fixture
def book(tmp_path):
    opened = Register.open(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def filled(daemon, book):
    shared = {"address": "2001:db8:51::ffff:ffff:3", "port": 443, "protocol": "tcp"}
    entries = [
        Opened(NOW + number, number, NASTY, service, **shared, grade="exact", outcome=outcome,
               code=code, name=name, calls=number)
        for number, (service, outcome, code, name) in enumerate([
            ("openai", "redirected", "", "api.openai.com"),
            ("amazon-bedrock-runtime-in-a-region", "direct", "heartbeat", ""),
            (None, "passed through", "not_listed", "a.very.long.name.of.a.neighbour.example"),
            ("openai", "refused", "policy", ""),
        ], start=1)
    ]  # fmt: skip
    account = Account("organisation_key", "0123456789abcdef", "org-1")
    entries += [
        Called(
            NOW,
            NASTY,
            "openai",
            "claude-code",
            "exe x",
            account,
            1 << 30,
            1 << 40,
            1 << 30,
            1 << 30,
        ),
        Noted(NOW, NASTY, "openai", coverage.INSPECTED),
        Noted(NOW, NASTY, "openai", coverage.METADATA, "client_refused_certificate"),
    ]
    book.write(entries, NOW)
    rows = [{**row, "standing": "unsanctioned", "sanctioned": False}
            for row in listing.inventory(book.connection)]  # fmt: skip
    return daemon(
        connections=lambda body: listing.connections(
            book.connection, min(body["limit"], 3), body["before"]
        ),
        inventory=rows,
        coverage=[listing.blind("agent_down", NOW, NOW + 3600), *listing.seen(book.connection)],
    )


@pytest.mark.parametrize("command", ["connections", "inventory", "coverage"])
def test_a_table_fits_80_columns_and_holds_no_control_character(cli, filled, command):
    code, out, _ = cli(command)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "openai" in out


@pytest.mark.parametrize("command", ["connections", "inventory", "coverage", "refuse"])
def test_nothing_yet_is_a_sentence(cli, daemon, command):
    daemon(connections=[], inventory=[], coverage=[], refusals=[])
    code, out, _ = cli(command)
    assert code == 0
    assert len(out.splitlines()) == 1


def test_connections_are_one_object_a_line_with_the_issues_keys(cli_json, filled):
    rows = cli_json("connections")
    assert [row["outcome"] for row in rows] == [
        "refused",
        "passed through",
        "direct",
        "redirected",
    ]  # in two pages
    keys = {"time", "process", "service", "name", "destination", "grade", "outcome"}
    assert all(keys <= row.keys() for row in rows)
    assert {"pid", "exe", "argv", "user", "ancestry", "container"} <= rows[0]["process"].keys()
    assert [body["before"] for kind, body in filled.asked if kind == "connections"] == [0, 2, 1]


def test_no_more_connections_than_asked_for_are_fetched(cli_json, filled):
    assert len(cli_json("connections", "-n", "2")) == 2
    assert filled.asked == [("connections", {"limit": 2, "before": 0})]
    assert cli_json("connections", "-n", "0", expect=2) == []


def test_an_inventory_tells_shadow_from_sanctioned(cli, cli_json, filled):
    assert "!openai" in cli("inventory")[1]
    row = next(row for row in cli_json("inventory") if row["service"] == "openai")
    assert row["process"]["client"] == "claude-code"
    assert row["accounts"][0]["kind"] == "organisation_key"
    assert "claude-c" in cli("inventory")[1]


def test_a_gap_is_a_row_with_its_times(cli, cli_json, filled):
    gap = cli_json("coverage")[0]
    assert (gap["state"], gap["process"]) == ("blind", None)
    assert (gap["from"], gap["to"]) == (NOW, NOW + 3600)
    assert "01-15 08:00 to 01-15 09:00 (1 h 0 min): the agent was down" in cli("coverage")[1]
    assert "the client refused the CA" in cli("coverage")[1]


# --- refusing ------------------------------------------------------------------------------------


def test_refuse_takes_a_length_of_time(cli, daemon):
    fake = daemon(refuse=lambda body: {"service": body["service"], "until": NOW})
    code, out, _ = cli("refuse", "openai", "--for", "90m")
    assert code == 0
    nobody = {"user": "", "exe": "", "cgroup": ""}
    assert fake.asked == [("refuse", {"service": "openai", "seconds": 5400, **nobody})]
    assert "openai is refused until" in out


def test_refuse_without_a_time_lasts_until_it_is_permitted(cli, daemon):
    daemon(refuse=lambda body: {"service": body["service"], "until": None})
    assert "until it is permitted" in cli("refuse", "openai")[1]


def test_a_service_is_refused_to_one_user_and_program(cli, daemon):
    fake = daemon(refuse=lambda body: {**body, "until": None}, permit=lambda body: {
        "service": body["service"], "was_refused": True, "rule": None})  # fmt: skip
    words = ("openai", "--user", "ci", "--exe", "/usr/bin/curl")
    out = cli("refuse", *words)[1]
    assert "openai is refused to user ci, exe /usr/bin/curl until it is permitted" in out
    cli("permit", *words)
    caller = {"service": "openai", "user": "ci", "exe": "/usr/bin/curl", "cgroup": ""}
    assert fake.asked == [("refuse", {**caller, "seconds": 0}), ("permit", caller)]


@pytest.mark.parametrize("time", ["", "1", "h", "0h", "1y", "1h30m", "99999999h"])
def test_what_is_no_length_of_time_is_bad_input(cli, daemon, time):
    daemon()
    code, _, err = cli("refuse", "openai", "--for", time)
    assert code == 2
    assert "90s, 30m, 1h" in err


def test_refuse_alone_lists_what_is_refused_and_by_what(cli, cli_json, daemon):
    rows = [
        {"service": "openai", "by": "hand", "rule": None, "until": NOW, "where": "connect"},
        {"service": "deepseek", "by": "policy", "rule": "no", "until": None, "where": "request",
         "user": "ci", "exe": None, "cgroup": None},
    ]  # fmt: skip
    daemon(refusals=rows)
    out = cli("refuse")[1]
    assert "rule no" in out
    assert "user ci" in out
    assert "hand" in out
    assert cli_json("refuse") == rows


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"was_refused": True, "rule": None}, "is permitted again"),
        ({"was_refused": False, "rule": None}, "was not refused"),
        ({"was_refused": True, "rule": "no-ai"}, "still refused, by the policy's rule no-ai"),
    ],
)
def test_permit_says_what_came_of_it(cli, daemon, told, words):
    daemon(permit=lambda body: {"service": body["service"], **told})
    assert words in cli("permit", "openai")[1]


def test_an_unknown_service_is_bad_input(cli, daemon):
    def unknown(_body):
        raise RefusedError("the catalogue has no service 'opnai': did you mean 'openai'?")

    daemon(refuse=unknown)
    code, _, err = cli("refuse", "opnai")
    assert code == 2
    assert "did you mean" in err


def test_what_you_may_not_do_is_exit_code_3(cli, daemon):
    from milecastle import wire

    body = {"code": "forbidden", "message": "only root may refuse a service"}
    daemon(refuse=wire.encode(wire.Frame(1, "error", body)))
    code, _, err = cli("refuse", "openai")
    assert code == 3
    assert "only root" in err

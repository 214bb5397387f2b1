"""The ledger on disk: what is kept of connections, what they add up to, and when nobody watched."""

import os
import sqlite3

import pytest
from tests.store.examples import NOW

from milecastle.model import Process
from milecastle.store import Register, coverage, listing, register
from milecastle.store.entries import Account, Called, Caller, Named, Noted, Opened, Refused

ADA = Process(pid=7, comm="python3", uid=1000, exe="/usr/bin/python3", user="ada", started=1.0)
BOB = Process(pid=9, comm="curl", uid=1001, exe="/usr/bin/curl", user="bob", started=2.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def book(path):
    opened = Register.open(path)
    yield opened
    opened.close()


def opened(cookie=1, process=ADA, **changes):
    return Opened(
        **{
            "at": NOW,
            "cookie": cookie,
            "process": process,
            "service": "openai",
            "address": "198.51.100.3",
            "port": 443,
            "protocol": "tcp",
            "grade": "exact",
            "outcome": "redirected",
            **changes,
        }
    )


def connections(book, **asked):
    return listing.connections(book.connection, asked.pop("limit", 100), **asked)


def inventory(book, uid=None):
    return listing.inventory(book.connection, uid)


def test_a_connection_has_the_shape_that_the_contract_names(book):
    book.write([opened(name="api.openai.com", calls=2)], NOW)
    (row,) = connections(book)
    assert row["time"] == NOW
    assert {"pid", "exe", "argv", "user", "ancestry", "container"} <= row["process"].keys()
    assert (row["service"], row["name"], row["grade"]) == ("openai", "api.openai.com", "exact")
    assert row["destination"] == {"address": "198.51.100.3", "port": 443}
    assert (row["outcome"], row["reason"], row["calls"]) == ("redirected", None, 2)


def test_connections_come_latest_first_page_by_page(book):
    book.write([opened(cookie) for cookie in range(1, 8)], NOW)
    first = connections(book, limit=4)
    rest = connections(book, limit=4, before=first[-1]["id"])
    ids = [row["id"] for row in (*first, *rest)]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 7


def test_an_answer_stays_within_a_frame(book, monkeypatch):
    monkeypatch.setattr(listing, "ANSWER", 4000)
    book.write([opened(cookie) for cookie in range(1, 50)], NOW)
    assert 1 <= len(connections(book)) < 49


def test_one_user_is_not_told_of_another_users_connections(book):
    entries = [opened(1), opened(2, BOB), Noted(NOW, BOB, "openai", coverage.INSPECTED)]
    book.write(entries, NOW)
    assert {row["user"] for row in connections(book, uid=1000)} == {"ada"}
    assert {row["user"] for row in inventory(book, 1000)} == {"ada"}
    assert listing.seen(book.connection, 1000) == []


def test_a_name_that_comes_late_completes_the_connection(book):
    book.write([opened(1), opened(2)], NOW)
    book.write([Named(1, None, "cdn.example", "passed through", "not_listed")], NOW)
    second, first = connections(book)
    assert (first["service"], first["name"]) == (None, "cdn.example")
    assert first["reason"] == "a name outside the catalogue, at an address of a service"
    assert second["service"] == "openai"


def test_a_worker_can_not_relabel_what_never_came_to_it(book):
    book.write([opened(1, outcome="refused", code="policy")], NOW)
    book.write([Named(1, None, "x", "passed through")], NOW)
    assert connections(book)[0]["outcome"] == "refused"


def test_a_cookie_of_an_earlier_boot_is_another_connection(path):
    first = Register.open(path)
    first.write([opened(5, name="old")], NOW)
    first.close()
    again = Register.open(path)
    again.write([Named(5, "openai", "new", "redirected", calls=1)], NOW)
    assert connections(again)[0]["name"] == "old"
    again.close()


@pytest.mark.parametrize("cookie", [1, (1 << 63) + 5, (1 << 64) - 1])
def test_every_cookie_is_found_again(book, cookie):
    book.write([opened(cookie)], NOW)
    book.write([Named(cookie, "openai", "api.openai.com", "redirected", calls=3)], NOW)
    assert connections(book)[0]["calls"] == 3


def test_the_inventory_counts_programs_and_not_processes(book):
    again = Process(pid=8, comm="python3", uid=1000, exe="/usr/bin/python3", user="ada")
    other = Process(pid=9, comm="python3", uid=1000, exe="/usr/bin/python3", script="/opt/a.py")
    book.write([opened(1), opened(2, again), opened(3, other)], NOW)
    assert sorted(row["connections"] for row in inventory(book)) == [1, 2]


def test_calls_bytes_tokens_and_accounts_add_up(book):
    account = Account("api_key", "f1", "org-1")
    call = {"request_bytes": 10, "response_bytes": 20, "input_tokens": 3, "output_tokens": 4}
    book.write([opened(1), Called(NOW + 1, ADA, "openai", account=account, **call)], NOW)
    book.write([Called(NOW + 9, ADA, "openai", "aider", "exe x", account, **call)], NOW)
    (row,) = inventory(book)
    assert (row["connections"], row["calls"]) == (1, 2)
    assert row["bytes"] == {"request": 20, "response": 40}
    assert row["tokens"] == {"input": 6, "output": 8}
    assert (row["first"], row["last"]) == (NOW, NOW + 9)
    assert row["process"]["client"] == "aider"
    (used,) = row["accounts"]
    assert (used["kind"], used["fingerprint"], used["organisation"]) == ("api_key", "f1", "org-1")
    assert (used["first"], used["last"]) == (NOW + 1, NOW + 9)


def test_numbers_of_a_lying_worker_do_not_overflow_a_row(book):
    huge = Called(NOW, ADA, "openai", input_tokens=1 << 60, request_bytes=1 << 60)
    for _ in range(5):
        book.write([huge] * 40, NOW)
    assert book.lost == 0
    assert inventory(book)[0]["tokens"]["input"] == 1 << 60


def test_a_lying_worker_fills_no_more_than_a_handful_of_accounts(book):
    calls = [Called(NOW, ADA, "openai", account=Account("api_key", str(n))) for n in range(100)]
    book.write(calls, NOW)
    book.write([Called(NOW + 5, ADA, "openai", account=Account("api_key", "0"))], NOW)
    accounts = inventory(book)[0]["accounts"]
    assert len(accounts) == 32
    assert accounts[0]["last"] == NOW + 5


def test_a_call_without_a_known_process_still_counts(book):
    book.write([Called(NOW, None, "openai")], NOW)
    (row,) = inventory(book)
    assert (row["user"], row["calls"]) == (None, 1)
    assert inventory(book, 1000) == []


def test_coverage_tells_why_something_was_not_read(book):
    entries = [
        opened(1, outcome="direct", code="bound_device"),
        opened(2, outcome="direct", code="bound_device", at=NOW + 5),
        opened(3, outcome="refused", code="quic"),
        Noted(NOW, ADA, "openai", coverage.INSPECTED),
    ]
    book.write(entries, NOW)
    rows = {(row["state"], row["reason"]): row for row in listing.seen(book.connection)}
    assert rows.keys() == {
        ("inspected", None),
        ("metadata only", "its socket is bound to a network device"),
    }
    direct = rows["metadata only", "its socket is bound to a network device"]
    assert (direct["from"], direct["to"], direct["count"]) == (NOW, NOW + 5, 2)


# --- when nobody was watching --------------------------------------------------------------------


def life(path, began, *lived, clean):
    book = Register.open(path)
    book.begin_life(began)
    for moment in lived:
        book.live(moment)
    if clean:
        book.live(lived[-1], last=True)
    book.close()


def test_a_gap_between_two_lives_is_a_row_with_its_times(path):
    life(path, NOW, NOW + 10, clean=True)
    life(path, NOW + 60, NOW + 70, NOW + 80, clean=False)
    book = Register.open(path)
    book.begin_life(NOW + 100)
    later, earlier = listing.gaps(book.connection)
    assert (earlier["from"], earlier["to"]) == (NOW + 10, NOW + 60)
    assert (earlier["state"], earlier["reason"]) == ("blind", "the agent was down")
    assert (later["from"], later["to"]) == (NOW + 80, NOW + 100)
    assert later["reason"] == "the agent ended unexpectedly"
    assert earlier["process"] is None
    book.close()


def test_the_first_life_has_no_gap_before_it(book):
    book.begin_life(NOW)
    assert listing.gaps(book.connection) == []


def test_a_clock_that_was_set_back_makes_no_gap(path):
    life(path, NOW, NOW + 10, clean=True)
    book = Register.open(path)
    book.begin_life(NOW - 500)
    assert listing.gaps(book.connection) == []
    book.close()


# --- refusals ------------------------------------------------------------------------------------


def test_refusals_are_there_after_closing(path):
    book = Register.open(path)
    refused = {Refused("openai"): None, Refused("mistral", Caller("ada", "/x", "/c")): NOW + 5}
    book.keep_refusals(refused, NOW)
    book.close()
    again = Register.open(path)
    assert again.refusals() == refused
    again.keep_refusals({}, NOW)
    assert again.refusals() == {}
    again.close()


# --- bounds and trouble --------------------------------------------------------------------------


def test_the_oldest_connections_go_and_the_processes_that_only_they_had(book, monkeypatch):
    monkeypatch.setattr(register, "CONNECTIONS", 10)
    monkeypatch.setattr(register, "STEP", 5)
    for cookie in range(1, 40):
        process = ADA if cookie % 2 else Process(pid=cookie, comm="x", uid=1)
        book.write([opened(cookie, process)], NOW)
    assert len(connections(book)) <= 15
    ((count,),) = book.connection.execute("SELECT count(*) FROM processes").fetchall()
    assert count <= 9
    assert sum(row["connections"] for row in inventory(book)) == 39


def test_a_crowd_of_short_lived_processes_is_bounded(book, monkeypatch):
    monkeypatch.setattr(register, "PROCESSES", 20)
    monkeypatch.setattr(register, "STEP", 10)
    for pid in range(1, 100):
        book.write([opened(pid, Process(pid=pid, comm="x", uid=1))], NOW)
    ((count,),) = book.connection.execute("SELECT count(*) FROM processes").fetchall()
    assert count <= 30


def test_pruning_forgets_what_is_past_its_days(book):
    book.write([opened(1, at=NOW - 40 * 86_400), opened(2)], NOW)
    book.prune(NOW, 30)
    assert len(connections(book)) == 1


def test_the_services_unused_for_longest_go_first(book, monkeypatch):
    monkeypatch.setattr(register, "INVENTORY", 3)
    for number in range(6):
        book.write([Called(NOW + number, ADA, f"s{number}", account=Account("k"))], NOW)
    book.prune(NOW, 30)
    assert {row["service"] for row in inventory(book)} == {"s3", "s4", "s5"}
    ((left,),) = book.connection.execute("SELECT count(*) FROM accounts").fetchall()
    assert left == 3


def test_a_disk_that_refuses_costs_entries_and_nothing_else(book, path, caplog):
    book.connection.execute("PRAGMA query_only = ON")
    book.write([opened(1)], NOW)
    assert book.lost == 1
    assert book.fault
    book.write([opened(2)], NOW + 1)  # not tried again so soon
    assert book.lost == 2
    book.connection.execute("PRAGMA query_only = OFF")
    book.write([opened(3)], NOW + 6)
    assert book.fault is None
    assert len(connections(book)) == 1
    with pytest.raises(OSError, match="ledger"):
        book.connection.execute("PRAGMA query_only = ON")
        book.keep_refusals({Refused("openai"): None}, NOW + 7)


def test_a_file_that_somebody_removed_is_begun_anew(book, path):
    book.write([opened(1)], NOW)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    book.write([opened(2)], NOW)
    assert len(connections(book)) == 1
    assert book.lost == 0


def test_a_broken_file_is_set_aside_and_a_new_one_begun(path):
    path.write_bytes(b"not a database at all" * 100)
    book = Register.open(path)
    book.write([opened(1)], NOW)
    assert len(connections(book)) == 1
    assert list(path.parent.glob("ledger.db.aside-*"))
    book.close()


def test_pages_damaged_while_running_cost_a_batch_and_a_new_file(path):
    book = Register.open(path)
    for cookie in range(1, 400):
        book.write([opened(cookie, Process(pid=cookie, comm="x" * 200, uid=1))], NOW)
    book.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(size - 8192))
    book = Register.open(path)
    for second in range(60):
        book.write([opened(500 + second, BOB)], NOW + second)
    assert connections(book)
    book.close()


def test_reading_a_database_that_is_gone_is_an_oserror(book):
    book.close()
    with pytest.raises((OSError, sqlite3.ProgrammingError)):
        connections(book)

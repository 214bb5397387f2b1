"""Instructions and tool definitions are kept once, and come back as they were."""

from __future__ import annotations

from pathlib import Path

from tests.store.conversations import Wire
from tests.store.examples import NOW

from milecastle.store import Store, reading

SYSTEM = "You are a careful engineer. " * 100
TOOLS = [
    {"name": f"tool_{number}", "description": "Does a thing. " * 50, "input_schema": {}}
    for number in range(20)
]


def turns(wire: Wire, count: int, system: str = SYSTEM) -> list[dict]:
    """Hold a conversation; return its summaries."""
    history: list[dict] = []
    told = []
    for number in range(count):
        history.append({"role": "user", "content": f"question {number}"})
        asked = {"model": "claude-4", "max_tokens": 9, "system": system, "tools": TOOLS}
        content = [{"type": "text", "text": f"answer {number}"}]
        answer = {"id": f"m{number}", "type": "message", "role": "assistant", "content": content}
        host = "api.anthropic.com"
        told.append(
            wire.exchange("/v1/messages", {**asked, "messages": history}, answer, host=host)
        )
        history.append({"role": "assistant", "content": content})
    return told


def test_they_are_kept_once_for_many_turns(store: Store):
    turns(Wire(store), 1)
    store.flush()
    before = store.health()["bytes"]
    turns(Wire(store), 30)
    store.flush()
    assert store.health()["bytes"] - before < 30 * 3_000  # a turn alone sends 17 kB of them


def test_every_exchange_shows_them_whole(store: Store):
    told = turns(Wire(store), 3)
    for each in told:
        exchange = store.exchange(each["id"])
        assert exchange["gen_ai.system_instructions"] == [{"type": "text", "content": SYSTEM}]
        assert len(exchange["gen_ai.tool.definitions"]) == 20
        assert exchange["gen_ai.tool.definitions"][19]["name"] == "tool_19"
    shown = store.show(told[0]["session"])["exchanges"]
    assert [len(each["gen_ai.tool.definitions"]) for each in shown] == [20, 20, 20]
    explained = store.explain(told[1]["id"])["exchanges"][0]
    assert explained["gen_ai.system_instructions"][0]["content"] == SYSTEM


def test_system_messages_of_a_chat_are_kept_once_too(store: Store):
    wire, history = Wire(store), []
    for number in range(20):
        history.append({"role": "user", "content": f"question {number}"})
        told = wire.chat(history, f"answer {number}", system=SYSTEM)
        history.append({"role": "assistant", "content": f"answer {number}"})
    store.flush()
    messages = store.exchange(told["id"])["gen_ai.input.messages"]
    assert messages[0] == {"role": "system", "parts": [{"type": "text", "content": SYSTEM}]}
    assert len(messages) == 40
    rows = store._connection.execute("SELECT count(*) FROM wordings").fetchone()
    assert rows == (1,)


def test_another_wording_is_another(store: Store):
    wire = Wire(store)
    first = turns(wire, 1)
    second = turns(wire, 1, SYSTEM + "And brief.")
    texts = [
        store.exchange(each["id"])["gen_ai.system_instructions"][0]["content"]
        for each in (*first, *second)
    ]
    assert texts == [SYSTEM, SYSTEM + "And brief."]


def test_a_wording_is_forgotten_with_the_last_exchange_that_holds_it(store: Store):
    wire = Wire(store)
    turns(wire, 2)
    store.prune(NOW + 3 * 86_400, 1, 1 << 40)
    assert store._connection.execute("SELECT count(*) FROM wordings").fetchone() == (0,)
    turns(wire, 1)
    assert store._connection.execute("SELECT count(*) FROM wordings").fetchone() == (2,)


def test_a_long_session_with_long_definitions_is_cut_to_what_an_answer_holds(
    store: Store, monkeypatch
):
    monkeypatch.setattr(reading, "ANSWER", 100_000)
    told = turns(Wire(store), 12)
    shown = store.show(told[0]["session"])
    assert 2 <= len(shown["exchanges"]) < 12
    assert shown["omitted"] == 12 - len(shown["exchanges"])


def test_a_database_from_before_wordings_is_read(path: Path):
    old = Store.open(path)
    old._connection.executescript(
        "DROP TABLE worded; DROP TABLE wordings; PRAGMA user_version = 2;"
    )
    old.close()
    store = Store.open(path)
    told = turns(Wire(store), 1)
    assert store.exchange(told[0]["id"])["gen_ai.system_instructions"][0]["content"] == SYSTEM
    store.close()
